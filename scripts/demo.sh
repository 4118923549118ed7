#!/bin/sh
# demo.sh: the main job, in the release build.
set -eu
cd "$(dirname "$0")/.."
script=examples/pagerank.lua
mkdir -p build/cache # compiled kernels
export XDG_CACHE_HOME="${XDG_CACHE_HOME:-$PWD/build/cache}"
echo "== gbrun $script"
exec build/release/gbrun "$script"
