#!/usr/bin/env bash
# make up: everything that Botfleet needs, with sample bots that trade on paper, on this machine. Safe to repeat.
# RUNTIME=kubernetes (kind; USE_CURRENT_CONTEXT=1: the current context) or process. MARKET=sandbox or binance. The Makefile explains the rest.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$HACK/records.sh"

RUNTIME=${RUNTIME:-kubernetes}
MARKET=${MARKET:-sandbox}
SPEED=${SPEED:-300}
SAMPLES=${SAMPLES:-$ROOT/manifests/samples}
PYTHON=$ROOT/.venv/bin/python

# Runs beside each other, each as soon as what it needs is done; the seconds are the usual ones from nothing on two idle cores.
kubernetes_steps() {
  local cluster="kind tools node"
  [ -z "${USE_CURRENT_CONTEXT-}" ] || cluster=tools
  cat << STEPS
    # name     | needs           | usual | command
    docker     | -               |    20 | ./docker.sh
    python     | -               |    25 | ./python.sh sync
    tools      | -               |    10 | ./tools.sh helm kubectl
STEPS
  [ -n "${USE_CURRENT_CONTEXT-}" ] || cat << STEPS
    programs   | -               |   300 | ./node-image.sh programs
    kind       | programs        |    30 | ./tools.sh kind
    debian     | docker          |    45 | ./node-image.sh debian
    node       | programs debian |    30 | ./node-image.sh
STEPS
  cat << STEPS
    base       | docker          |    45 | ./base-image.sh
    images     | base            |    75 | ./images.sh build
    cluster    | $cluster        |    30 | ./cluster.sh up
STEPS
}

timed() { # NAME COMMAND...: a step that runs alone
  local name=$1 began cpu
  shift
  began=$(date +%s.%N) cpu=$(cpu_of_children)
  "$@"
  awk -v n="$name" -v b="$began" -v e="$(date +%s.%N)" -v s="$STARTED" -v c="$(cpu_of_children)" -v d="$cpu" \
    'BEGIN {printf "%s\t%.1f\t%.1f\t%.1f\n", n, b - s, e - b, c - d}' >> "$STATE/times"
}

cpu_of_children() { awk '{print ($16 + $17) / 100}' "/proc/$$/stat" 2> /dev/null || echo 0; }

check_market() {
  case $MARKET in
    sandbox) ;;
    binance)
      local url=https://api.binance.com/api/v3/ping
      python3 -c "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=8)" $url 2> /dev/null ||
        die "MARKET=binance, but $url cannot be reached from here" "connect this machine to the internet (in some regions Binance answers 451), or leave MARKET out to trade on the sandbox exchange"
      ;;
    *) die "MARKET is $MARKET" "use MARKET=sandbox or MARKET=binance" ;;
  esac
}

choose_candles() {
  [ "$MARKET" = sandbox ] || return 0
  FOLDER=$("$HACK/candles.sh" folder)
  case $FOLDER in
    */candles-synthetic) say "no recorded candles here: the sandbox exchange plays SYNTHETIC ones (CANDLES=DIR for your own)" ;;
    *) say "the sandbox exchange plays $FOLDER, and synthetic BTCUSDT, ETHUSDT and SOLUSDT, at $SPEED times real speed" ;;
  esac
}

write_env() { # what the host needs to talk to all this
  local file=$STATE/env
  {
    echo "export BOTFLEET_DATABASE_URL='$1'"
    echo "export BOTFLEET_NAMESPACE='$NAMESPACE'"
    echo "export BOTFLEET_SANDBOX_URL='$2'"
    [ -z "$3" ] || echo "export KUBECONFIG='$3'"
    echo "export PATH='$ROOT/.venv/bin:$CACHE/bin':\$PATH"
  } > "$file.new"
  chmod 600 "$file.new"
  mv "$file.new" "$file"
  # shellcheck disable=SC1090
  . "$file"
}

