#!/usr/bin/env bash
# make down: ends what make up started from this checkout: processes by their records, the kind cluster. Images and caches stay.
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ ! -d "$STATE/run" ] || python3 "$HACK/processes.py" stop
if [ -n "${USE_CURRENT_CONTEXT-}" ]; then
  KUBECONFIG=$("$HACK/cluster.sh" kubeconfig) helm uninstall botfleet -n "$NAMESPACE" --ignore-not-found --wait
else
  "$HACK/cluster.sh" down
fi
rm -rf "$STATE"/{env,state,postgresql,database-password}
say "down"
