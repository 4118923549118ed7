-- As a client of the silos a and b, with c beside them: subscriptions when processes end.
-- survive.lua PID_OF_A PID_OF_C PID_OF_ANOTHER_CLIENT: that one listens to A/lost.
local gb = require "gb"
local ref = require "gb.ref"
local core = require "gb.core"
local pid_a, pid_c, pid_client = arg[1], arg[2], arg[3]

local function wait(what, is_so)
  local began = gb.monotonic()
  while not is_so() do
    if gb.monotonic() - began > 120 then error("no " .. what .. " within 120 s", 2) end
    gb.sleep "20ms"
  end
end

core.foreign_type("$topics")
local function listeners(room) return (ref.make("$topics", room:id()):count()) end
local function kill(signal, pid) assert(os.execute(("kill -%s %s"):format(signal, pid)) == 0) end

-- Rooms anywhere; each publishes before anybody listens, so its subscriptions lie on its silo.
local rooms, heard, published, silos = {}, {}, 0, { a = 0, b = 0, c = 0 }
repeat
  local i = #rooms + 1
  rooms[i], heard[i] = gb.get("Free", "room" .. i), {}
  assert(rooms[i]:say("nobody"))
  local silo = rooms[i]:where()
  silos[silo] = silos[silo] + 1
until silos.a >= 3 and silos.b >= 3 and silos.c >= 3
for i, room in ipairs(rooms) do
  assert(gb.subscribe(room, "said", function(n) heard[i][#heard[i] + 1] = n end))
end

local function publish()
  published = published + 1
  for _, room in ipairs(rooms) do room:with { timeout = "2s" }:async("say", published) end
end

-- All rooms are heard again, and each message once. (Calls to publish may overtake each other
-- while silos go.)
local function heard_by_all(what)
  local from = published
  wait(what, function()
    publish()
    for i = 1, #rooms do
      if (heard[i][#heard[i]] or 0) <= from then return false end
    end
    return true
  end)
  for i = 1, #rooms do
    local seen = {}
    for _, n in ipairs(heard[i]) do
      assert(not seen[n], "heard twice")
      seen[n] = true
    end
  end
end
heard_by_all("messages")

-- A client that vanishes is forgotten.
local lost = gb.get("A", "lost")
wait("the other client", function() return listeners(lost) == 1 end)
kill("KILL", pid_client)
wait("end of its subscription", function()
  lost:say("?")
  return listeners(lost) == 0
end)

-- A silo that is killed: what listened there is forgotten; what was kept there is said again.
local ear, room = gb.get("C", "ear"), gb.get("A", "kept")
assert(room:say("first"))
assert(ear:listen(room))
assert(listeners(room) == 1)
kill("KILL", pid_c)
heard_by_all("messages after a silo was killed")
wait("end of its subscription", function()
  room:say("?")
  return listeners(room) == 0
end)

-- The silo that this client is connected to leaves.
kill("TERM", pid_a)
heard_by_all("messages after a silo has left")
print("ok")
os.exit(0)
