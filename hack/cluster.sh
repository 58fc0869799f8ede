#!/usr/bin/env bash
# cluster.sh up: a kind cluster named $CLUSTER, its kubeconfig in .botfleet/ (with USE_CURRENT_CONTEXT=1: the current context of kubectl).
# cluster.sh down: deletes it.  cluster.sh kubeconfig: prints the path of its kubeconfig.
# A cluster that is there is kept; one that a dead dockerd left behind is started again, or made anew where that fails.
set -euo pipefail
. "$(dirname "$0")/common.sh"

KUBECONFIG_FILE=$STATE/kubeconfig
NODE=$CLUSTER-control-plane
WORKERS=${WORKERS:-0}
QPS=${QPS:-200} # of scheduler and controller manager, whose default of 20 to 50 would be the slowest part of a scale test
READY_TIMEOUT_S=120

kubectl_() { kubectl --kubeconfig "$KUBECONFIG_FILE" "$@"; }

config() {
  cat << YAML
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  controllerManager: {extraArgs: {kube-api-qps: "$QPS", kube-api-burst: "$((2 * QPS))"}}
  scheduler: {extraArgs: {kube-api-qps: "$QPS", kube-api-burst: "$((2 * QPS))"}}
nodes:
- role: control-plane
  extraPortMappings:
  - {containerPort: $DB_NODE_PORT, hostPort: $DB_PORT, listenAddress: 127.0.0.1}
  - {containerPort: $SANDBOX_NODE_PORT, hostPort: $SANDBOX_PORT, listenAddress: 127.0.0.1}
YAML
  local _
  for ((_ = 0; _ < WORKERS; _++)); do echo '- role: worker'; done
}

exists() { kind get clusters -q 2> /dev/null | grep -qx "$CLUSTER"; }

answers() { kubectl_ get --raw /readyz --request-timeout=3s > /dev/null 2>&1; }

port_pairs() { # VARIABLE PORT-OF-THE-NODE, one a line
  printf '%s\n' "DB_PORT $DB_NODE_PORT" "SANDBOX_PORT $SANDBOX_NODE_PORT"
}

mapped() { # VARIABLE PORT-OF-THE-NODE: true if the cluster that is there already has this port of the host
  [ "$(docker port "$NODE" "$2/tcp" 2> /dev/null)" = "127.0.0.1:${!1}" ]
}

ports_as_wanted() {
  local variable port
  while read -r variable port; do
    mapped "$variable" "$port" || return 1
  done < <(port_pairs)
}

ports_are_free() { # asked before an old cluster is given up for one with other ports
  local variable port
  while read -r variable port; do
    ! mapped "$variable" "$port" || continue
    if (exec 3<> "/dev/tcp/127.0.0.1/${!variable}") 2> /dev/null; then
      die "port ${!variable} of 127.0.0.1 is taken by another program" "choose another one: make up $variable=<port>"
    fi
  done < <(port_pairs)
}

revive() { # true if the cluster that is there answers, after a start of its containers where needed
  kind export kubeconfig -q --name "$CLUSTER" --kubeconfig "$KUBECONFIG_FILE" 2> /dev/null || true
  ! answers || return 0
  say "cluster $CLUSTER does not answer, starting its containers"
  docker ps -aq --filter "label=io.x-k8s.kind.cluster=$CLUSTER" | xargs -r docker start > /dev/null 2>&1 || return 1
  kind export kubeconfig -q --name "$CLUSTER" --kubeconfig "$KUBECONFIG_FILE" 2> /dev/null || return 1
  local _
  for _ in {1..60}; do
    ! answers || return 0
    sleep 1
  done
  return 1
}

create() {
  local image log=$STATE/kind-$CLUSTER.log
  image=$("$HACK/node-image.sh")
  ports_are_free
  say "creating kind cluster $CLUSTER (about 25 s)"
  config | kind create cluster --name "$CLUSTER" --image "$image" --kubeconfig "$KUBECONFIG_FILE" --config - --wait "${READY_TIMEOUT_S}s" \
    > "$log" 2>&1 || {
    tail -15 "$log" >&2
    kind delete cluster -q --name "$CLUSTER" > /dev/null 2>&1 || true
    die "kind could not create the cluster $CLUSTER" "see $log"
  }
}

up() {
  mkdir -p "$STATE"
  if exists && ! { ports_as_wanted && revive; }; then
    ports_are_free
    say "cluster $CLUSTER has other ports or cannot be revived, making it anew"
    kind delete cluster -q --name "$CLUSTER"
  fi
  exists || create
  kubectl_ wait --for=condition=Ready node --all --timeout="${READY_TIMEOUT_S}s" > /dev/null
  kubectl_ -n kube-system rollout status deployment/coredns --timeout="${READY_TIMEOUT_S}s" > /dev/null
  say "cluster $CLUSTER is ready"
}

current_context() {
  have kubectl || "$HACK/go-build.sh" kubectl
  local context
  context=$(kubectl config current-context 2> /dev/null) || die "USE_CURRENT_CONTEXT=1, but kubectl has no current context" "kubectl config use-context <name>"
  mkdir -p "$STATE"
  kubectl config view --minify --flatten > "$KUBECONFIG_FILE.new"
  chmod 600 "$KUBECONFIG_FILE.new"
  mv "$KUBECONFIG_FILE.new" "$KUBECONFIG_FILE"
  answers || die "the API server of context $context does not answer" "check with: kubectl get nodes"
  say "using the current context $context"
}

case ${1-} in
  up)
    if [ -n "${USE_CURRENT_CONTEXT-}" ]; then
      current_context
    else
      "$HACK/docker.sh"
      "$HACK/go-build.sh" kind kubectl
      locked "cluster-$CLUSTER" up
    fi
    ;;
  down)
    if have docker && have kind && docker info > /dev/null 2>&1 && exists; then
      kind delete cluster -q --name "$CLUSTER"
      say "deleted cluster $CLUSTER"
    fi
    rm -f "$KUBECONFIG_FILE"
    ;;
  kubeconfig) echo "$KUBECONFIG_FILE" ;;
  *) die "usage: cluster.sh up|down|kubeconfig" ;;
esac
