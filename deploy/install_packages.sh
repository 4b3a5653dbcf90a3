#!/usr/bin/env bash
# Installs the Debian 12 packages that Barn is built with (and, with "tests", what its tests use). Quick when they are there.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config ccache ca-certificates curl
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  libboost-dev libcli11-dev nlohmann-json3-dev libspdlog-dev
  libcurl4-openssl-dev libssl-dev libpcre2-dev libicu-dev libhwloc-dev
  libgtest-dev libgmock-dev libbenchmark-dev libsimde-dev
)
if [[ "${1:-}" == tests ]]; then
  packages+=(git clang-format python3 python3-venv)
fi

missing=()
for package in "${packages[@]}"; do
  [[ "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" == "install ok installed" ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

as_root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "install_packages.sh: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
