#!/bin/sh
# device-pack.sh [FOLDER]: a folder (build/device-pack) that runs on any x86-64 Linux whose glibc is
# as new as the one it needs, with a GPU or without: gbrun, the suites of devices, the benchmarks
# with their peers, the examples, and what these load. ./run in it runs all of that on every backend
# and writes one JSON file.
#
# Not in it: a C++ compiler and NVRTC (110 MB). Instead it takes images along, of every source that
# the suite, the benchmarks and the examples compile: objects for x86-64-v2, v3 and v4, and, where
# NVRTC is there when the pack is made, cubins for 8.0 and 9.0 and PTX for later GPUs.
set -eu
cd "$(dirname "$0")/.."
pack=${1:-build/device-pack}
case $pack in /*) ;; *) pack=$PWD/$pack ;; esac
build=build/pack
limit_kb=$((60 * 1024))
suites='gpu_conformance gpu_mempool gpu_lanes gpu_tenants'
suites="$suites lua_lib lua_plan lua_batch lua_kernels lua_memory"

fail() {
    echo "device-pack: $1" >&2
    exit 1
}

echo "== build the pack's programs in $build"
mkdir -p "$build"
# The programs find their libraries beside themselves (old tags: those of the libraries too), and
# their files in the current folder.
# shellcheck disable=SC2016 # the loader reads $ORIGIN, not this shell
if ! {
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE='-O2 -g1' \
        -DGB_TESTS_ROOT=. -DCMAKE_BUILD_RPATH='$ORIGIN/../lib' \
        -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags &&
        for suite in $suites; do echo "test_$suite"; done |
        xargs cmake --build "$build" -j "${GB_JOBS:-$(nproc)}" --target gbrun bench_cuda_raw \
            bench_kernels bench_memory
} >"$build/log" 2>&1; then
    tail -n 50 "$build/log" >&2
    fail "the build failed: $build/log"
fi

rm -rf "$pack"
mkdir -p "$pack/bin" "$pack/lib" "$pack/lua" "$pack/tests/gpu" "$pack/tests/lua" "$pack/bench"
luajit=$(command -v luajit) || fail 'no luajit'
cp "$build/gbrun" "$build/bench_cuda_raw" "$build/bench_kernels" "$build/bench_memory" \
    "$luajit" "$pack/bin"
for suite in $suites; do cp "$build/tests/test_$suite" "$pack/bin"; done
"${CXX:-c++}" -O3 -march=x86-64-v3 -std=c++17 -pthread -static-libstdc++ -static-libgcc \
    -o "$pack/bin/peer_lib" bench/peers/lib*.cc || fail 'the peers do not compile'
strip -g "$pack"/bin/*

# busted, for gbrun test: what the distribution's package of it needs.
lua_modules=$(for folder in /usr/share/lua/5.1 /usr/local/share/lua/5.1; do
    [ ! -f "$folder/busted/init.lua" ] || echo "$folder"
done | head -n 1)
[ -n "$lua_modules" ] || fail 'no busted: gbrun doctor says how to get it'
for module in busted luassert say pl cliargs cliargs.lua mediator.lua term system; do
    [ ! -e "$lua_modules/$module" ] || cp -RL "$lua_modules/$module" "$pack/lua"
done
objects=$(for folder in /usr/lib/*/lua/5.1 /usr/local/lib/lua/5.1; do
    [ ! -e "$folder/lfs.so" ] || echo "$folder"
done | head -n 1)
[ -n "$objects" ] || fail 'no lfs.so, which busted needs'
for module in lfs.so term system; do cp -RL "$objects/$module" "$pack/lua"; done

# Everything they load but the C library, which belongs to the machine.
for program in "$pack"/bin/*; do
    ldd "$program"
done | awk '/=> \// { print $3 }' | sort -u | while read -r library; do
    case $library in
    */libc.so.* | */libm.so.* | */libdl.so.* | */libpthread.so.* | */librt.so.*) ;;
    *) cp -L "$library" "$pack/lib" ;;
    esac
done
if ldd "$luajit" | grep -q libluajit; then
    fail "$luajit needs libluajit and has no path to the pack's; use a static one"
fi

cp -R tests/gpu/conformance "$pack/tests/gpu"
cp -R tests/lua/*.lua tests/lua/resident tests/lua/tenants tests/lua/streams \
    tests/lua/resilience "$pack/tests/lua"
cp -R bench/lua bench/kernels bench/peers "$pack/bench"
cp -R examples kernels "$pack"
cp scripts/device-pack/* "$pack"
cp LICENSE "$pack"

newest_glibc=$(for file in "$pack"/bin/* "$pack"/lib/*; do
    objdump -T "$file" 2>/dev/null
done | grep -o 'GLIBC_2[0-9.]*' | sort -uV | tail -n 1)
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
dirty=false
[ -z "$(git status --porcelain -uno 2>/dev/null)" ] || dirty=true
cat >"$pack/pack.lua" <<END
return { commit = "$commit", dirty = $dirty, built = "$(date -u +%Y-%m-%dT%H:%M:%SZ)",
  needs = "${newest_glibc#GLIBC_}", cpu_images = 0, gpu_images = 0, libraries = "$(cd "$pack/lib" && echo *)" }
END

echo '== images, from a run on the cpu backend'
GB_IMAGES_MAKE=$pack/images "$pack/run" --quick --only cpu. \
    --bound 1800 --total 3600 --out "$PWD/$build/images.json" >"$build/images.log" 2>&1 ||
    { tail -n 30 "$build/images.log" >&2; fail "the run that makes images failed: $build/images.log"; }
rm -rf "$pack/logs"
count() { find "$pack/images" -type f -name "*.$1" 2>/dev/null | wc -l; }
cpu_images=$(count cpu)
gpu_images=$(count cuda)
[ "$cpu_images" -gt 0 ] || fail "no images: $build/images.log"
[ "$gpu_images" -gt 0 ] || echo 'device-pack: no images for GPUs: NVRTC is not here' >&2
sed -i "s/cpu_images = 0, gpu_images = 0/cpu_images = $cpu_images, gpu_images = $gpu_images/" \
    "$pack/pack.lua"

size_kb=$(du -sk "$pack" | cut -f 1)
[ "$size_kb" -le "$limit_kb" ] || fail "$pack has $size_kb KB, at most $limit_kb"
echo "$pack: $size_kb KB, $cpu_images + $gpu_images images, commit $commit, needs glibc ${newest_glibc#GLIBC_}; run it: $pack/run"
