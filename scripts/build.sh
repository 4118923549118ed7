#!/bin/sh
# build.sh PRESET [TARGET...]: configures and builds a preset of CMakePresets.json; the preset
# release without its tests. GB_JOBS: how many compilers at a time.
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
for target in "$@"; do set -- "$@" --target "$target"; shift; done

log=build/$preset.log
mkdir -p build
echo "== build $preset"
testing=
[ "$preset" != release ] || testing=-DBUILD_TESTING=OFF
# shellcheck disable=SC2086 # nothing or one word
if ! cmake --preset "$preset" $testing >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
if ! cmake --build --preset "$preset" "$@" -- -j "${GB_JOBS:-$(nproc)}" >>"$log" 2>&1; then
    tail -n 100 "$log" >&2
    exit 1
fi
