#!/bin/sh
# packages.sh [USE...]: installs the packages of packages.txt that are missing, with apt, as root or
# through sudo where that asks nothing. USE is build, test, bench or engines; none: all of them.
# Where it cannot install, it prints the list and exits with 1. GB_PACKAGES=skip: does nothing,
# for machines that have them from elsewhere.
set -eu
cd "$(dirname "$0")/.."

[ "${GB_PACKAGES:-}" != skip ] || exit 0

# The lines of the list for the wanted uses: one package, a|b or a?, each.
wanted() {
    sed 's/#.*//' packages.txt | while read -r use names; do
        [ -n "$names" ] || continue
        case " ${uses:-$use} " in *" $use "*) echo "$names" ;; esac
    done
}

installed() {
    for name in $(echo "${1%'?'}" | tr '|' ' '); do
        status=$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null) || continue
        [ "$status" != 'install ok installed' ] || return 0
    done
    return 1
}

# What of the list is not there; a? only where apt knows of it.
find_missing() {
    wanted | while read -r names; do
        if installed "$names"; then continue; fi
        case $names in *'?') available "${names%'?'}" || continue ;; *) echo "$names" ;; esac
    done
}

# The first of a|b that apt can install; fails when there is none.
available() {
    for name in $(echo "$1" | tr '|' ' '); do
        if apt-cache policy "$name" 2>/dev/null | grep -q '^  Candidate: [^(]'; then
            echo "$name"
            return 0
        fi
    done
    return 1
}

give_up() {
    {
        echo "packages: $1. gpubridge needs these packages (Debian's names; a|b: either):"
        echo "$missing" | sed 's/^/    /; s/?$//'
        echo 'Install them and run this again; GB_PACKAGES=skip goes on without this check.'
    } >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        DEBIAN_FRONTEND=noninteractive "$@" </dev/null
    else
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@" </dev/null
    fi
}

choose() {
    for names in $missing; do
        available "$names" || return 1
    done
}

uses=$*
missing=$(wanted)
if command -v dpkg-query >/dev/null 2>&1; then
    missing=$(find_missing)
fi
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null 2>&1 || give_up 'there is no apt-get here'
if [ "$(id -u)" != 0 ]; then
    sudo -n true >/dev/null 2>&1 </dev/null || give_up 'not root, and sudo would ask for a password'
fi

echo "packages: installing $(echo "$missing" | tr '\n' ' ')"
updated=no
if ! choice=$(choose); then
    as_root apt-get -q update
    updated=yes
    missing=$(find_missing)
    choice=$(choose) || give_up 'apt does not know all of them'
fi

install() {
    # shellcheck disable=SC2086 # a list of names
    as_root apt-get -q install -y --no-install-recommends $choice
}

if ! install; then # the lists may name versions that are gone
    [ $updated = no ] || give_up 'apt-get install failed'
    as_root apt-get -q update
    install || give_up 'apt-get install failed'
fi
