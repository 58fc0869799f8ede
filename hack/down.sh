#!/usr/bin/env bash
# make down: ends what make up began from this checkout, by its records: processes, the chart in another's cluster, kind clusters.
# What is not in the records is left and named. Images and caches stay. Exit code 1: something of ours could not be ended.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$HACK/records.sh"

LEFT=0

uninstall() { # RECORD: in a cluster that was there before; only what was not there before is removed
  local name=$1 namespace context uid
  namespace=$(recorded "$name" namespace) context=$(recorded "$name" context)
  export KUBECONFIG=$RECORDS/$name.kubeconfig
  if ! have kubectl || ! have helm || ! uid=$(kubectl get namespace kube-system -o 'jsonpath={.metadata.uid}' --request-timeout=10s 2> /dev/null); then
    say "the release $RELEASE in namespace $namespace of context $context: left, its API server does not answer. Run make down again when it does"
    LEFT=1
    return
  fi
  if [ "$uid" != "$(recorded "$name" cluster)" ]; then
    say "context $context leads to another cluster than the one that was installed to: left"
    forget "$name"
    return
  fi
  if [ "$(recorded "$name" release_was)" = made ]; then
    helm uninstall "$RELEASE" -n "$namespace" --ignore-not-found --wait > /dev/null
    # the controller's, not the chart's: an uninstall leaves them running
    kubectl -n "$namespace" delete pods -l app.kubernetes.io/managed-by=botfleet --timeout=120s > /dev/null
    say "uninstalled $RELEASE and ended its bots in namespace $namespace of context $context"
  else
    say "the release $RELEASE in namespace $namespace of context $context was there before: left"
  fi
  if [ "$(recorded "$name" namespace_was)" = made ]; then
    kubectl delete namespace "$namespace" --ignore-not-found --timeout=120s > /dev/null
    say "deleted namespace $namespace"
  else
    say "namespace $namespace was there before: left, with the secrets and volumes of what was installed"
  fi
  forget "$name"
}

[ ! -d "$STATE/run" ] || python3 "$HACK/processes.py" stop || LEFT=1
for name in $(records release-); do uninstall "$name"; done
"$HACK/cluster.sh" down || LEFT=1
[ "$LEFT" = 0 ] || die "not everything that make up began here could be ended" "see the lines above"
rm -rf "$STATE"/{env,state,postgresql,database-password,records}
say "down"
