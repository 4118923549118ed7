-- The module users require: "gb".
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"
local ref = require "gb.ref"
local grain = require "gb.grain"
local future = require "gb.future"
local fail = require "gb.fail"
local worker = require "gb.worker"
local array = require "gb.array"

local gb = { log = require "gb.log", config = core.config or {} }
local place = core.place()

-- ---- grains ----

-- Levels of errors count frames, and a tail call has none: the parentheses keep ours.
function gb.grain(name, options) return (grain.define(name, options, 3)) end

local metas = {} -- of types asked for before: the common case is an integer key of one of them

function gb.get(type_or_name, key)
  local meta = metas[type_or_name]
  if meta and type(key) == "number" and key % 1 == 0 and key < 2 ^ 53 and key > -2 ^ 53 then
    return setmetatable({ key + 0, false }, meta)
  end
  local made = ref.get(grain.name_of(type_or_name, "gb.get", 2), key, 2)
  metas[type_or_name] = getmetatable(made)
  return made
end

local function check_ref(value, what)
  if not ref.is(value) then error(what .. " takes a reference (from gb.get) first", 3) end
end

function gb.call(target, method, ...)
  check_ref(target, "gb.call")
  if type(method) ~= "string" then error("gb.call takes the name of a method", 2) end
  return getmetatable(target).__index[method](target, ...)
end

function gb.tell(target, ...)
  check_ref(target, "gb.tell")
  return target:tell(...)
end

function gb.async(target, ...)
  check_ref(target, "gb.async")
  return target:async(...)
end

gb.fail = fail.raise
gb.all, gb.any, gb.settled = future.all, future.any, future.settled

-- Asks all workers about a type: their answers, or nil, message, code.
local function ask(question, name)
  if not ref.find_type(name) then return ref.unknown_type(name) end
  return worker.ask_all(question, name)
end

function gb.keys(type_or_name)
  local lists, message, code = ask("keys", grain.name_of(type_or_name, "gb.keys", 2))
  if not lists then return nil, message, code end
  local keys = {}
  for _, list in ipairs(lists) do
    for _, key in ipairs(list) do keys[#keys + 1] = key end
  end
  return keys
end

function gb.count(type_or_name)
  local counts, message, code = ask("count", grain.name_of(type_or_name, "gb.count", 2))
  if not counts then return nil, message, code end
  local sum = 0
  for _, count in ipairs(counts) do sum = sum + count end
  return sum
end

function gb.subscribe(target, topic, handler)
  local subscription, message, code = require("gb.subscribe").subscribe(target, topic, handler, 3)
  return subscription, message, code
end

-- ---- turns ----

function gb.sleep(duration) return core.sleep(units.seconds(duration, "gb.sleep", 2)) end

function gb.spawn(fn, ...)
  if type(fn) ~= "function" then error("gb.spawn takes a function, got " .. type(fn), 2) end
  return core.spawn(fn, ...)
end

gb.monotonic, gb.time = core.monotonic, core.time
gb.deadline, gb.cancelled = core.deadline, core.cancelled

function gb.context()
  local trace, bag, sampled, type_name, key = core.context()
  local self = core.self()
  return { trace = trace, sampled = sampled,
    tenant = self and getmetatable(self).__gb_options.tenant or "default",
    bag = bag and core.decode(bag) or {},
    caller = type_name and type_name .. "/" .. ref.key_text(key) }
end

--- The spans of sampled traces that have ended since the last time, and how many were not kept:
--- nil, message, code when tracing is off.
function gb.spans()
  local text, dropped = core.spans()
  if text then return (select(2, require("gb.json").decode(text))), dropped end
  return nil, "nothing leaves spans: the setting tracing is off (GB_TRACING, --tracing)", "EDENIED"
end

--- The device memory of tenants in this silo: a list of { name, memory = bytes in use, memory_max =
--- its cap, or nil }; "default" is what belongs to none.
gb.tenants = core.tenants

local member = core.export("$self") -- of a silo in a cluster

function gb.silo()
  local silo = member and member() or { name = "local" }
  silo.worker, silo.workers = place.worker, place.workers
  return silo
end

-- ---- values ----

local function kind_of(value)
  local kind = type(value)
  if kind == "cdata" then
    return array.classify(value) or kind
  elseif kind == "table" or kind == "userdata" then
    local meta = debug.getmetatable(value)
    return type(meta) == "table" and rawget(meta, "__gb") or kind
  end
  return kind
end
gb.type = kind_of

-- ---- what is loaded when it is used, and what is not there yet ----

local parts = {
  array = function() return array.new end,
  move = function() return array.move end,
  kernels = function() return require("gb.kernels").open end,
  buffer = function() return require("gb.buffer").new end,
  queue = function() return require("gb.kernels").queue end,
  device = function() return require("gb.kernels").device end,
  devices = function() return require("gb.kernels").devices end,
  gpu = function() return require("gb.placement").gpu end,
  label = function() return require("gb.placement").label end,
  capacity = function() return require "gb.capacity" end,
  test = function() return require "gb.test" end,
  host = function() return require "gb.host" end,
  lib = function() return require "gb.lib" end,
  plan = function() return require("gb.plan").plan end,
  catalog = function()
    local catalog = require "gb.catalog"
    return { register = catalog.register, list = catalog.list }
  end,
  batch = function() return require("gb.batch").batch end,
  resident = function() return require("gb.resident").public end,
  pipeline = function() return require("gb.pipeline").pipeline end,
  resilience = function() return require("gb.faults").resilience end,
  policy = function() return require("gb.policy").policy end,
  breaker = function() return require("gb.breaker").new end,
  bulkhead = function() return require("gb.limits").bulkhead end,
  bucket = function() return require("gb.limits").bucket end,
  levels = function() return require("gb.levels").new end,
}

setmetatable(gb, { __index = function(t, name)
  local part = parts[name]
  if not part then
    local known = {}
    for _, names in ipairs { parts, t } do
      for own in pairs(names) do known[own] = true end
    end
    error(near.unknown("field of gb", name, near.keys(known)), 2)
  end
  t[name] = part()
  return t[name]
end })

return gb
