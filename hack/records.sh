# shellcheck shell=bash
# Sourced: what `make up` has begun outside this folder, one file each in .botfleet/records, so that `make down` ends
# that and nothing else. A file holds KEY=VALUE lines. A record names the thing itself, not only its name: a cluster by
# the id of its node's container, a release by the uid of the API server's namespace kube-system.

RECORDS=$STATE/records

record() { # NAME KEY=VALUE...: written whole or not at all
  mkdir -p "$RECORDS"
  printf '%s\n' "${@:2}" > "$RECORDS/$1.new"
  mv "$RECORDS/$1.new" "$RECORDS/$1"
}

recorded() { # NAME KEY: the value, or nothing
  [ ! -f "$RECORDS/$1" ] || sed -n "s/^$2=//p" "$RECORDS/$1"
}

forget() { # NAME
  rm -f "$RECORDS/$1" "$RECORDS/$1.kubeconfig"
}

records() { # PREFIX: the names of all records that begin like this
  local name
  for name in $(ls "$RECORDS" 2> /dev/null || true); do
    case $name in
      *.kubeconfig | *.new) ;;
      "$1"*) echo "$name" ;;
    esac
  done
}
