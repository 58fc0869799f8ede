#!/usr/bin/env bash
# python.sh sync: makes .venv from uv.lock with every extra.  python.sh uv ARGUMENT...: runs uv.
# uv is taken from PATH, or installed into a private virtual environment in the cache.
set -euo pipefail
. "$(dirname "$0")/common.sh"

find_uv() {
  UV=$(command -v uv || true)
  if [ -n "$UV" ] && "$UV" --version > /dev/null 2>&1; then return; fi
  local folder
  folder=$CACHE/uv-$(fingerprint wheels/uv.txt)
  UV=$folder/bin/uv
  [ -x "$UV" ] || locked uv install_uv "$folder"
}

install_uv() { # FOLDER
  [ ! -x "$1/bin/uv" ] || return 0
  have python3 || need_packages python3
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python >= 3.11 is needed, python3 is $(python3 --version)" "install Python 3.11 or newer"
  python3 -c 'import ensurepip' 2> /dev/null || need_packages python3-venv
  say "installing uv into $1"
  rm -rf "$1"
  python3 -m venv "$1"
  "$1/bin/pip" install -q --no-deps --require-hashes -r "$HACK/wheels/uv.txt"
}

sync() {
  local stamp=$ROOT/.venv/.synced key
  key=$(cat "$ROOT/pyproject.toml" "$ROOT/uv.lock" | sha256sum | cut -c1-16)
  [ "$(cat "$stamp" 2> /dev/null)" != "$key" ] || return 0
  say "installing the Python packages of uv.lock into .venv"
  (cd "$ROOT" && "$UV" sync -q --frozen --all-extras)
  echo "$key" > "$stamp"
}

find_uv
case ${1-} in
  sync) locked "venv-$(echo "$ROOT" | sha256sum | cut -c1-8)" sync ;;
  uv) exec "$UV" "${@:2}" ;;
  *) die "usage: python.sh sync | uv ARGUMENT..." ;;
esac
