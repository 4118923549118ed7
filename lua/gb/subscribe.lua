-- Publish and subscribe within the silo. Who listens to a grain is kept by the worker that the
-- grain's key belongs to, so it outlives activations. A message goes to each subscriber as a
-- one-way call of its own grain or script.
local core = require "gb.core"
local near = require "gb.near"
local ref = require "gb.ref"

local M = {}

local listeners = {} -- by "Type/key", then topic: a list of subscribers; on the home worker
local handlers = {}  -- by id: functions of this worker's subscribers
local next_id = 0
local here, clustered = core.place().worker, core.place().clustered

local function worker_ref(index) return ref.make("$worker" .. index, 0) end

local function home_of(type_name, key)
  local id = core.type_id(type_name)
  return id and core.home(id, key)
end

-- ---- the home worker ----

function M.add(id, topic, subscriber)
  local topics = listeners[id]
  if not topics then
    topics = {}
    listeners[id] = topics
  end
  local list = topics[topic] or {}
  topics[topic] = list
  list[#list + 1] = subscriber
  return true
end

function M.remove(id, topic, number)
  local list = listeners[id] and listeners[id][topic]
  for i = #(list or {}), 1, -1 do
    if list[i].number == number then table.remove(list, i) end
  end
  if list and #list == 0 then listeners[id][topic] = nil end
  if listeners[id] and next(listeners[id]) == nil then listeners[id] = nil end
  return true
end

function M.spread(id, topic, ...)
  local list = listeners[id] and listeners[id][topic]
  if not list then return 0 end
  local now, count = {}, 0 -- those of now: a tell may wait, and the list change meanwhile
  for i = 1, #list do now[i] = list[i] end
  for _, s in ipairs(now) do
    local ok
    if s.method then -- its own method, so a private one too
      ok = core.tell(s.ref, ref.type_id(getmetatable(s.ref)), ref.syms[s.method], ...)
    elseif s.ref and s.worker == here then
      ok = M.hand(s, here, id, topic, ...)
    elseif s.ref then
      ok = worker_ref(s.worker):tell("hand", s, here, id, topic, ...)
    else
      ok = worker_ref(s.worker):tell("deliver", s.number, ...)
    end
    if ok then count = count + 1 end
  end
  return count
end

-- ---- the worker of a subscriber ----

--- To the function of a grain: it ends with the activation that made it, and no message wakes the
--- grain for it.
function M.hand(s, home, id, topic, ...)
  if core.alive(s.act) then
    local type_id = ref.type_id(getmetatable(s.ref))
    return core.tell(s.ref, type_id, ref.syms._gb_deliver, s.number, s.act, ...)
  end
  handlers[s.number] = nil
  if home == here then return M.remove(id, topic, s.number) and nil end
  worker_ref(home):tell("remove", id, topic, s.number)
end

-- ---- who publishes ----

function M.publish(self, topic, ...)
  if type(topic) ~= "string" then
    core.raise("self:publish takes a topic: self:publish(\"said\", message)")
  end
  local key, name = core.self_key(self)
  local home, id = home_of(name, key), name .. "/" .. ref.key_text(key)
  if home == here then
    M.spread(id, topic, ...)
    return true
  end
  return worker_ref(home):tell("spread", id, topic, ...)
end

-- ---- who subscribes ----

local subscription = { __gb = "subscription" }
local methods = {}
subscription.__index = near.methods("subscription", methods)

--- No more messages; a second close does nothing.
function methods:close()
  if getmetatable(self) ~= subscription then
    error("call it as subscription:close(), with a colon", 2)
  end
  if rawget(self, "closed") then return true end
  self.closed = true
  handlers[self.number] = nil
  return worker_ref(self.home):remove(self.id, self.topic, self.number)
end

--- gb.subscribe(ref, topic, function or method name): a subscription with close().
function M.subscribe(target, topic, handler, level)
  level = level or 2
  if not ref.is(target) then
    error("gb.subscribe takes a reference, a topic and a function or method name", level)
  end
  if type(topic) ~= "string" then error("gb.subscribe: the topic is a string", level) end
  local kind = type(handler)
  if kind ~= "function" and kind ~= "string" then
    error("gb.subscribe: the handler is a function or the name of a method, got " .. kind, level)
  end
  local self = core.self()
  if kind == "string" and not self then
    error("gb.subscribe: only a grain can name a method; a script gives a function", level)
  elseif kind == "string" then
    local _, own = core.self_key(self)
    require("gb.grain").check_own(self, own, handler, level)
  end
  local type_name = getmetatable(target).__type
  if not ref.type_id(getmetatable(target)) then return ref.unknown_type(type_name) end
  if clustered then -- the grain may be on another silo, and what it publishes stays there
    return nil, "gb.subscribe: not in this version in a cluster", "ENOTYET"
  end
  next_id = next_id + 1
  local number = here * 2 ^ 32 + next_id
  local id, home = target:id(), home_of(type_name, target[1])
  local subscriber = { number = number, worker = here }
  if self then
    subscriber.ref = self:ref()
    subscriber.act = self.__act
  end
  if kind == "string" then subscriber.method = handler else handlers[number] = handler end
  local ok, message, code = worker_ref(home):add(id, topic, subscriber)
  if not ok then return nil, message, code end
  return setmetatable({ id = id, topic = topic, number = number, home = home }, subscription)
end

--- Runs as a method of the subscriber's grain. A handler ends with the activation that made it.
function M.deliver(self, number, act, ...)
  local handler = handlers[number]
  if not handler then return end
  if act ~= self.__act then
    handlers[number] = nil
    return
  end
  return handler(...)
end

--- Runs on the worker of a subscribing script.
function M.deliver_script(number, ...)
  local handler = handlers[number]
  if handler then handler(...) end
end

return M
