-- huge.lua APP MIB: huge.sh runs it against two silos. Messages with so many MiB of payload, while
-- small calls go on; then one of max_message, which is 1 MiB more, and one of a byte too many.
local gb = require "gb"
local bytes = tonumber(arg[2]) * 2 ^ 20
local SMALL_LEAST, MEDIAN_S = 20, 0.1
local SLOWEST_S = 5 -- a worker that copies a gigabyte does nothing else meanwhile
package.path = arg[1] .. "/?.lua;" .. package.path
local words = require "words"

local bulk = gb.get("Bulk", "far"):with { timeout = "300s" }
local sender = gb.get("Sender", "near"):with { timeout = "300s" }
local small = {}
for i = 1, 8 do small[i] = gb.get("Small", i) end

local function during(what, start)
  for i = 1, #small do assert(small[i]:ping(i) == i) end
  collectgarbage()
  local began = gb.monotonic()
  local large, waits = start(), {}
  local sent = gb.monotonic()
  while not large:done() do
    local at, i = gb.monotonic(), #waits + 1
    assert(small[i % #small + 1]:ping(i) == i)
    waits[i] = gb.monotonic() - at
  end
  local value = assert(large:await())
  local took = gb.monotonic() - began
  table.sort(waits)
  local slowest, median = waits[#waits] or 0, waits[math.ceil(#waits / 2)] or 0
  print(("%-22s %6.2f s (%.2f s to send); %d small calls: median %.1f us, %.3f s at most")
    :format(what, took, sent - began, #waits, median * 1e6, slowest))
  assert(#waits >= SMALL_LEAST and median < MEDIAN_S and slowest < SLOWEST_S)
  return value
end

for _, kind in ipairs { "array", "text" } do
  local x = words[kind](bytes)
  assert(during("client to silo, " .. kind, function() return bulk:async("right", x) end) == bytes)
  x = nil -- luacheck: ignore
  x = during("silo to client, " .. kind, function() return bulk:async(kind, bytes) end)
  assert(words.right(x) == bytes)
  x = nil -- luacheck: ignore
  local function between() return sender:async("send", kind, bytes) end
  assert(during("silo to silo, " .. kind, between) == bytes)
end

-- The head of a message counts too; how large it is, the first refusal tells.
local most = bytes + 2 ^ 20
local function refused(x)
  local value, why, code = bulk:size(gb.move(x))
  assert(value == nil and code == "EINVAL", why)
  local size, limit = why:match("of (%d+) bytes; the limit between silos is (%d+) %(max_message%)")
  assert(tonumber(limit) == most, why)
  return tonumber(size), why
end
local head = refused(gb.array("uint8", most)) - most
assert(bulk:size(gb.move(gb.array("uint8", most - head))) == most - head)
local size, why = refused(gb.array("uint8", most - head + 1))
assert(size == most + 1)
print("one byte more, array: " .. why)
local fine, raised = pcall(bulk.size, bulk, ("x"):rep(most + 1))
assert(not fine and raised:find("MiB of strings in one message (max_message)", 1, true), raised)
print("one byte more, text: " .. raised)
print "ok"
