#!/usr/bin/env bash
# node-image.sh: provides the image of a cluster's nodes and prints its name: kind's own where images can be pulled, otherwise one built here
# from Go modules (go-build.sh), Debian packages and the files in node/, with the cluster's own images in its containerd store.
# node-image.sh programs|debian: only that part, and only if the image is going to be built: so that both can be made beside other steps.
# NODE_IMAGE=NAME takes that image as it is; NODE_IMAGE=build does not try to pull.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$HACK"

KIND_IMAGE=kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5 # of the pinned kind
PULL_TIMEOUT_S=${PULL_TIMEOUT_S:-300}
COMPONENTS=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy etcd coredns) # all of them are the one program `kubernetes`
PACKAGES=systemd-sysv,containerd,runc,containernetworking-plugins,iptables,iproute2,kmod,procps,jq,ca-certificates
WORK=$CACHE/node
BUILT=botfleet/node:$KUBERNETES_VERSION-$(fingerprint node node-image.sh gomod/kubernetes wheels/layer.txt)
ENVIRONMENT='"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'

present() { docker image inspect "$1" > /dev/null 2>&1; }

pull() {
  registry_answers || return 1
  say "pulling $KIND_IMAGE"
  timeout "$PULL_TIMEOUT_S" docker pull -q "$KIND_IMAGE" > /dev/null 2>&1
}

debian_field() { sed -n "s/^$1: *//p" /etc/apt/sources.list.d/debian.sources | head -1 | cut -d' ' -f1; }

