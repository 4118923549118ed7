-- gb.capacity: which silos have which GPUs, and how busy they are; from any silo or client.
local core = require "gb.core"
local near = require "gb.near"
local ref = require "gb.ref"
local units = require "gb.units"

local M = {}

local alone = "gb.capacity: there is no cluster here (gbrun silo --cluster, or gbrun --connect)"

-- Results of a method of the house's grains; nil, message, code.
local function ask(type_name, key, method, ...)
  if not core.type_id(type_name) and not core.foreign_type(type_name) then
    return nil, alone, "ENOTYPE"
  end
  return ref.make(type_name, key)[method](ref.make(type_name, key), ...)
end

--- The silos with a GPU that may be chosen; { all = true }: all that told something, stale ones
--- too.
function M.list(options)
  near.check_options("gb.capacity.list", options or {}, { all = true })
  return ask("$cluster", 0, "capacity", options and options.all or false)
end

local function check_silo(name, what)
  if type(name) ~= "string" or name == "" then
    error(("%s takes the name of a silo, got %s"):format(what, type(name)), 3)
  end
end

--- What one silo told last, fresh or not; ENOENT.
function M.get(silo)
  check_silo(silo, "gb.capacity.get")
  local list, message, code = ask("$cluster", 0, "capacity", true)
  if not list then return nil, message, code end
  for _, record in ipairs(list) do
    if record.silo == silo then return record end
  end
  return nil, ("the silo '%s' has told no capacity in five minutes"):format(silo), "ENOENT"
end

--- The silo with the most free memory of those with so much on one GPU; ENOENT.
function M.best(options)
  near.check_options("gb.capacity.best", options or {}, { memory = true })
  local memory = options and options.memory or 0
  return ask("$cluster", 0, "best", units.bytes(memory, "memory", 2))
end

--- Of the whole cluster.
function M.stats() return ask("$cluster", 0, "stats") end

local sizes = { memory_total = true, memory_free = true, memory_largest = true }
local counts = { devices = true, queue_depth = true }

local function check_figures(figures, what)
  local known, out = { backend = true }, {}
  for name in pairs(sizes) do known[name] = true end
  for name in pairs(counts) do known[name] = true end
  near.check_options(what, figures, known, 3)
  for name, value in pairs(figures) do
    if sizes[name] then value = units.bytes(value, name, 3) end
    if counts[name] and (type(value) ~= "number" or value < 0 or value % 1 ~= 0 or value > 1e6) then
      error(("%s: %s is a whole number from 0, got %s"):format(what, name, tostring(value)), 3)
    end
    out[name] = value
  end
  if out.backend and (type(out.backend) ~= "string" or #out.backend > 15) then
    error(what .. ": backend is a name of at most 15 bytes", 3)
  end
  if out.memory_free and out.memory_total and out.memory_free > out.memory_total then
    error(what .. ": memory_free is more than memory_total", 3)
  end
  return out
end

--- A silo's figures, told by hand instead of measured: what is left out stays as it is. They count
--- as long as any: stale after two minutes, gone (and measured again) after five.
function M.update(silo, figures)
  check_silo(silo, "gb.capacity.update")
  return ask("$silo", silo, "give", check_figures(figures, "gb.capacity.update"))
end

--- The same; without figures: the measured ones again.
function M.register(silo, figures)
  check_silo(silo, "gb.capacity.register")
  if figures == nil then return ask("$silo", silo, "give") end
  return ask("$silo", silo, "give", check_figures(figures, "gb.capacity.register"))
end

--- The silo has no GPU, as far as others are concerned.
function M.unregister(silo)
  check_silo(silo, "gb.capacity.unregister")
  return ask("$silo", silo, "give", { devices = 0, memory_total = 0, memory_free = 0 })
end

return setmetatable(M, { __index = function(_, name)
  error(near.unknown("field of gb.capacity", name, near.keys(M)), 2)
end })
