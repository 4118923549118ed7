#!/bin/sh
# bench.sh: every benchmark of the release build, in order, and one line for each number. Compare
# numbers of one run of this script only: they belong to one machine at one time.
set -eu
cd "$(dirname "$0")/.."
build=build/release

echo "machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo "commit: $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
if [ -x bench/run.sh ]; then exec bench/run.sh "$build"; fi

code=0
for program in "$build"/bench_*; do
    [ -x "$program" ] || continue
    echo "== $(basename "$program")"
    "$program" </dev/null || code=1
done
for script in bench/*.lua; do
    [ -f "$script" ] || continue
    echo "== $script"
    "$build"/gbrun "$script" </dev/null || code=1
done
exit "$code"
