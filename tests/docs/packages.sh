#!/bin/sh
# packages.sh ROOT FOLDER: scripts/packages.sh against machines made of small programs in FOLDER
# that write down how they were called. Nothing is installed.
# shellcheck disable=SC2016 # the texts in quotes are programs
set -eu
root=$1 folder=$2
script=$root/scripts/packages.sh
rm -rf "$folder"
mkdir -p "$folder"
log=$folder/log

fail() {
    echo "packages.sh: $1" >&2
    [ ! -f "$folder/out" ] || cat "$folder/out" >&2
    [ ! -f "$log" ] || cat "$log" >&2
    exit 1
}

# A machine: a folder for PATH with the tools that the script needs, and the given programs.
machine() {
    bin=$folder/$1
    mkdir -p "$bin"
    : >"$log"
    for tool in sh sed tr grep cat env dirname true; do ln -sf "/usr/bin/$tool" "$bin/$tool"; done
}

program() {
    printf '#!/bin/sh\n%s\n' "$2" >"$bin/$1"
    chmod +x "$bin/$1"
}

# expect CODE USE...: runs the script on the machine.
expect() {
    want=$1 code=0
    shift
    env -i PATH="$bin" LOG="$log" "$script" "$@" >"$folder/out" 2>&1 || code=$?
    [ "$code" = "$want" ] || fail "$bin: exit code $code, not $want"
}

said() { grep -q -- "$1" "$folder/out" || fail "$bin did not say: $1"; }
did() { grep -q -- "$1" "$log" || fail "$bin did not run: $1"; }
did_not() { ! grep -q -- "$1" "$log" || fail "$bin ran: $1"; }

has_all='echo "install ok installed"'
has_none='exit 1'
lacks_uv='[ "$4" != libuv1-dev ] || exit 1
echo "install ok installed"'
knows='echo "  Candidate: 1.0"'
# Knows nothing before an update.
knows_later='if grep -q update "$LOG"; then echo "  Candidate: 1.0"; exit 0; fi
echo "  Candidate: (none)"'
knows_jammy='case $2 in libclang-rt-dev|pkg-config) echo "  Candidate: (none)"; exit 0 ;; esac
echo "  Candidate: 1.0"'
apt='echo "apt-get $*" >>"$LOG"'
broken_until_update='echo "apt-get $*" >>"$LOG"
case "$*" in *install*) grep -q update "$LOG" ;; esac'

machine complete
program dpkg-query "$has_all"
program apt-get "$apt"
expect 0
did_not apt-get

machine no_apt
expect 1 build
said 'no apt-get'
said libuv1-dev
said 'pkg-config|pkgconf'

machine user_without_sudo
program dpkg-query "$lacks_uv"
program apt-get "$apt"
program id 'echo 1000'
expect 1 build test
said libuv1-dev
if grep -q cmake "$folder/out"; then fail 'it asks for what is there'; fi
did_not apt-get

machine user_with_sudo
program dpkg-query "$lacks_uv"
program apt-get "$apt"
program apt-cache "$knows"
program id 'echo 1000'
program sudo 'echo "sudo $*" >>"$LOG"; [ "$1" = -n ] && shift; exec "$@"'
expect 0 build test
did 'sudo -n env DEBIAN_FRONTEND=noninteractive apt-get -q install -y '
did ' --no-install-recommends libuv1-dev$'
did_not update

machine root_with_old_lists
program dpkg-query "$lacks_uv"
program apt-get "$apt"
program apt-cache "$knows_later"
program id 'echo 0'
expect 0 build
did 'apt-get -q update'
did 'install -y --no-install-recommends libuv1-dev$'

machine lacks_what_not_all_have
program dpkg-query '[ "$4" != libclang-rt-dev ] || exit 1
echo "install ok installed"'
program apt-get "$apt"
program apt-cache "$knows"
program id 'echo 0'
expect 0 build test
did 'install -y --no-install-recommends libclang-rt-dev$'

machine root_with_stale_lists
program dpkg-query "$lacks_uv"
program apt-get "$broken_until_update"
program apt-cache "$knows"
program id 'echo 0'
expect 0 build
did 'apt-get -q update'

machine alternatives
program dpkg-query "$has_none"
program apt-get "$apt"
program apt-cache "$knows_jammy"
program id 'echo 0'
expect 0 build test
did 'install -y --no-install-recommends gcc .* pkgconf luajit .* lua-busted$'
did_not libclang-rt-dev
did_not update

machine unknown
program dpkg-query "$has_none"
program apt-get "$apt"
program apt-cache 'echo "  Candidate: (none)"'
program id 'echo 0'
expect 1 build
said 'does not know'
did_not ' install '

machine skip
bin=$folder/no_apt
env -i PATH="$bin" GB_PACKAGES=skip "$script" build || fail 'GB_PACKAGES=skip is not heeded'

