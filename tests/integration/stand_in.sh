#!/usr/bin/env bash
# Stands in for kind, docker, kubectl and helm: notes each call, and keeps what they would keep as files in $WORLD.
# clusters/NAME/{id,marker,version}, docker-down, api/{uid,namespaces/NAME,releases/NAMESPACE}
set -euo pipefail
program=$(basename "$0")
echo "$program $*" >> "$WORLD/calls"

after() { # FLAG WORD...: the word that follows the flag
  local flag=$1 previous=
  shift
  for word in "$@"; do
    [ "$previous" != "$flag" ] || { echo "$word"; return; }
    previous=$word
  done
}

cluster_of() { echo "$WORLD/clusters/${1%-control-plane*}"; }

case "$program $*" in
  "kind get clusters"*) ls "$WORLD/clusters" ;;
  "kind create cluster"*)
    folder=$WORLD/clusters/$(after --name "$@")
    mkdir "$folder"
    cat > "$folder/config"
    echo "id-$RANDOM$RANDOM" > "$folder/id"
    [ ! -e "$WORLD/create-fails" ] || exit 1
    ;;
  "kind delete cluster"*) rm -r "$WORLD/clusters/$(after --name "$@")" ;;
  "kind export kubeconfig"*) ;;
  "docker info"*) [ ! -e "$WORLD/docker-down" ] ;;
  "docker inspect"*) cat "$(cluster_of "${!#}")/id" ;;
  "docker port"*)
    case $3 in 30432/tcp) echo "127.0.0.1:$DB_PORT" ;; *) echo "127.0.0.1:$SANDBOX_PORT" ;; esac
    ;;
  "docker cp"*)
    cd "$(cluster_of "$2")"
    file=$(basename "$2")
    [ -f "$file" ] && tar -c "$file"
    ;;
  "docker exec"*) cat > "$(cluster_of "$3")/botfleet-made-by" ;;
  "docker "*) ;;
  "kubectl get namespace kube-system"*) cat "$WORLD/api/uid" ;;
  "kubectl config current-context"*) echo theirs ;;
  "kubectl get namespace "*) [ -e "$WORLD/api/namespaces/$3" ] ;;
  "kubectl delete namespace "*) rm "$WORLD/api/namespaces/$3" ;;
  "helm status "*) [ -e "$WORLD/api/releases/$(after -n "$@")" ] ;;
  "helm uninstall "*) rm -f "$WORLD/api/releases/$(after -n "$@")" ;;
  "kubectl "*) ;;
  *) echo "unexpected: $program $*" >&2 && exit 99 ;;
esac
