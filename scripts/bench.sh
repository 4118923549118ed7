#!/bin/sh
# bench.sh: every benchmark of the release build, and one line for each number (bench/run.lua).
# Compare numbers of one run of this script only: they belong to one machine at one time.
set -eu
cd "$(dirname "$0")/.."

echo "machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo "commit: $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
exec luajit bench/run.lua build/release
