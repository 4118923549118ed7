#!/bin/sh
# Large calls between real silos: order, bounds, a silo that stands still. large.sh GBRUN
app=large
. "$(dirname "$0")/silos.sh"

start far --workers 1 --label zone=far --max-message 300MB --stuck-after 10m
far=$address
start near --workers 1 --label zone=near --max-message 1MB --stuck-after 10m
near=$address
for what in between same refused; do
  expect 0 ok --connect "$far" --workers 1 --max-message 300MB "$here/large.lua" "$what"
done
expect 0 ok --connect "$near" --workers 1 "$here/large.lua" slow "$work/go"
expect 1 "(max_message): 0 to 1074790400" --max-message 2GB "$here/large.lua" same
finish
