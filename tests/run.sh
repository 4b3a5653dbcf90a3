#!/usr/bin/env bash
# Everything that must hold: installs packages, builds the release, runs every test, then a sanitizer subset.
# usage: tests/run.sh [--no-sanitizers]
set -euo pipefail
cd "$(dirname "$0")/.."
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1  # Another clone of the same code finds what this one compiled.

sanitizers=1
for argument in "$@"; do
  case "$argument" in
    --no-sanitizers) sanitizers=0 ;;
    *) echo "usage: tests/run.sh [--no-sanitizers]" >&2; exit 2 ;;
  esac
done

shared="$(cd ../shared 2>/dev/null && pwd)" ||
  { echo "tests/run.sh: ../shared is missing: the oracles (right answers, small models) belong beside this clone" >&2; exit 1; }

deploy/install_packages.sh tests
venv=build/test-venv
stamp="$venv/requirements.stamp"
if ! cmp -s tests/requirements.txt "$stamp"; then
  echo "Installing the tests' Python packages in $venv"
  /usr/bin/python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
  cp tests/requirements.txt "$stamp"
fi
"$venv/bin/python" tests/fetch_models.py build/test-models "$shared"

python="$PWD/$venv/bin/python"
quiet=(-- --quiet)
[[ -t 1 ]] && quiet=()  # A terminal gets ninja's one line of progress.

echo "Building Barn and its tests in build/release (the first time, about 10 minutes on two cores)"
cmake --preset release -DBARN_TEST_PYTHON="$python" >/dev/null
cmake --build --preset release "${quiet[@]}"
status=0
ctest --test-dir build/release --output-on-failure || status=1

if [[ $sanitizers -eq 1 ]]; then
  # The whole suite also runs under these presets by hand (README.md); CI takes what meets untrusted bytes or threads.
  for preset in asan tsan; do
    echo "Building a subset of the tests with sanitizers in build/$preset"
    cmake --preset $preset -DBARN_TEST_PYTHON="$python" >/dev/null
    cmake --build --preset $preset --target ${preset}_subset "${quiet[@]}"
    ctest --test-dir build/$preset --output-on-failure -j2 -R "$(cat build/$preset/${preset}_subset.regex)" || status=1
  done
fi
exit $status
