#!/usr/bin/env bash
# candles.sh folder: prints the folder with the candles to play: CANDLES=DIR, else ../shared/data, else synthetic ones made here.
# candles.sh apply FOLDER: puts a folder's files into ConfigMaps of $NAMESPACE (gzipped, in parts that fit) and prints their names.
set -euo pipefail
. "$(dirname "$0")/common.sh"

PART_BYTES=900000 # a ConfigMap holds 1 MiB at most

folder() {
  if [ -n "${CANDLES-}" ]; then
    compgen -G "$CANDLES/*.csv" > /dev/null || die "CANDLES=$CANDLES holds no .csv file" "name a folder with files like ETH_BTC-5m.csv (timestamp,open,high,low,close,volume)"
    realpath "$CANDLES"
  elif compgen -G "$ROOT/../shared/data/*.csv" > /dev/null; then
    realpath "$ROOT/../shared/data"
  else
    "$ROOT/.venv/bin/python" "$HACK/synthetic_candles.py" "$STATE/candles-synthetic"
    echo "$STATE/candles-synthetic"
  fi
}

apply() {
  local source=$1 work file part number=0
  work=$(mktemp -d)
  # shellcheck disable=SC2064  # the value of now
  trap "rm -rf '$work'" EXIT
  for file in "$source"/*.csv; do
    gzip -9nc "$file" | split -b $PART_BYTES -d -a 3 - "$work/$(basename "$file").gz."
  done
  for part in "$work"/*; do
    kubectl -n "$NAMESPACE" create configmap "botfleet-candles-$number" --from-file="$part" --dry-run=client -o yaml |
      kubectl -n "$NAMESPACE" apply --server-side --force-conflicts -f - > /dev/null
    echo "botfleet-candles-$number"
    number=$((number + 1))
  done
}

case ${1-} in
  folder) folder ;;
  apply) apply "$2" ;;
  *) die "usage: candles.sh folder | apply FOLDER" ;;
esac
