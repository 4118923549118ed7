-- Publish and subscribe. In a silo that is alone, and for types of one script, who listens to a
-- grain is kept by the worker that the grain's key belongs to, so it outlives activations. A
-- message goes to each subscriber as a one-way call of its own grain or script. In a cluster:
-- topics.lua.
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

-- May its grains be on another silo?
local function is_shared(type_name)
  return clustered and not core.pinned(core.type_id(type_name))
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
  local id = name .. "/" .. ref.key_text(key)
  if is_shared(name) then
    return core.tell(ref.make("$topics", id), core.type_id("$topics"), ref.syms._spread, topic, ...)
  end
  local home = home_of(name, key)
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
  local far = rawget(self, "far")
  if far then
    require("gb.hear").close(far)
    return true
  end
  return worker_ref(self.home):remove(self.id, self.topic, self.number)
end

--- How many messages it has lost because it heard them too slowly, or its silo could not be
--- reached. Within a silo whoever publishes waits instead.
function methods:dropped()
  if getmetatable(self) ~= subscription then
    error("call it as subscription:dropped(), with a colon", 2)
  end
  local far = rawget(self, "far")
  return far and far.lost or 0
end

-- What is done with a message of another silo; false: nobody is left for it.
local function giver(subscriber, number)
  local own = subscriber.ref
  local own_type = own and ref.type_id(getmetatable(own))
  if subscriber.method then
    return function(...)
      core.tell(own, own_type, ref.syms[subscriber.method], ...)
      return true
    end
  elseif own then
    return function(...)
      if not core.alive(subscriber.act) then
        handlers[number] = nil
        return false
      end
      core.tell(own, own_type, ref.syms._gb_deliver, number, subscriber.act, ...)
      return true
    end
  end
  local slow = worker_ref(here):with { timeout = "1h" }
  return function(...)
    local ok, message, code = slow:deliver(number, ...)
    if ok == nil and code then
      require("gb").log.error(("a handler of gb.subscribe failed: %s"):format(message),
        { code = code })
    end
    return true
  end
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
  next_id = next_id + 1
  local number = here * 2 ^ 32 + next_id
  local subscriber = { number = number, worker = here }
  if self then
    subscriber.ref = self:ref()
    subscriber.act = self.__act
  end
  if kind == "string" then subscriber.method = handler else handlers[number] = handler end
  local id = target:id()
  if is_shared(type_name) then
    local far, message, code = require("gb.hear").open(id, topic, giver(subscriber, number))
    if not far then
      handlers[number] = nil
      return nil, message, code
    end
    return setmetatable({ number = number, far = far }, subscription)
  end
  local home = home_of(type_name, target[1])
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
