#!/usr/bin/env bash
# Makes sure that a Docker daemon answers: installs Docker on Debian as root, starts dockerd where nothing else does.
set -euo pipefail
. "$(dirname "$0")/common.sh"

PIDFILE=${DOCKER_PIDFILE:-/var/run/docker.pid}
SOCKET=${DOCKER_HOST:-unix:///var/run/docker.sock}

answers() { timeout 20 docker info > /dev/null 2>&1; }

clear_stale_pid() { # a killed dockerd leaves its pid file, and the next one refuses to start while any process has that number
  local pid _
  [ -f "$PIDFILE" ] || return 0
  pid=$(cat "$PIDFILE")
  for _ in {1..50}; do # one that was just killed takes a moment to be gone
    [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = dockerd ] || break
    sleep 0.2
  done
  [ "$(cat "/proc/$pid/comm" 2> /dev/null)" != dockerd ] ||
    die "dockerd (pid $pid) runs, but does not answer at $SOCKET" "wait for it, or end it, or set DOCKER_HOST to where it listens"
  rm -f "$PIDFILE"
}

start_dockerd() {
  ! answers || return 0
  clear_stale_pid
  local flags=(--host "$SOCKET" --pidfile "$PIDFILE" --data-root "${DOCKER_ROOT:-$CACHE/docker}") pid
  if ! has_sys_resource; then
    # a copy: the daemon may outlive this checkout
    install -D "$HACK/runc-reduced" "$CACHE/runc-reduced"
    flags+=(--add-runtime "reduced=$CACHE/runc-reduced" --default-runtime reduced)
  fi
  mkdir -p "$CACHE"
  # a session of its own: the daemon and its containers outlive this script; no lock is handed down
  (
    exec {lock_fd}>&-
    # shellcheck disable=SC2086  # DOCKERD_FLAGS is a list of words
    exec setsid dockerd "${flags[@]}" ${DOCKERD_FLAGS-} > "$CACHE/dockerd.log" 2>&1 < /dev/null
  ) &
  pid=$!
  for _ in {1..150}; do
    if answers; then
      say "started dockerd (pid $pid, log $CACHE/dockerd.log)"
      return
    fi
    kill -0 "$pid" 2> /dev/null || break
    sleep 0.2
  done
  die "dockerd did not start: $(tail -1 "$CACHE/dockerd.log")" "see $CACHE/dockerd.log, or start Docker yourself"
}

if have docker && answers; then
  exit 0
fi
if ! is_debian_root; then
  have docker || die "docker is not installed" "install Docker (https://docs.docker.com/engine/install/), or use RUNTIME=process, which needs none"
  die "no Docker daemon answers at $SOCKET" "start Docker (sudo systemctl start docker), or use RUNTIME=process, which needs none"
fi
packages=(docker.io iptables jq)
registry_answers || packages+=(debootstrap) # images are going to be built here: in the same go, since asking the mirror takes its time
need_packages "${packages[@]}"
locked dockerd start_dockerd
