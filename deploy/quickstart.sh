#!/usr/bin/env bash
# From a clone on a fresh Debian 12 to a streamed answer: installs packages, builds the release, starts `barn up` with the
# embedded model, asks it something over HTTP and prints the address. Ctrl-C ends it; --no-wait ends after the answer.
set -euo pipefail
cd "$(dirname "$0")/.."
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1  # Another clone of the same code finds what this one compiled.

wait_for_user=1
port="${BARN_PORT:-8080}"
usage="usage: deploy/quickstart.sh [--no-wait]   (BARN_PORT=8080 chooses the port)"
for argument in "$@"; do
  case "$argument" in
    --no-wait) wait_for_user=0 ;;
    --help | -h) echo "$usage"; exit 0 ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done

if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  echo "quickstart.sh: something already listens on port $port; choose another: BARN_PORT=8081 deploy/quickstart.sh" >&2
  exit 1
fi

deploy/install_packages.sh
echo "Building build/release/barn (the first time, about 5 minutes on two cores)"
cmake --preset release >/dev/null
quiet=(-- --quiet)
[[ -t 1 ]] && quiet=()  # A terminal gets ninja's one line of progress.
cmake --build --preset release --target barn "${quiet[@]}"

echo "Starting a coordinator and two workers"
log="$(mktemp)"
build/release/barn up --workers 2 --listen "127.0.0.1:$port" >"$log" 2>&1 &
barn=$!
trap 'kill "$barn" 2>/dev/null || true; wait "$barn" 2>/dev/null || true; rm -f "$log"' EXIT

fail() { cat "$log" >&2; echo "quickstart.sh: $*" >&2; exit 1; }
ask() { curl --noproxy '*' -fsSN "http://127.0.0.1:$port$1" "${@:2}"; }
for _ in $(seq 150); do
  ask /ready >/dev/null 2>&1 && break
  kill -0 "$barn" 2>/dev/null || fail "barn ended before it was ready"
  sleep 0.2
done
ask /ready >/dev/null 2>&1 || fail "barn was not ready within 30 s"

echo "Barn answers on http://127.0.0.1:$port/v1 (model tiny-moe, two workers). A streamed completion:"
echo
printf 'The function returns'
ask /v1/completions -H 'Content-Type: application/json' \
  -d '{"model":"tiny-moe","prompt":"The function returns","max_tokens":48,"temperature":0,"stream":true}' |
  sed -un 's/^data: {.*"text":"\(\([^"\\]\|\\.\)*\)".*/\1/p' | while IFS= read -r piece; do printf '%b' "${piece//\\\"/\"}"; done
echo
echo

if [[ $wait_for_user -eq 1 ]]; then
  echo "Still serving: curl http://127.0.0.1:$port/v1/models    Ctrl-C ends it."
  trap 'echo; echo "Stopping."; exit 130' INT
  wait "$barn" || fail "barn ended by itself"
fi
