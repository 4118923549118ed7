#!/usr/bin/env bash
# test.sh [RUN...]: builds and runs the tests. The runs, in order; none named: all of them.
#   dev       every test, warnings are errors
#   asan      AddressSanitizer, UndefinedBehaviorSanitizer and leak checks
#   tsan      ThreadSanitizer
#   joff      the Lua tests of dev with LuaJIT's compiler off
#   hotloop   the Lua tests of dev with LuaJIT compiling at once (hotloop=1)
# Tests with the label walk (driver calls failing at many counts) are "make walk".
# A build that fails ends it. The last line sums up all runs: N passed, N failed[, N skipped].
# GB_JOBS: how many compilers and tests at a time (default: one per core).
set -euo pipefail
cd "$(dirname "$0")/.."

export GB_JOBS=${GB_JOBS:-$(nproc)}
test_timeout_s=900 # for who hangs: nothing of a test depends on it
results=build/results
runs=("$@")
[ ${#runs[@]} -gt 0 ] || runs=(dev asan tsan joff hotloop)
passed=0 failed=0 skipped=0

# Always the last line, also when a build fails or somebody stops it.
finish() {
    local code=$?
    [ "$code" = 0 ] || [ "$failed" -gt 0 ] || failed=1
    [ "$failed" = 0 ] || code=1
    local line="$passed passed, $failed failed"
    [ "$skipped" = 0 ] || line="$line, $skipped skipped"
    echo "$line"
    exit "$code"
}
trap finish EXIT

# Sanitizers need the plain layout of memory, which some kernels randomise too far for them.
plain_memory=()
if setarch "$(uname -m)" -R true 2>/dev/null; then plain_memory=(setarch "$(uname -m)" -R); fi

# How many tests of a JUnit file have a status: run, fail, skipped (by the test itself), other.
count() {
    awk -v want="$2" '
        function close_case() { if (status != "") n[status]++; status = "" }
        /<testcase / {
            close_case()
            match($0, / status="[a-z]*"/)
            status = substr($0, RSTART + 9, RLENGTH - 10)
            if (status != "run" && status != "fail") status = "other"
        }
        /<skipped message="SKIP_/ { status = "skipped" }
        END { close_case(); print n[want] + 0 }' "$1"
}

# run NAME PRESET CTEST-ARGUMENT...
run() {
    local name=$1 preset=$2 file code=0
    shift 2
    file=$PWD/$results/$name.xml
    rm -f "$file"
    echo "== test $name"
    "${plain_memory[@]}" ctest --test-dir build/"$preset" -j "$GB_JOBS" \
        --timeout "$test_timeout_s" --output-on-failure --no-tests=error --output-junit "$file" \
        -LE walk \
        "$@" </dev/null | sed -u '/^ *Start /d' || code=$?
    if [ ! -f "$file" ]; then
        failed=$((failed + 1))
        return
    fi
    local ok bad
    ok=$(count "$file" run)
    bad=$(($(count "$file" fail) + $(count "$file" other)))
    [ "$code" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + ok))
    failed=$((failed + bad))
    skipped=$((skipped + $(count "$file" skipped)))
}

# run_jit NAME MODE: the Lua tests of dev, with a mode of LuaJIT's compiler in every state.
run_jit() {
    scripts/build.sh dev
    LD_LIBRARY_PATH=$PWD/build/dev/tests LD_PRELOAD=libjit_mode.so GB_JIT_MODE=$2 \
        run "$1" dev -R '^(lua|host|gbrun|docs|examples)\.'
}

mkdir -p "$results"
mkdir -p build/cache # compiled kernels: not those of the user, who may have no place for them
export XDG_CACHE_HOME=$PWD/build/cache
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
for name in "${runs[@]}"; do
    start=$SECONDS
    case $name in
    dev) scripts/build.sh dev; run dev dev ;;
    asan) scripts/build.sh asan; run asan asan -E '^(tidy|tree)\.' ;;
    tsan) scripts/build.sh tsan; run tsan tsan -E '^(tidy|tree|fuzz|wire)\.' ;;
    joff) run_jit joff off ;;
    hotloop) run_jit hotloop hotloop=1 ;;
    *) echo "test.sh: no run '$name': dev asan tsan joff hotloop" >&2; exit 2 ;;
    esac
    echo "== $name: $((SECONDS - start)) s"
done