wait_for_database() {
  local _
  for _ in {1..100}; do
    ! "$PYTHON" -c 'import os, psycopg; psycopg.connect(os.environ["BOTFLEET_DATABASE_URL"], connect_timeout=2).close()' 2> /dev/null || return 0
    sleep 0.2
  done
  die "the database does not answer at ${BOTFLEET_DATABASE_URL#*@}" "$1"
}

apply_samples() {
  (cd "$ROOT" && "$PYTHON" -m cli bots apply -f "$SAMPLES" >&2) || die "the sample bots in $SAMPLES could not be applied" "see the message above"
  say "sample bots are in trading_bots, waiting until they run and trade"
  local trades=1
  [ "$MARKET" = sandbox ] || trades=0
  (cd "$ROOT" && "$PYTHON" "$HACK/wait_for_bots.py" --timeout "${WAIT_S:-180}" --trades $trades) || die "the bots are not up" "$1"
}

# --- RUNTIME=kubernetes

load_images() {
  if [ -z "${USE_CURRENT_CONTEXT-}" ]; then
    "$HACK/images.sh" load
    return
  fi
  local context image
  context=$(kubectl config current-context)
  case $context in
    kind-*) CLUSTER=${context#kind-} "$HACK/images.sh" load ;;
    *)
      [ -n "${REGISTRY-}" ] || die "context $context is no kind cluster, so the images must come from a registry" "set REGISTRY=host/path that you may push to and the cluster may pull from"
      for image in "$CONTROLLER_IMAGE" "$BOTRUNNER_IMAGE" "$WORKER_IMAGE" "$TOOLS_IMAGE"; do
        say "pushing $REGISTRY/$image"
        docker tag "$image" "$REGISTRY/$image"
        docker push -q "$REGISTRY/$image" > /dev/null
      done
      PREFIX=$REGISTRY/
      ;;
  esac
}

image_flags() { # VALUE IMAGE
  echo "--set-string=images.$1.repository=${PREFIX-}${2%:*},images.$1.tag=${2##*:}"
}

record_release() { # in somebody else's cluster: what is ours there, before it is made
  [ -n "${USE_CURRENT_CONTEXT-}" ] || return 0
  local name uid namespace=found release=found
  uid=$(kubectl get namespace kube-system -o 'jsonpath={.metadata.uid}')
  name=release-${uid}-$NAMESPACE
  [ ! -f "$RECORDS/$name" ] || return 0 # repeated: what the first one made is ours
  kubectl get namespace "$NAMESPACE" > /dev/null 2>&1 || namespace=made
  helm status "$RELEASE" -n "$NAMESPACE" > /dev/null 2>&1 || release=made
  record "$name" "context=$(kubectl config current-context)" "cluster=$uid" "namespace=$NAMESPACE" "namespace_was=$namespace" "release_was=$release"
  (umask 077 && cat "$KUBECONFIG" > "$RECORDS/$name.kubeconfig")
}

make_namespace() {
  kubectl create namespace "$NAMESPACE" --dry-run=client -o yaml | kubectl apply -f - > /dev/null
  kubectl label namespace "$NAMESPACE" --overwrite pod-security.kubernetes.io/enforce=restricted > /dev/null
}

