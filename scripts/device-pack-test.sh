#!/bin/sh
# device-pack-test.sh [PACK]: builds the pack, or takes one that is there, and runs a copy of it in a
# fresh folder: with an empty PATH (nothing of this machine but the C library is used), then as it is,
# then its cuda steps over the software driver of the tests. The last is a check of the steps; it says
# nothing about any GPU.
set -eu
cd "$(dirname "$0")/.."
pack=${1:-build/device-pack}
[ -n "${1-}" ] || scripts/device-pack.sh
cmake --build build/pack --target softcuda -- -j "${GB_JOBS:-$(nproc)}" >>build/pack/log 2>&1
softcuda=$PWD/build/pack/tests/libsoftcuda.so
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -R "$pack" "$folder/pack"

fail() {
    echo "device-pack-test: $1" >&2
    exit 1
}

has() {
    grep -q "$2" "$folder/$1" || fail "$1 has no $2"
}

passed() { # keys stand in order: name, no_image, result
    grep -A 2 "\"name\": \"$2\"" "$folder/$1" | grep -q '"result": "passed"' ||
        fail "$1: $2 did not pass"
}

echo '== what the programs load'
for program in "$folder"/pack/bin/*; do
    libraries=
    case $program in */luajit) libraries=$folder/pack/lib ;; esac # as in the pack's run
    env -i PATH= LD_LIBRARY_PATH="$libraries" /lib64/ld-linux-x86-64.so.2 --list "$program"
done >"$folder/libraries"
! grep 'not found' "$folder/libraries" || fail 'a library is missing'
! grep -E '=> /' "$folder/libraries" | grep -Ev "=> $folder/pack/|/lib(c|m|dl|pthread|rt)\.so" ||
    fail 'a library of this machine is loaded'

echo '== run with an empty PATH'
env -i PATH= "$folder/pack/run" --quick --out "$folder/empty.json" ||
    fail 'the run with an empty PATH failed'
has empty.json '"kernels": "images of the pack"'
has empty.json '"tests_passed": [1-9]'
has empty.json '"no_image": 3,' # plan, kernels and batch look at what a compiler says
for step in conformance conformance.fibers gpu.mempool gpu.lanes gpu.tenants lib lua.plan lua.batch \
    lua.kernels lua.memory resident resident.pressure tenants tenants.spread stream \
    resilience.policy resilience.devices resilience.balance bench.lib_device bench.launch \
    bench.plan bench.batch bench.coalesce bench.resident bench.memory example.vector \
    example.graph faults.trap faults.item faults.bound; do
    passed empty.json "cpu.$step"
done

echo '== a damaged image'
mv "$folder/pack/images" "$folder/pack/images.whole"
cp -R "$folder/pack/images.whole" "$folder/pack/images"
for image in "$folder"/pack/images/*.cpu; do
    printf x | dd of="$image" bs=1 seek=200 conv=notrunc 2>/dev/null
done
code=0
env -i PATH= "$folder/pack/run" --quick --only cpu.example.vector --out "$folder/damaged.json" || code=$?
[ "$code" = 1 ] || fail "a run with damaged images: exit code $code"
has damaged.json 'an image of GB_IMAGES is refused'
rm -rf "$folder/pack/images"
mv "$folder/pack/images.whole" "$folder/pack/images"

echo '== run without a GPU'
env -u GB_CUDA_LIBRARY -u GB_NVRTC_LIBRARY "$folder/pack/run" --quick --out "$folder/plain.json" ||
    fail 'the run failed'
has plain.json '"commit": '
has plain.json '"add_gbs": '
has plain.json '"kernels": "compiled here"'

echo '== run over the software driver'
rm -rf "$folder/pack/logs"
GB_CUDA_LIBRARY=$softcuda GB_NVRTC_LIBRARY=$softcuda GB_NVML_LIBRARY=$softcuda \
    "$folder/pack/run" --quick --only software. --out "$folder/software.json" ||
    fail 'the cuda steps failed over the software driver'
has software.json '"ran_on_a_gpu": false'
for step in raw conformance.driver_pool lua.plan lua.kernels resident resident.lost tenants \
    bench.memory faults.trap faults.bound; do
    passed software.json "software.$step"
done
! grep -q '"name": "cuda\.' "$folder/software.json" || fail 'the software driver counts as a GPU'

echo '== a step past its bound, and one that fails'
code=0
"$folder/pack/run" --quick --only cpu.lib --bound 0.2 --out "$folder/bound.json" || code=$?
[ "$code" = 1 ] || fail "a step past its bound: exit code $code"
has bound.json '"timed_out": true'
echo 'the pack is good'
