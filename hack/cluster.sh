#!/usr/bin/env bash
# cluster.sh up: a kind cluster named $CLUSTER, its kubeconfig in .botfleet/ (with USE_CURRENT_CONTEXT=1: the current context of kubectl).
# cluster.sh down: deletes what `up` made from this checkout.  cluster.sh kubeconfig: prints the path of its kubeconfig.
# A cluster that is there is kept; one that a dead dockerd left behind is started again, or made anew where that fails.
# One that another checkout made is left alone: its node holds the folder that made it. ADOPT=1 takes it over.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$HACK/records.sh"

KUBECONFIG_FILE=$STATE/kubeconfig
NODE=$CLUSTER-control-plane
WORKERS=${WORKERS:-0}
QPS=${QPS:-200} # of scheduler and controller manager, whose default of 20 to 50 would be the slowest part of a scale test
READY_TIMEOUT_S=120
MAX_PODS=250 # bots are small; the kubelet's own 110 would end a node before its CPU does, and a node has 254 addresses
MARK=/etc/botfleet-made-by # in the node, so that it goes where the cluster goes
OWNER=$(mkdir -p "$STATE" && cd "$STATE" && pwd -P)

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
- |
  kind: KubeletConfiguration
  maxPods: $MAX_PODS
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

node_id() { docker inspect -f '{{.Id}}' "$NODE" 2> /dev/null || true; }

maker() { # the folder that made the cluster that is there, or nothing; its node may be stopped
  docker cp "$NODE:$MARK" - 2> /dev/null | tar -xO 2> /dev/null || true
}

is_ours() { # what the node says counts; without that, what we wrote down about this very node, or before it was made
  local made_by id
  made_by=$(maker)
  [ "$made_by" != "$OWNER" ] || return 0
  [ -z "$made_by" ] || return 1
  id=$(recorded "cluster-$CLUSTER" node)
  [ "$id" = pending ] || { [ -n "$id" ] && [ "$id" = "$(node_id)" ]; }
}

whose() {
  local made_by
  made_by=$(maker)
  echo "made by ${made_by:-another program or an earlier version}"
}

claim() { # the cluster that is there is ours from now on
  record "cluster-$CLUSTER" "node=$(node_id)"
  printf '%s' "$OWNER" | docker exec -i "$NODE" sh -c "cat > $MARK" || die "the node $NODE of cluster $CLUSTER takes no file" "docker logs $NODE"
}

refuse_a_strangers() {
  ! is_ours || return 0
  [ -z "${ADOPT-}" ] || {
    say "cluster $CLUSTER was $(whose): taking it over (ADOPT=1), make down will delete it"
    return
  }
  die "a kind cluster named $CLUSTER is here already, $(whose)" "use a name and ports of your own: make up CLUSTER=<name> DB_PORT=<port> SANDBOX_PORT=<port>
       or take it over, so that make down here deletes it: make up ADOPT=1
       or delete it: kind delete cluster --name $CLUSTER"
}

provide_kubectl() { # of a version that the cluster's API server gets on with, which its node tells
  local version
  version=$(docker cp "$NODE:/kind/version" - 2> /dev/null | tar -xO 2> /dev/null || true)
  [[ $version =~ ^v1\.([0-9]+)\. ]] && export SERVER_MINOR=${BASH_REMATCH[1]}
  "$HACK/tools.sh" kubectl
}

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
  say "creating kind cluster $CLUSTER"
  record "cluster-$CLUSTER" node=pending
  config | kind create cluster --name "$CLUSTER" --image "$image" --kubeconfig "$KUBECONFIG_FILE" --config - --wait "${READY_TIMEOUT_S}s" \
    > "$log" 2>&1 || {
    tail -15 "$log" >&2
    kind delete cluster -q --name "$CLUSTER" > /dev/null 2>&1 || true
    forget "cluster-$CLUSTER"
    die "kind could not create the cluster $CLUSTER" "see $log"
  }
}

up() {
  if exists; then
    refuse_a_strangers
    provide_kubectl
  fi
  if exists && ! { ports_as_wanted && revive; }; then
    ports_are_free
    say "cluster $CLUSTER has other ports or cannot be revived, making it anew"
    kind delete cluster -q --name "$CLUSTER"
  fi
  exists || {
    create
    provide_kubectl
  }
  claim
  kubectl_ wait --for=condition=Ready node --all --timeout="${READY_TIMEOUT_S}s" > /dev/null
  kubectl_ -n kube-system rollout status deployment/coredns --timeout="${READY_TIMEOUT_S}s" > /dev/null
  say "cluster $CLUSTER is ready"
}

LEFT=0 # 1: something that is ours could not be ended

docker_answers() { have docker && timeout 20 docker info > /dev/null 2>&1; }

down() { # the recorded cluster $CLUSTER
  if ! have kind || ! docker_answers; then
    say "cluster $CLUSTER: left, since Docker or kind does not answer. Start Docker, then run make down again"
    LEFT=1
  elif ! exists; then
    forget "cluster-$CLUSTER" # deleted by hand
  elif is_ours; then
    kind delete cluster -q --name "$CLUSTER"
    forget "cluster-$CLUSTER"
    say "deleted cluster $CLUSTER"
  else
    say "cluster $CLUSTER is no longer the one that was made here, but $(whose): left. To delete it: kind delete cluster --name $CLUSTER"
    forget "cluster-$CLUSTER"
  fi
}

leave_a_strangers() { # said, because make down was long taken to delete it
  if have kind && docker_answers && exists && ! is_ours; then
    say "cluster $CLUSTER was $(whose): left. To delete it: kind delete cluster --name $CLUSTER"
  fi
}

current_context() {
  SERVER_MINOR=any "$HACK/tools.sh" kubectl
  local context
  context=$(kubectl config current-context 2> /dev/null) || die "USE_CURRENT_CONTEXT=1, but kubectl has no current context" "kubectl config use-context <name>"
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
      "$HACK/tools.sh" kind
      locked "cluster-$CLUSTER" up
    fi
    ;;
  down)
    wanted=$CLUSTER
    for name in $(records cluster-); do
      CLUSTER=${name#cluster-} NODE=${name#cluster-}-control-plane
      down
    done
    CLUSTER=$wanted NODE=$wanted-control-plane
    leave_a_strangers
    [ "$LEFT" = 1 ] || rm -f "$KUBECONFIG_FILE"
    exit "$LEFT"
    ;;
  kubeconfig) echo "$KUBECONFIG_FILE" ;;
  *) die "usage: cluster.sh up|down|kubeconfig" ;;
esac
