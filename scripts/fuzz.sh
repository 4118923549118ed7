#!/bin/sh
# fuzz.sh SECONDS: each libFuzzer program of the preset fuzz, for so long. What it finds is kept in
# build/fuzz/corpus/NAME and is where the next run starts; an input that fails lies in build/fuzz.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
scripts/build.sh fuzz
cd build/fuzz
code=0
for program in $(find tests -maxdepth 1 -name 'fuzz_*' -type f -perm -u+x | sort); do
    name=${program#tests/fuzz_}
    mkdir -p "corpus/$name"
    echo "== fuzz_$name for $seconds s"
    "$program" -max_total_time="$seconds" -artifact_prefix="$name-" -print_final_stats=0 \
        -verbosity=0 "corpus/$name" </dev/null || code=1
done
exit "$code"
