#!/usr/bin/env bash
# images.sh build: builds the targets of images/Dockerfile and writes their content-addressed names to .botfleet/images.
# images.sh load: puts those into the nodes of kind cluster $CLUSTER that lack them.  images.sh sizes: prints what they weigh.
set -euo pipefail
. "$(dirname "$0")/common.sh"

IMAGES=(tools controller botrunner worker) # tools is the last target of the Dockerfile
CONTEXT=(pyproject.toml uv.lock README.md LICENSE images fleet controller botrunner worker sandbox_exchange cli)
NAMES=$STATE/images # shell assignments: CONTROLLER_IMAGE=botfleet/controller:<id> ...

build_flags() { # what this host needs to reach its package index from inside a build; none of it ends up in an image
  local variable
  FLAGS=(--network=host)
  for variable in PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_INDEX_URL UV_DEFAULT_INDEX UV_INDEX {HTTP,HTTPS,ALL,NO}_PROXY {http,https,all,no}_proxy; do
    [ -z "${!variable-}" ] || FLAGS+=(--build-arg "$variable=${!variable}")
  done
  docker buildx version > /dev/null 2>&1 || export DOCKER_BUILDKIT=0
}

build_one() { # NAME
  local name=$1 log=$STATE/build-$1.log id tag
  docker build --force-rm "${FLAGS[@]}" --build-arg "BASE_IMAGE=$BASE" --build-arg "BUILD_IMAGE=$BUILDER" \
    --target "$name" -t "botfleet/$name:dev" -f "$ROOT/images/Dockerfile" "$ROOT" > "$log" 2>&1 || {
    tail -12 "$log" >&2
    die "building the image $name failed" "see $log"
  }
  id=$(docker image inspect -f '{{.Id}}' "botfleet/$name:dev")
  tag=botfleet/$name:${id:7:12}
  docker tag "botfleet/$name:dev" "$tag"
  echo "${name^^}_IMAGE=$tag" > "$NAMES.$name"
}

build_all() { # the first alone where there is no buildx: the classic builder goes through all stages up to its target, and the others find them made
  local name pids=() pid
  for name in "${IMAGES[@]}"; do
    build_one "$name" &
    pids+=($!)
    [ "${DOCKER_BUILDKIT-}" != 0 ] || [ ${#pids[@]} -gt 1 ] || wait "${pids[0]}" || exit 1
  done
  for pid in "${pids[@]}"; do wait "$pid" || exit 1; done
}

inputs() { # changes with whatever an image is made of
  { cd "$ROOT" && find "${CONTEXT[@]}" -name __pycache__ -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; echo "$BASE $BUILDER"; } |
    sha256sum | cut -c1-16
}

built() { # these very images are there
  [ "$(cat "$NAMES.key" 2> /dev/null)" = "$1" ] && cut -d= -f2 "$NAMES" 2> /dev/null | xargs docker image inspect > /dev/null 2>&1
}

build() {
  local bases key
  mkdir -p "$STATE"
  bases=$("$HACK/base-image.sh")
  BASE=${bases% *} BUILDER=${bases#* }
  key=$(inputs)
  ! built "$key" || return 0
  build_flags
  say "building images: ${IMAGES[*]}"
  rm -f "$NAMES.key"
  build_all
  for name in "${IMAGES[@]}"; do cat "$NAMES.$name" && rm "$NAMES.$name"; done > "$NAMES.new"
  mv "$NAMES.new" "$NAMES"
  echo "$key" > "$NAMES.key"
  say "images: $(sizes | tr '\n' ';' | sed 's/;$//; s/;/, /g')"
}

sizes() {
  local name
  for name in "${IMAGES[@]}"; do
    docker image inspect -f '{{.Size}}' "botfleet/$name:dev" | awk -v n="$name" '{printf "%s %.0f MB\n", n, $1 / 1e6}'
  done
}

load() {
  local node image missing present _
  for node in $(kind get nodes -q --name "$CLUSTER"); do
    missing=()
    present=$(docker exec "$node" ctr -n k8s.io images ls -q)
    while IFS='=' read -r _ image; do
      grep -qx "docker.io/$image" <<< "$present" || missing+=("$image")
    done < "$NAMES"
    [ ${#missing[@]} -gt 0 ] || continue
    say "loading into $node: ${missing[*]}"
    docker save "${missing[@]}" | docker exec -i "$node" ctr -n k8s.io images import --all-platforms --snapshotter overlayfs - > /dev/null
  done
}

"$HACK/docker.sh"
case ${1-} in
  build) locked images build ;;
  load) load ;;
  sizes) sizes ;;
  *) die "usage: images.sh build|load|sizes" ;;
esac
