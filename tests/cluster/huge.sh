#!/bin/sh
# Messages of a gigabyte between real silos: huge.sh GBRUN [MIB]. They take six times as much memory,
# and are no part of the tests (`make huge`).
app=huge
mib=${2:-1024}
set -- "$(realpath "$1")"
. "$(dirname "$0")/silos.sh"

set -- --workers 2 --max-message "$((mib + 1))MB" --stuck-after 2m
start far --label zone=far "$@"
far=$address
start near --label zone=near "$@"
timeout 280 "$gbrun" --connect "$far" --workers 1 --max-message "$((mib + 1))MB" \
  "$here/huge.lua" "$app" "$mib" || failed=1
cat ./*.log
finish
