#!/bin/sh
# device-pack-test.sh: builds the pack and runs a copy of it in a fresh folder: with an empty PATH
# (nothing of this machine but the C library is used), then as it is, then its cuda steps over the
# software driver of the tests. The last is a check of the steps; it says nothing about any GPU.
set -eu
cd "$(dirname "$0")/.."
scripts/device-pack.sh
cmake --build build/pack --target softcuda -- -j "${GB_JOBS:-$(nproc)}" >>build/pack/log 2>&1
softcuda=$PWD/build/pack/tests/libsoftcuda.so
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -R build/device-pack "$folder/pack"

fail() {
    echo "device-pack-test: $1" >&2
    exit 1
}

has() {
    grep -q "$2" "$folder/$1" || fail "$1 has no $2"
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
for step in conformance lib bench.lib_device bench.launch bench.plan bench.batch bench.coalesce \
    bench.resident example.vector example.graph; do
    grep -A 40 "\"name\": \"cpu.$step\"" "$folder/empty.json" >/dev/null || fail "no step cpu.$step"
    ! grep "\"name\": \"cpu.$step\"" "$folder/empty.json" | grep -q skipped || fail "cpu.$step is skipped"
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
has software.json '"name": "software.raw"'
! grep -q '"name": "cuda\.' "$folder/software.json" || fail 'the software driver counts as a GPU'

echo '== a step past its bound, and one that fails'
code=0
"$folder/pack/run" --quick --only cpu.lib --bound 0.2 --out "$folder/bound.json" || code=$?
[ "$code" = 1 ] || fail "a step past its bound: exit code $code"
has bound.json '"timed_out": true'
echo 'the pack is good'
