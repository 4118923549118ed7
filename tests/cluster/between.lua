-- As a client of three silos with the app `between`: what crosses a link beside arguments, and
-- calls that wait for each other. between.lua RUN: names its grains.
local gb = require "gb"

local function eq(got, want, what)
  if got ~= want then
    error(("%s: got %s, expected %s"):format(what, tostring(got), tostring(want)), 2)
  end
end

-- ---- context, deadline, priority ----

local mine = gb.context()
local a, b = gb.get("A", "ctx"):with { timeout = "20s", bag = { user = "ann" } }, gb.get("B", "ctx")
local first, second = assert(a:pass_on(b))
local ca, da, cb, db = first[1], first[2], second[1], second[2]
eq(a:where() .. b:where(), "ab", "where they are")
eq(ca.trace, mine.trace, "the trace at the first silo")
eq(cb.trace, mine.trace, "the trace at the second silo")
assert(#mine.trace == 32 and mine.trace:find("[^0]"))
eq(cb.bag.user, "ann", "the bag at the second silo")
eq(cb.caller, "A/ctx", "the caller at the second silo")
assert(da > 1 and da <= 20, da)
assert(db > 1 and db <= da, db)
local never = gb.get("Gate", "never")
assert(never:set(2))
local late, _, code = never:with { timeout = "50ms" }:come()
eq(late, nil, "a call that is too late")
eq(code, "ETIMEDOUT", "its code")

local marks = assert(gb.get("A", "orders"):order(gb.get("C", "ordered"), gb.get("Gate", "order")))
eq(table.concat(marks, " "), "high none low last", "served by priority")

-- ---- calls that wait for each other ----

local names = { [false] = "", chain = "Chain", [true] = "Yes" }
local count = 0

-- A path over the zones, that comes back to its first grain.
local function round(zones, reentrant)
  count = count + 1
  local path = {}
  for zone in zones:gmatch(".") do
    path[#path + 1] = zone:upper() .. names[reentrant] .. "/" .. arg[1] .. count .. "-" .. #path
  end
  path[#path + 1] = path[1]
  local start = gb.get(path[1]:match("^(.-)/"), path[1]:match("/(.+)$"))
  return start:with { timeout = "60s" }:follow(path, 2)
end

for _, zones in ipairs { "ab", "ac", "abc", "aab", "abb", "abab", "abcabcabc", "cba", "bbaac" } do
  local began = gb.monotonic()
  local _, message, what = round(zones, false)
  eq(what, "EDEADLOCK", zones .. ": " .. tostring(message))
  assert(message:find("would wait for itself"), message)
  assert(gb.monotonic() - began < 20, "at once, not at a deadline")
  eq(assert(round(zones, "chain")), 2, zones .. " where chains are let in")
  eq(assert(round(zones, true)), 2, zones .. " where all are let in")
end

-- Two that call each other at the same moment: one or both are told, nobody waits.
for i = 1, 20 do
  local x, y, gate = gb.get("A", "x" .. i), gb.get("B", "y" .. i), gb.get("Gate", "meet" .. i)
  assert(gate:set(2))
  local results = gb.settled(x:async("meet", gate, y), y:async("meet", gate, x))
  local refused = 0
  for _, r in ipairs(results) do
    if not r.ok then
      eq(r.code, "EDEADLOCK", r.message)
      refused = refused + 1
    end
  end
  assert(refused >= 1, "nobody was told")
  eq(x:where() .. y:where(), "ab", "they serve again")
end

print("ok")