install_chart() {
  local flags=() maps log=$STATE/helm.log
  flags+=("$(image_flags controller "$CONTROLLER_IMAGE")" "$(image_flags botrunner "$BOTRUNNER_IMAGE")" "$(image_flags worker "$WORKER_IMAGE")"
    "$(image_flags tools "$TOOLS_IMAGE")")
  flags+=(--set "database.evaluation.enabled=true,database.evaluation.nodePort=$DB_NODE_PORT")
  if [ "$MARKET" = sandbox ]; then
    maps=$("$HACK/candles.sh" apply "$FOLDER" | paste -sd,)
    flags+=(--set "sandbox.enabled=true,sandbox.nodePort=$SANDBOX_NODE_PORT,sandbox.speed=$SPEED,sandbox.candles.configMaps={$maps}")
    flags+=(--set-string "sandbox.candlesChecksum=$(cat "$FOLDER"/*.csv | sha256sum | cut -c1-12)")
  fi
  say "installing the chart"
  helm upgrade --install "$RELEASE" "$ROOT/charts/botfleet" -n "$NAMESPACE" "${flags[@]}" --wait --timeout "${INSTALL_TIMEOUT_S:-240}s" > "$log" 2>&1 || {
    tail -5 "$log" >&2
    kubectl -n "$NAMESPACE" get pods >&2 || true
    kubectl -n "$NAMESPACE" logs "deployment/$RELEASE-controller" --all-containers --tail=5 >&2 || true
    die "the chart could not be installed" "see $log, and: KUBECONFIG=$KUBECONFIG kubectl -n $NAMESPACE describe pods"
  }
}

up_kubernetes() {
  kubernetes_steps | python3 "$HACK/steps.py" || exit $?
  choose_candles
  KUBECONFIG=$("$HACK/cluster.sh" kubeconfig)
  export KUBECONFIG
  # shellcheck source=/dev/null
  . "$STATE/images"
  timed load load_images
  record_release
  make_namespace
  timed chart install_chart
  if [ -n "${USE_CURRENT_CONTEXT-}" ]; then
    "$PYTHON" "$HACK/processes.py" start port-forward-database -- kubectl -n "$NAMESPACE" port-forward "service/$RELEASE-database" "$DB_PORT:5432"
    [ "$MARKET" != sandbox ] || "$PYTHON" "$HACK/processes.py" start port-forward-sandbox -- kubectl -n "$NAMESPACE" port-forward "service/$RELEASE-sandbox" "$SANDBOX_PORT:8080"
  fi
  local password url=
  password=$(kubectl -n "$NAMESPACE" get secret "$RELEASE-database" -o 'jsonpath={.data.owner-password}' | base64 -d)
  [ "$MARKET" != sandbox ] || url=http://127.0.0.1:$SANDBOX_PORT
  write_env "postgresql://botfleet:$password@127.0.0.1:$DB_PORT/botfleet" "$url" "$KUBECONFIG"
  wait_for_database "check: kubectl -n $NAMESPACE get pods,services"
  timed bots apply_samples "look at: . .botfleet/env; kubectl -n $NAMESPACE get pods; kubectl -n $NAMESPACE logs deployment/$RELEASE-controller"
}

# --- RUNTIME=process

port_is_free() { # VARIABLE NAME: or it is taken by our own process of that name
  ! "$PYTHON" "$HACK/processes.py" alive "$2" || return 0
  if (exec 3<> "/dev/tcp/127.0.0.1/${!1}") 2> /dev/null; then
    die "port ${!1} of 127.0.0.1 is taken by another program, or by another checkout's make up" "choose another one: make up RUNTIME=process $1=<port>"
  fi
}

launch() { # NAME COMMAND...
  (cd "$ROOT" && "$PYTHON" "$HACK/processes.py" start "$1" -- "${@:2}") || exit 1
}

wait_for_http() { # NAME URL
  local _
  for _ in {1..150}; do
    ! "$PYTHON" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)' "$2" 2> /dev/null || return 0
    sleep 0.1
  done
  die "the $1 does not answer at $2" "see $STATE/log/$1.log"
}

