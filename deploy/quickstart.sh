#!/usr/bin/env bash
# From a clone on a fresh Debian 12 to a streamed answer: installs packages, builds the release, starts `barn up` with the
# embedded model, asks it something over HTTP and prints the address. Ctrl-C ends it; --no-wait ends after the answer.
set -euo pipefail
cd "$(dirname "$0")/.."
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1  # Another clone of the same code finds what this one compiled.

wait_for_user=1
port="${BARN_PORT:-8080}"
for argument in "$@"; do
  case "$argument" in
    --no-wait) wait_for_user=0 ;;
    *) echo "usage: deploy/quickstart.sh [--no-wait]   (BARN_PORT=8080 chooses the port)" >&2; exit 2 ;;
  esac
done

deploy/install_packages.sh
cmake --preset release >/dev/null
cmake --build --preset release --target barn -- --quiet

log="$(mktemp)"
build/release/barn up --workers 2 --listen "127.0.0.1:$port" >"$log" 2>&1 &
barn=$!
trap 'kill "$barn" 2>/dev/null || true; wait "$barn" 2>/dev/null || true; rm -f "$log"' EXIT

for _ in $(seq 150); do
  curl -fsS -o /dev/null "http://127.0.0.1:$port/ready" 2>/dev/null && break
  kill -0 "$barn" 2>/dev/null || { cat "$log" >&2; exit 1; }
  sleep 0.2
done
curl -fsS -o /dev/null "http://127.0.0.1:$port/ready" || { cat "$log" >&2; exit 1; }

echo "Barn answers on http://127.0.0.1:$port/v1 (model tiny-moe, two workers). A streamed completion:"
echo
printf 'The function returns'
curl -fsSN "http://127.0.0.1:$port/v1/completions" -H 'Content-Type: application/json' \
  -d '{"model":"tiny-moe","prompt":"The function returns","max_tokens":48,"temperature":0,"stream":true}' |
  sed -un 's/^data: {.*"text":"\(\([^"\\]\|\\.\)*\)".*/\1/p' | while IFS= read -r piece; do printf '%b' "${piece//\\\"/\"}"; done
echo
echo

if [[ $wait_for_user -eq 1 ]]; then
  echo "Still serving: curl http://127.0.0.1:$port/v1/models    Ctrl-C ends it."
  wait "$barn"
fi
