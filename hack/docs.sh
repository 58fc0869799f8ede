#!/usr/bin/env bash
# docs.sh pages: writes the pages that are made from the code.  docs.sh build [FOLDER]: the site, into site/ or FOLDER.
# A broken link or anchor, a page that mkdocs.yml doesn't list, or a page that needs a network to be read fails the build.
set -euo pipefail
. "$(dirname "$0")/common.sh"

BIN=$ROOT/.venv/bin
cd "$ROOT"

pages() {
  "$BIN/python" -m cli.reference
  "$BIN/python" -m controller.reasons_page > docs/reference/reasons.md
}

build() { # FOLDER
  local said foreign
  # not --quiet: then warnings aren't counted, and nothing fails
  said=$(NO_MKDOCS_2_WARNING=1 "$BIN/mkdocs" build --clean --site-dir "$1" 2>&1) || die "the site can't be built:"$'\n'"$said"
  foreign=$(grep -rlE '<(script|img|iframe)[^>]* src="(https?:)?//|<link[^>]* rel="(stylesheet|preconnect|icon)"[^>]* href="(https?:)?//' "$1" --include='*.html' || true)
  [ -z "$foreign" ] || die "these pages load something from elsewhere: $foreign" "put the file into docs/assets and name it in mkdocs.yml"
}

case ${1-} in
  pages) pages ;;
  build) build "${2:-$ROOT/site}" ;;
  *) die "usage: docs.sh pages | build [FOLDER]" ;;
esac
