-- As a client of three silos with the app `between`: subscriptions between processes.
-- subscribe.lua RUN: names its grains.
local gb = require "gb"
local ref = require "gb.ref"
local core = require "gb.core"

local function eq(got, want, what)
  if got ~= want then
    error(("%s: got %s, expected %s"):format(what, tostring(got), tostring(want)), 2)
  end
end

local function wait(what, is_so)
  local began = gb.monotonic()
  while not is_so() do
    if gb.monotonic() - began > 120 then error("no " .. what .. " within 120 s", 2) end
    gb.sleep "5ms"
  end
end

local function get(name, key) return gb.get(name, arg[1] .. key) end

local function listeners(room)
  core.foreign_type("$topics")
  return assert(ref.make("$topics", room:id()):count())
end

local function check_list(list, from, to, what)
  eq(#list, to - from + 1, what)
  for i = from, to do eq(list[i - from + 1], i, what) end
end

-- ---- a client hears each silo, in order, whichever comes first ----

for _, name in ipairs { "A", "B", "C" } do
  local room, got = get(name, "room"), {}
  if name == "B" then assert(room:say("nobody listens yet")) end
  local sub = assert(gb.subscribe(room, "said", function(...)
    got[#got + 1] = { n = select("#", ...), ... }
  end))
  assert(room:say("text", nil, { 1, { 2 } }, nil))
  wait("message", function() return #got == 1 end)
  eq(got[1].n, 4, "values")
  eq(got[1][1], "text", "the first")
  eq(got[1][3][2][1], 2, "the third")
  got = {}
  assert(room:count(1, 500))
  wait("messages", function() return #got == 500 end)
  for i = 1, 500 do eq(got[i][1], i, "in order") end
  assert(room:stop())
  assert(room:say("the next activation"))
  wait("message", function() return #got == 501 end)
  eq(sub:dropped(), 0, "dropped")
  eq(listeners(room), 1, "listeners")
  eq(sub:close(), true, "closing")
  eq(sub:close(), true, "closing again")
  eq(listeners(room), 0, "listeners in the end")
  assert(room:say("nobody hears this"))
  eq(#got, 501, "messages in the end")
end

-- ---- grains hear with methods and functions, from silo to silo ----

local room = get("A", "hall")
local ears = { get("A", "near"), get("B", "method"), get("C", "function"), get("B", "function") }
for i, ear in ipairs(ears) do assert(ear:listen(room, i > 2)) end
eq(listeners(room) >= 3, true, "processes that listen")
assert(room:count(1, 300))
for i, ear in ipairs(ears) do
  wait("all of " .. i, function() return #assert(ear:list()) >= 300 end)
  check_list(assert(ear:list()), 1, 300, "ear " .. i)
end
assert(ears[1]:close() and ears[4]:close())
assert(ears[3]:stop()) -- a function ends with its activation
assert(room:count(301, 302))
wait("two more", function() return #assert(ears[2]:list()) == 302 end)
check_list(assert(ears[1]:list()), 1, 300, "closed")
check_list(assert(ears[4]:list()), 1, 300, "closed")
eq(#assert(ears[3]:list()), 0, "a new activation")
wait("end of the others", function() return listeners(room) == 1 end)
assert(ears[2]:close())

-- ---- who is slow loses messages of its own, holds up nobody, and is told ----

local slow, quick, gate = 0, 0, true
local fast_room = get("C", "fast")
local a = assert(gb.subscribe(fast_room, "said", function()
  while gate do gb.sleep "5ms" end
  slow = slow + 1
end))
local b = assert(gb.subscribe(fast_room, "said", function() quick = quick + 1 end))
local began = gb.monotonic()
for i = 1, 20 do
  assert(fast_room:count(i * 200 - 199, i * 200))
  wait("the quick one", function() return quick + b:dropped() == i * 200 end)
end
eq(b:dropped(), 0, "dropped by the quick one")
assert(gb.monotonic() - began < 250, "nobody waits for the slow one") -- 30 s, 20 times
eq(slow, 0, "the slow one")
gate = false
wait("the slow one", function() return slow + a:dropped() == 4000 end)
assert(a:dropped() >= 2900 and slow >= 1000, slow)
assert(a:close() and b:close())

-- ---- misuse ----

local nothing, message, code = gb.subscribe(gb.get("Nobody", 1), "said", function() end)
eq(nothing, nil, "an unknown type")
eq(code, "ENOTYPE", message)
assert(message:find("unknown grain type 'Nobody'", 1, true), message)

print("ok")
