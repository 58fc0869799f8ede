#!/usr/bin/env bash
# Provides the two images that images/Dockerfile starts from and prints their names, runtime base first: the public Python image where
# it can be pulled, otherwise Debian's Python from debootstrap: one image with pip to build in, one stripped to what Python needs to run.
# BASE_IMAGE=NAME (with pip in it) takes that image for both.
set -euo pipefail
. "$(dirname "$0")/common.sh"

PUBLIC=python:3.11-slim-bookworm
WORK=$CACHE/base
TAG=$(fingerprint base-image.sh)
RUNTIME=botfleet/base:$TAG
BUILDER=botfleet/base-build:$TAG

# No package manager, no Perl, no accounts or mounts in a container that runs one Python process.
PURGE=(apt adduser debian-archive-keyring gpgv passwd login mount e2fsprogs logsave sysvinit-utils util-linux util-linux-extra bsdutils
  init-system-helpers debconf diffutils hostname ncurses-bin ncurses-base perl-base gcc-9-base tzdata-legacy)

present() { docker image inspect "$1" > /dev/null 2>&1; }

pull() {
  registry_answers || return 1
  say "pulling $PUBLIC"
  timeout "${PULL_TIMEOUT_S:-300}" docker pull -q "$PUBLIC" > /dev/null 2>&1
}

debian_field() { sed -n "s/^$1: *//p" /etc/apt/sources.list.d/debian.sources | head -1 | cut -d' ' -f1; }

build() {
  if present "$RUNTIME" && present "$BUILDER"; then return; fi
  is_debian_root || die "$PUBLIC cannot be pulled, and building a base image needs Debian and root" "allow pulls from docker.io, or set BASE_IMAGE to a Python image that is present"
  need_packages debootstrap
  say "$PUBLIC cannot be pulled here, building a base image from Debian packages (once)"
  mkdir -p "$WORK"
  find "$WORK" -maxdepth 1 -name 'build.*' -exec rm -rf {} + # left by a run that was killed; the lock says that none is running
  local folder package purge=()
  folder=$(mktemp -d -p "$WORK" build.XXXXXX)
  trap 'rm -rf "'"$folder"'"' EXIT
  debootstrap --variant=minbase --keyring="$(debian_field Signed-By)" --include=python3,python3-venv,ca-certificates \
    "$(debian_field Suites)" "$folder" "$(debian_field URIs)" > "$WORK/debootstrap.log" 2>&1 ||
    die "debootstrap failed: $(tail -1 "$WORK/debootstrap.log")" "see $WORK/debootstrap.log"
  rm -rf "$folder"/{var/cache/apt,var/lib/apt/lists,var/log,usr/share/{man,locale,info}}/*
  find "$folder/usr/share/doc" -type f ! -name copyright -delete
  # the build stage downloads: it needs this host's certificate authorities; the runtime image is made without them
  cp "$folder/etc/ssl/certs/ca-certificates.crt" "$WORK/authorities"
  cat "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" > "$folder/etc/ssl/certs/ca-certificates.crt"
  tar -C "$folder" --numeric-owner -c . | docker import -c 'ENV PYTHONUTF8=1' - "$BUILDER" > /dev/null
  cp "$WORK/authorities" "$folder/etc/ssl/certs/ca-certificates.crt"

  for package in "${PURGE[@]}"; do
    [ -e "$folder/var/lib/dpkg/info/$package.list" ] && purge+=("$package")
  done
  chroot "$folder" dpkg --purge --force-all python3-venv python3.11-venv python3-pip-whl python3-setuptools-whl python3-distutils python3-lib2to3 \
    "${purge[@]}" > "$WORK/purge.log" 2>&1 || true
  rm -rf "$folder"/{usr/share/{zoneinfo/{right,posix},perl5,bash-completion,common-licenses.old},usr/lib/*/perl-base,usr/lib/*/gconv,var/cache/debconf}
  rm -rf "$folder"/usr/lib/python3*/{ensurepip,idlelib,test,lib2to3,distutils,pydoc_data}
  chroot "$folder" python3 -c 'import ssl, sqlite3, zoneinfo, ctypes, decimal, asyncio; zoneinfo.ZoneInfo("Europe/Berlin")' ||
    die "the base image's Python does not work" "see $WORK/purge.log"
  tar -C "$folder" --numeric-owner -c . | docker import -c 'ENV PYTHONUTF8=1' - "$RUNTIME" > /dev/null
  say "base image: $(docker image inspect -f '{{.Size}}' "$RUNTIME" | awk '{printf "%.0f MB", $1 / 1e6}')"
}

provide() {
  if [ -n "${BASE_IMAGE-}" ]; then
    echo "$BASE_IMAGE $BASE_IMAGE"
  elif present "$PUBLIC" || pull; then
    echo "$PUBLIC $PUBLIC"
  else
    build
    echo "$RUNTIME $BUILDER"
  fi
}

"$HACK/docker.sh"
locked base-image provide
