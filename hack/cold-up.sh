#!/usr/bin/env bash
# cold-up.sh: measures `make up` from nothing: a copy of this checkout, private caches and a Docker daemon of its own in a temporary folder,
# which is removed at the end, the cluster with it. Then once more, warm. Prints each step's time. Only what apt installs is kept.
# TMPDIR says where (20 GB are needed). On Debian as root.
set -euo pipefail
. "$(dirname "$0")/common.sh"

is_debian_root || die "cold-up.sh needs Debian and root, as it starts a Docker daemon" "on other systems: BOTFLEET_CACHE=<an empty folder> make up"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/botfleet-cold.XXXXXX")
OURS=$ROOT

end_docker() {
  local pid _
  pid=$(cat "$WORK/docker.pid" 2> /dev/null) || return 0
  kill "$pid" || true
  for _ in {1..150}; do
    kill -0 "$pid" 2> /dev/null || return 0
    sleep 0.2
  done
}

clean_up() {
  trap - EXIT
  say "removing $WORK"
  [ ! -d "$WORK/checkout" ] || make -C "$WORK/checkout" down > "$WORK/down.log" 2>&1 || cat "$WORK/down.log" >&2
  end_docker
  awk -v w="$WORK/" 'index($2, w) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l
  chmod -R u+w "$WORK" # Go's module cache is read-only
  rm -rf "$WORK"
}

trap clean_up EXIT
trap 'exit 130' INT TERM HUP
mkdir "$WORK"/{checkout,tmp}
(cd "$OURS" && git ls-files -z --cached --others --exclude-standard | tar -c --ignore-failed-read --null -T - 2> /dev/null) | tar -x -C "$WORK/checkout"

export STATE=$WORK/checkout/.botfleet BOTFLEET_CACHE=$WORK/cache UV_CACHE_DIR=$WORK/uv PIP_CACHE_DIR=$WORK/pip
export GOPATH=$WORK/go GOCACHE=$WORK/go-build GOMODCACHE=$WORK/go/pkg/mod
export DOCKER_HOST=unix://$WORK/docker.sock DOCKER_PIDFILE=$WORK/docker.pid DOCKERD_FLAGS="--exec-root $WORK/exec --bridge none"
export CLUSTER=${CLUSTER_COLD:-botfleet-cold} DB_PORT=${DB_PORT_COLD:-54329} SANDBOX_PORT=${SANDBOX_PORT_COLD:-18099}
export PATH=${PATH#"$CACHE/bin:"}
export TMPDIR=$WORK/tmp # what an ended compiler leaves goes, too
unset CACHE ROOT HACK USE_CURRENT_CONTEXT
[ ! -d "$OURS/../shared/data" ] || export CANDLES=$OURS/../shared/data

for run in cold warm; do
  STARTED='' make -C "$WORK/checkout" up > "$WORK/$run.log" || die "make up failed" "see its messages above"
  printf '\n%s: %s\n' "$run" "$(grep '^Botfleet is up' "$WORK/$run.log")"
  python3 "$OURS/hack/steps.py" table
done
