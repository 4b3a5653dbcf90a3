#!/usr/bin/env bash
# Installs the Debian 12 packages that Barn is built with (and, with "tests", what its tests use). Quick when they are there.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config ccache ca-certificates curl
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  libboost-dev libcli11-dev nlohmann-json3-dev libspdlog-dev
  libucx-dev libcurl4-openssl-dev libssl-dev libpcre2-dev libicu-dev libhwloc-dev libsqlite3-dev
  libgtest-dev libgmock-dev libbenchmark-dev libsimde-dev
)
if [[ "${1:-}" == tests ]]; then
  packages+=(git clang-format python3 python3-venv)
fi

fail() { echo "install_packages.sh: $*" >&2; exit 1; }
command -v apt-get >/dev/null || fail "this machine has no apt-get (the script is for Debian 12). Barn needs: ${packages[*]}"

missing=()
for package in "${packages[@]}"; do
  [[ "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" == "install ok installed" ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

as_root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null || fail "packages are missing, and you are neither root nor is sudo here. Let root run this, then try again:
  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  as_root=(sudo)
fi

echo "Installing ${#missing[@]} Debian packages and what they need (a few minutes): ${missing[*]}"
log="$(mktemp)"  # What apt says is shown only when it fails.
trap 'rm -f "$log"' EXIT
{
  # A machine that has just started may be upgrading itself: wait for that to end.
  apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"
} >"$log" 2>&1 || { cat "$log" >&2; fail "apt-get could not install them; its words are above"; }
