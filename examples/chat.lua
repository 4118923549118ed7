-- Publish and subscribe: a room tells everybody who listens. Run it: gbrun examples/chat.lua
local gb = require "gb"

local Room = gb.grain("Room")

function Room:say(who, text)
  local log = self.state.log or {}
  self.state.log = log
  log[#log + 1] = who .. ": " .. text
  assert(self:publish("said", who, text))
  return #log
end

-- A member is a grain that listens; its handler is a method of its own.
local Member = gb.grain("Member")

function Member:join(room)
  self.state.heard = {}
  return assert(gb.subscribe(room, "said", "heard")) and true
end

function Member:heard(who, text)
  if who ~= self:key() then table.insert(self.state.heard, who .. " said " .. text) end
end

function Member:memory() return self.state.heard end

local lobby = gb.get("Room", "lobby")
local ann, ben = gb.get("Member", "ann"), gb.get("Member", "ben")
assert(ann:join(lobby))
assert(ben:join(lobby))

-- A script listens with a function.
local lines = 0
local listening = assert(gb.subscribe(lobby, "said", function() lines = lines + 1 end))

assert(lobby:say("ann", "good morning"))
assert(lobby:say("ben", "good night"))
while lines < 2 do gb.sleep("1ms") end
assert(listening:close())

print("ann heard: " .. table.concat(assert(ann:memory()), ", "))
print("ben heard: " .. table.concat(assert(ben:memory()), ", "))
print("lines", lines)

-- expect: ann heard: ben said good night
-- expect: ben heard: ann said good morning
-- expect: lines	2