up_process() {
  timed python "$HACK/python.sh" sync
  choose_candles
  local password secret=$STATE/database-password urls='{}' url=
  mkdir -p "$STATE"
  port_is_free DB_PORT database
  port_is_free SANDBOX_PORT sandbox
  port_is_free HTTP_PORT controller
  port_is_free WORKER_PORT worker
  [ -f "$secret" ] || (umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' 'ab' > "$secret")
  password=$(cat "$secret")
  say "starting the database"
  BOTFLEET_OWNER_PASSWORD=$password launch database "$PYTHON" -m cli db serve --data "$STATE/postgresql" --host 127.0.0.1 --port "$DB_PORT"
  if [ "$MARKET" = sandbox ]; then
    url=http://127.0.0.1:$SANDBOX_PORT
    urls="{\"binance\": \"$url\"}"
    say "starting the sandbox exchange"
    launch sandbox "$PYTHON" -m sandbox_exchange --candles "$FOLDER" --candles synthetic:1 --speed "$SPEED" --host 127.0.0.1 --port "$SANDBOX_PORT"
  fi
  write_env "postgresql://botfleet:$password@127.0.0.1:$DB_PORT/botfleet" "$url" ""
  wait_for_database "see $STATE/log/database.log"
  (cd "$ROOT" && "$PYTHON" -m cli db migrate >&2)
  [ -z "$url" ] || wait_for_http sandbox "$url/api/v3/ping"
  say "starting the controller"
  BOTFLEET_RUNTIME=process BOTFLEET_EXCHANGE_URLS=$urls BOTFLEET_HTTP_PORT=$HTTP_PORT BOTFLEET_STATE_DIR=$STATE/state BOTFLEET_LOG_FORMAT=json \
    BOTFLEET_BOT_COMMAND="[\"$PYTHON\", \"-m\", \"botrunner\"]" launch controller "$PYTHON" -m controller
  wait_for_http controller "http://127.0.0.1:$HTTP_PORT/readyz"
  say "starting the worker"
  BOTFLEET_HTTP_HOST=127.0.0.1 BOTFLEET_HTTP_PORT=$WORKER_PORT BOTFLEET_LOG_FORMAT=json launch worker "$PYTHON" -m worker
  wait_for_http worker "http://127.0.0.1:$WORKER_PORT/readyz"
  timed bots apply_samples "see $STATE/log/controller.log and $STATE/state/logs"
}

farewell() {
  local look kill
  [ $(($(date +%s) - STARTED)) -lt 60 ] || printf '\n%s\n' "$(python3 "$HACK/steps.py" table)" >&2
  if [ "$RUNTIME" = process ]; then
    look="ls .botfleet/state/logs            # one process and one log for each bot"
    kill="kill -9 \$(pgrep -f 'botrunner --bot-id 1 ')   # a new run goes on where it died"
  else
    look="kubectl -n $NAMESPACE get pods -L botfleet.dev/bot-id,botfleet.dev/epoch"
    kill="kubectl -n $NAMESPACE delete pod -l botfleet.dev/bot-id=1   # a new one goes on where it died"
  fi
  cat << TEXT

Botfleet is up after $(($(date +%s) - STARTED)) s ($RUNTIME, $MARKET). Next things to try:

  . .botfleet/env
  botfleet bots list
  botfleet notify list
  $look
  psql "\$BOTFLEET_DATABASE_URL" -c "INSERT INTO trading_bots (name, enabled, config) SELECT 'copy', true, config FROM trading_bots ORDER BY id LIMIT 1"
  psql "\$BOTFLEET_DATABASE_URL" -c "UPDATE trading_bots SET enabled = false WHERE name = 'copy'"
  $kill
  make down
TEXT
}

main() {
  check_market
  [ -z "${CANDLES-}" ] || "$HACK/candles.sh" folder > /dev/null # a wrong name is told before the long steps
  mkdir -p "$STATE"
  : > "$STATE/times"
  case $RUNTIME in
    kubernetes) up_kubernetes ;;
    process) up_process ;;
    *) die "RUNTIME is $RUNTIME" "use RUNTIME=kubernetes or RUNTIME=process" ;;
  esac
  farewell
}

have python3 || need_packages python3
# of one checkout one at a time: they would write into each other's logs, and Helm refuses a second release
locked "up-$(sha256sum <<< "$STATE" | cut -c1-8)" main