debian_root() { # the part that seldom changes, kept in the cache
  local folder=$1
  [ ! -d "$folder" ] || return 0
  [ -f /etc/apt/sources.list.d/debian.sources ] ||
    die "/etc/apt/sources.list.d/debian.sources is missing, so the Debian mirror is unknown" "build on Debian 12 or newer, or set NODE_IMAGE to an image of your own"
  say "node image: Debian packages (once)"
  rm -rf "$folder.new"
  debootstrap --variant=minbase --keyring="$(debian_field Signed-By)" --include=$PACKAGES \
    "$(debian_field Suites)" "$folder.new" "$(debian_field URIs)" > "$WORK/debootstrap.log" 2>&1 ||
    die "debootstrap failed: $(tail -1 "$WORK/debootstrap.log")" "see $WORK/debootstrap.log"
  rm -rf "$folder.new"/{var/cache/apt/archives/*.deb,var/lib/apt/lists/*,usr/share/{man,locale}/*}
  find "$folder.new/usr/share/doc" -type f ! -name copyright -delete
  mv "$folder.new" "$folder"
}

archive() { # FOLDER NAME CONFIG [NAME CONFIG]...: images of one and the same layer in the form of `docker save`, on stdout
  local folder=$1 parts digest architecture manifest=() config
  shift
  parts=$(mktemp -d -p "$BUILD")
  architecture=$(dpkg --print-architecture)
  tar -C "$folder" --numeric-owner -cf "$parts/layer.tar" .
  digest=$(sha256sum < "$parts/layer.tar" | cut -d' ' -f1)
  while [ $# -gt 0 ]; do
    config=${#manifest[@]}.json
    jq -nc --argjson c "$2" --arg a "$architecture" --arg d "sha256:$digest" \
      '{created: (now | todate), architecture: $a, os: "linux", config: $c, rootfs: {type: "layers", diff_ids: [$d]}}' > "$parts/$config"
    manifest+=("$(jq -nc --arg n "$1" --arg c "$config" '{Config: $c, RepoTags: [$n], Layers: ["layer.tar"]}')")
    shift 2
  done
  printf '%s\n' "${manifest[@]}" | jq -sc . > "$parts/manifest.json"
  (cd "$parts" && tar -c -- *)
  rm -rf "$parts"
}

node_files() { # what makes Debian a node
  local root=$1
  : > "$root/etc/machine-id"
  rm -rf "$root"/etc/systemd/system/*.wants "$root/opt/cni"
  mkdir -p "$root"/kind/manifests "$root"/etc/{containerd,cni/net.d,kubernetes/manifests} "$root/opt/cni"
  ln -s /usr/lib/cni "$root/opt/cni/bin"
  install "$(readlink -f "$CACHE/bin/kubernetes")" "$root/usr/bin/kubelet"
  ln "$root/usr/bin/kubelet" "$root/usr/bin/kubeadm"
  install "$(readlink -f "$CACHE/bin/kubectl-node")" "$root/usr/bin/kubectl"
  install node/{cni,crictl,volumes} "$root/usr/local/bin/"
  install node/entrypoint "$root/kind/"
  install -m644 node/kubelet.service "$root/etc/systemd/system/"
  printf %s "$KUBERNETES_VERSION" > "$root/kind/version"
  ln -s /dev/null "$root/etc/tmpfiles.d/tmp.conf" # a restart must not empty /tmp under running pods
  mkdir "$root/etc/systemd/system.conf.d"
  printf '[Manager]\nDefaultTimeoutStopSec=4s\n' > "$root/etc/systemd/system.conf.d/stop.conf" # docker kills after 10 s
  chroot "$root" systemctl -q enable containerd kubelet
  chroot "$root" systemctl -q set-default multi-user.target
  chroot "$root" systemctl -q mask systemd-{sysctl,modules-load} getty.target console-getty systemd-logind systemd-remount-fs \
    systemd-binfmt.service dev-hugepages.mount sys-{kernel-{config,debug,tracing},fs-fuse-connections}.mount \
    apt-daily{,-upgrade}.timer dpkg-db-backup.timer
  chroot "$root" ctr oci spec | jq 'del(.process.rlimits)' > "$root/etc/containerd/spec.json" # pods keep the node's limits, not 1024 files
  sed "s|@PAUSE@|$PAUSE|" node/containerd.toml > "$root/etc/containerd/config.toml"
  sed "s|@PAUSE@|$PAUSE|" node/cni.yaml > "$root/kind/manifests/default-cni.yaml"
  sed "s|@PAUSE@|$PAUSE|" node/storage.yaml > "$root/kind/manifests/default-storage.yaml"
}

component_files() { # ROOT FOLDER: the files of the components' images
  local root=$1 folder=$2 name link
  mkdir -p "$folder"/{usr/local/bin,tmp}
  cp "$(readlink -f "$CACHE/bin/kubernetes")" "$folder/usr/local/bin/kubernetes"
  for name in "${COMPONENTS[@]}"; do ln "$folder/usr/local/bin/kubernetes" "$folder/usr/local/bin/$name"; done
  # for kube-proxy: iptables, its matches, and the libraries of both: libxt_statistic.so has one of its own, and without it Services break silently
  # shellcheck disable=SC2016  # expands inside the chroot
  chroot "$root" sh -c 'f="/usr/sbin/xtables-nft-multi $(echo /usr/lib/*/xtables/*.so)"; printf "%s\n" $f; ldd $f | grep -o "/[^ :]*"' |
    sort -u | (cd "$root" && while read -r file; do cp -L --parents ".$file" "$folder"; done)
  for link in ip{,6}tables{,-save,-restore}; do ln -s xtables-nft-multi "$folder/usr/sbin/$link"; done
  chroot "$folder" /usr/sbin/iptables -m statistic --help | grep -q 'statistic match options'
}

pause_files() { # FOLDER: apart from the others, since every pod has one in memory, and its links serve the node's own containers
  mkdir -p "$1"/{usr/local/bin,tmp}
  cp "$(readlink -f "$CACHE/bin/pause")" "$1/usr/local/bin/pause"
  ln -s usr/bin usr/sbin usr/lib usr/lib64 "$1"
}

config() { # COMMAND
  echo "{$ENVIRONMENT], \"Entrypoint\": [\"/usr/local/bin/$1\"]}"
}

import_images() { # ROOT: puts ROOT/images/*.tar into the node's containerd store
  printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' > "$1/images/containerd.toml"
  # shellcheck disable=SC2016  # expands inside the chroot; a pid namespace of its own, so that nothing outlives it
  unshare --mount --pid --fork --kill-child --mount-proc="$1/proc" chroot "$1" bash -euc '
    containerd -l error -c /images/containerd.toml &
    until ctr version > /dev/null 2>&1; do sleep 0.1; done
    for image in /images/*.tar; do ctr -n k8s.io images import --all-platforms --no-unpack --digests "$image"; done
    kill $!; wait' > "$WORK/import.log" 2>&1 || die "containerd could not import the cluster's images: $(tail -1 "$WORK/import.log")" "see $WORK/import.log"
}

programs() {
  "$HACK/tools.sh" kubernetes pause kubeadm kind
  "$HACK/tools.sh" kubectl-node
}

debian() {
  need_packages debootstrap jq
  mkdir -p "$WORK"
  locked node-debian debian_root "$WORK/debian"
}

build() {
  ! present "$BUILT" || return 0
  is_debian_root || die "the node image cannot be pulled, and building it needs Debian and root" "allow pulls from docker.io, set NODE_IMAGE, or use RUNTIME=process"
  programs
  debian
  find "$WORK" -maxdepth 1 -name 'build.*' -exec rm -rf {} + # left by a run that was killed; the lock says that none is running
  BUILD=$(mktemp -d -p "$WORK" build.XXXXXX)
  trap 'rm -rf "$BUILD"' EXIT
  say "node image: root file system and the cluster's images"
  local root=$BUILD/root names component images=()
  cp -a --reflink=auto "$WORK/debian" "$root"
  names=$("$CACHE/bin/kubeadm" config images list --kubernetes-version "$KUBERNETES_VERSION" 2> /dev/null)
  PAUSE=$(grep -m1 /pause: <<< "$names")
  node_files "$root"
  component_files "$root" "$BUILD/components"
  pause_files "$BUILD/pause"
  for component in "${COMPONENTS[@]}"; do images+=("$(grep -m1 "/$component:" <<< "$names")" "$(config "$component")"); done
  mkdir "$root/images"
  archive "$BUILD/components" "${images[@]}" > "$root/images/components.tar"
  archive "$BUILD/pause" "$PAUSE" "$(config pause)" > "$root/images/pause.tar"
  import_images "$root"
  rm -rf "$root"/images "$root"/run/* "$root"/tmp/* "$root"/var/log/*
  archive "$root" "$BUILT" "{$ENVIRONMENT, \"container=docker\"], \"Entrypoint\": [\"/kind/entrypoint\"], \"StopSignal\": \"SIGRTMIN+3\"}" |
    docker load -q > /dev/null
  say "node image: $BUILT"
}

provide() {
  case ${NODE_IMAGE-} in
    "" | build)
      if present "$BUILT"; then
        echo "$BUILT"
      elif [ -z "${NODE_IMAGE-}" ] && { present "$KIND_IMAGE" || pull; }; then
        echo "$KIND_IMAGE"
      else
        [ -n "${NODE_IMAGE-}" ] || say "the node image cannot be pulled here, building it (once per version)"
        build
        echo "$BUILT"
      fi
      ;;
    *) echo "$NODE_IMAGE" ;;
  esac
}

going_to_build() { # as far as can be told while Docker may not even be installed
  case ${NODE_IMAGE-} in
    build) ;;
    "") ! registry_answers || return 1 ;;
    *) return 1 ;;
  esac
  is_debian_root && ! present "$BUILT" && ! present "$KIND_IMAGE"
}

case ${1-} in
  "")
    "$HACK/docker.sh"
    locked node-image provide
    ;;
  programs | debian) ! going_to_build || "$1" ;;
  *) die "usage: node-image.sh [programs|debian]" ;;
esac
