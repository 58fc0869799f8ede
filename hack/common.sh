# shellcheck shell=bash
# Sourced by every script of this folder: pinned versions, folders, messages, locks. Any variable can be set from outside.

KUBERNETES_VERSION=v1.34.4 # of the nodes that are built here
GO_MINIMUM=1.26             # where no such Go is installed, wheels/go.txt has one

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HACK=$ROOT/hack
export STATE=${STATE:-$ROOT/.botfleet} # what this checkout runs: kubeconfig, env, logs, records of processes
CACHE=${BOTFLEET_CACHE:-${XDG_CACHE_HOME:-~/.cache}/botfleet} # ~: also where HOME is not set

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

say() { printf '%5ds  %s\n' "$(($(date +%s) - STARTED))" "$*" >&2; } # steps.py looks for lines of this form

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

missing_packages() { # PACKAGE...
  local package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || echo "$package"
  done
}

need_packages() { # PACKAGE...: Debian packages that a step cannot do without
  [ -z "$(missing_packages "$@")" ] || locked apt install_packages "$@"
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@") # another run may have installed them meanwhile
  [ ${#missing[@]} -gt 0 ] || return 0
  is_debian_root || die "these packages are missing: ${missing[*]}" "install them, then run the same command again"
  say "installing Debian packages: ${missing[*]}"
  mkdir -p "$CACHE"
  {
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -qy --no-install-recommends "${missing[@]}"
  } > "$CACHE/apt.log" 2>&1 || die "apt-get could not install ${missing[*]}: $(tail -1 "$CACHE/apt.log")" "see $CACHE/apt.log"
}

locked() { # NAME COMMAND...: one at a time on this machine; the lock ends with the process that holds it
  local name=$1 problem lock_fd # its own, since a locked command may lock something else
  shift
  problem=$({ mkdir -p "$CACHE/locks" && : > "$CACHE/locks/$name"; } 2>&1) ||
    die "the cache cannot be written: ${problem%%$'\n'*}" "make room there, or set BOTFLEET_CACHE to a folder that you may write to"
  exec {lock_fd}> "$CACHE/locks/$name"
  if ! flock -n "$lock_fd"; then
    say "waiting for another run that is busy with $name"
    flock -w "${LOCK_TIMEOUT_S:-3600}" "$lock_fd" || die "another run has been busy with $name for an hour" "end it, or remove $CACHE/locks/$name"
  fi
  "$@"
  exec {lock_fd}>&-
}

registry_answers() { # can images be pulled? A quick look, through a proxy where one is set: without a network, a pull takes its time to say so
  timeout 5 python3 - 2> /dev/null << 'PYTHON'
import base64, http.client, urllib.parse, urllib.request
registry = "registry-1.docker.io"
proxy = None if urllib.request.proxy_bypass(registry) else urllib.request.getproxies().get("https")
address = urllib.parse.urlsplit(proxy if not proxy or "//" in proxy else f"//{proxy}")
connection = http.client.HTTPConnection(address.hostname or registry, (address.port or 80) if proxy else 443, timeout=4)
if proxy:
    login = urllib.parse.unquote(address.netloc.rpartition("@")[0])
    headers = {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
    connection.set_tunnel(registry, 443, headers)
connection.connect()
PYTHON
}

wheel() { # NAME PROBE: the folder where wheels/NAME.txt is unpacked; PROBE is a file in it; false if it cannot be had
  local folder
  folder=$CACHE/wheels/$1-$(fingerprint "wheels/$1.txt")
  [ -e "$folder/$2" ] || locked "wheel-$1" fetch_wheel "$folder" "$2" "$HACK/wheels/$1.txt" || true
  [ ! -e "$folder/$2" ] || echo "$folder"
  [ -e "$folder/$2" ]
}

fetch_wheel() { # FOLDER PROBE REQUIREMENTS
  [ ! -e "$1/$2" ] || return 0
  say "fetching $(grep -o '^[a-z].*==[^ ]*' "$3")"
  rm -rf "$1.new"
  mkdir -p "${1%/*}"
  "$HACK/python.sh" uv pip install -q --no-deps --require-hashes --target "$1.new" -r "$3" > "$1.log" 2>&1 && mv "$1.new" "$1" && [ -e "$1/$2" ]
}

link_tool() { # NAME PROGRAM: $CACHE/bin/NAME, at no moment missing, since others may be calling it
  mkdir -p "$CACHE/bin"
  [ "$(readlink "$CACHE/bin/$1")" != "$2" ] || return 0
  ln -sfn "$2" "$CACHE/bin/.$1.$$"
  mv -T "$CACHE/bin/.$1.$$" "$CACHE/bin/$1"
}

fingerprint() { # PATH...: 12 characters that change with the content of these files and folders
  (cd "$HACK" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
}
