#!/bin/sh
# Whether a trace is sampled is decided where it begins, whatever rate the silos have that it comes
# to. spans.sh GBRUN
app=spans
. "$(dirname "$0")/silos.sh"

cat >calls.lua <<'END'
local gb = require "gb"
local ref = gb.get("Traced", "x")
assert(ref:spans()) -- what was there before
local trace, sampled = ref:get("y")
assert(trace == gb.context().trace, "one trace")
local names, roots = {}, 0
for _, s in ipairs(assert(ref:spans())) do
  assert(s.trace == trace)
  if not s.parent then roots = roots + 1 end
  names[#names + 1] = s.name .. ":" .. s.attributes["grain.id"]
end
table.sort(names)
print(sampled, roots, table.concat(names, " "))
END

start never --sampling-rate 0
never=$address
expect 0 "true	2	Traced.get:x Traced.get:y Traced.spans:x" \
  --connect "$never" --sampling-rate 1 calls.lua
expect 0 "false	0	" --connect "$never" --sampling-rate 0 calls.lua
kill -TERM "$pid"
start always --sampling-rate 1
expect 0 "false	0	" --connect "$address" --sampling-rate 0 calls.lua
finish
