#!/usr/bin/env bash
# images.sh build: builds the images of images/*.Dockerfile and writes their content-addressed names to .botfleet/images.
# images.sh load: puts those into the nodes of kind cluster $CLUSTER that lack them.  images.sh sizes: prints what they weigh.
set -euo pipefail
. "$(dirname "$0")/common.sh"

IMAGES=(controller botrunner worker tools)
NAMES=$STATE/images # shell assignments: CONTROLLER_IMAGE=botfleet/controller:<id> ...

build_flags() { # what this host needs to reach its package index from inside a build; none of it ends up in an image
  local variable
  FLAGS=(--network=host)
  for variable in PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_INDEX_URL UV_DEFAULT_INDEX UV_INDEX HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!variable-}" ] || FLAGS+=(--build-arg "$variable=${!variable}")
  done
  docker buildx version > /dev/null 2>&1 || export DOCKER_BUILDKIT=0
}

build_one() { # NAME
  local name=$1 log=$STATE/build-$1.log id tag
  docker build --force-rm "${FLAGS[@]}" --build-arg "BASE_IMAGE=$BASE" --build-arg "BUILD_IMAGE=$BUILDER" \
    -t "botfleet/$name:dev" -f "$ROOT/images/$name.Dockerfile" "$ROOT" > "$log" 2>&1 || {
    tail -12 "$log" >&2
    die "building the image $name failed" "see $log"
  }
  id=$(docker image inspect -f '{{.Id}}' "botfleet/$name:dev")
  tag=botfleet/$name:${id:7:12}
  docker tag "botfleet/$name:dev" "$tag"
  echo "${name^^}_IMAGE=$tag"
}

build() {
  local name bases
  mkdir -p "$STATE"
  bases=$("$HACK/base-image.sh")
  BASE=${bases% *} BUILDER=${bases#* }
  build_flags
  say "building images: ${IMAGES[*]}"
  : > "$NAMES.new"
  for name in "${IMAGES[@]}"; do build_one "$name" >> "$NAMES.new"; done
  mv "$NAMES.new" "$NAMES"
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
