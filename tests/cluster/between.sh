#!/bin/sh
# Three real silos: what crosses links between them. between.sh GBRUN
app=between
. "$(dirname "$0")/silos.sh"

start a --workers 2 --label zone=a
a=$address
start b --workers 3 --label zone=b
start c --workers 1 --label zone=c
expect 0 ok --connect "$a" "$here/between.lua" a
expect 0 ok --connect "$address" "$here/between.lua" c
expect 0 ok --connect "$a" "$here/subscribe.lua" a
expect 0 ok --connect "$address" "$here/subscribe.lua" c

# A script that listens ends all the same.
cat >ends.lua <<'LUA'
local gb = require "gb"
assert(gb.subscribe(gb.get("B", "ends"), "said", function() end))
print("ends")
LUA
expect 0 ends --connect "$a" ends.lua
if grep "still runs" err; then failed=$((failed + 1)); fi
finish
