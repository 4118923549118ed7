-- The grain types of the house that each member of a cluster has (src/host/operate.h): "$silo", one
-- for each silo, by its name; "$cluster", which any silo answers as it sees the cluster; and those
-- of topics.lua.
local core = require "gb.core"
local fail = require "gb.fail"
local ref = require "gb.ref"
local topics = require "gb.topics"
local worker = require "gb.worker"

local host = setmetatable({}, { __index = function(t, name)
  t[name] = assert(core.export("$" .. name))
  return t[name]
end })

local function raise_unless(ok, ...)
  if ok == nil then fail.raise(select(2, ...), "%s", (...)) end
  return ok, ...
end

-- ---- $cluster ----

local cluster = {}

function cluster.status()
  local self, gpus, calls = host.self(), host.stats()
  self.gone = nil -- a sum for hear.lua
  return { self = self, members = host.members(), gpus = gpus, calls = calls }
end

local function record(member)
  local capacity = member.capacity
  if capacity then capacity.silo, capacity.grains = member.name, member.grains end
  return capacity
end

--- The records of the silos that told one: all, or those with a GPU that may be chosen.
function cluster.capacity(_, all)
  local list = {}
  for _, member in ipairs(host.members()) do
    local one = member.state ~= "dead" and record(member)
    if one and (all or one.devices > 0 and not one.stale and one.memory_free > 0) then
      list[#list + 1] = one
    end
  end
  table.sort(list, function(a, b) return a.silo < b.silo end)
  return list
end

function cluster.best(_, bytes)
  local id = raise_unless(host.best(math.ceil(bytes / 2 ^ 20)))
  for _, member in ipairs(host.members()) do
    if member.id == id then return record(member) end
  end
  fail.raise("ENOENT", "the silo has left")
end

function cluster.stats() return (host.stats()) end

-- ---- $silo ----

local silo = {}

function silo.self() return host.self() end

local function add_figures(sum, one)
  for _, field in ipairs { "active", "calls", "queued" } do
    sum[field] = (sum[field] or 0) + one[field]
  end
  for bucket, count in pairs(one.pace or {}) do
    sum.pace[bucket] = (sum.pace[bucket] or 0) + count
  end
end

--- The grain types that are in use here, sorted: name, active, calls, queued, pace (how many of the
--- timed calls fell into which bucket of core.quantile).
function silo.grains()
  local by_name, list = {}, {}
  for _, figures in ipairs(raise_unless(worker.ask_all("figures"))) do
    for _, one in ipairs(figures) do
      if not by_name[one.name] then
        by_name[one.name] = { name = one.name, pace = {} }
        list[#list + 1] = by_name[one.name]
      end
      add_figures(by_name[one.name], one)
    end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

-- The lists of all workers as one.
local function joined(question, ...)
  local list = {}
  for _, some in ipairs(raise_unless(worker.ask_all(question, ...))) do
    for _, one in ipairs(some) do list[#list + 1] = one end
  end
  return list
end

--- The activations of one grain here.
function silo.inspect(_, type_name, key) return joined("inspect", type_name, key) end

--- The single grains that have the most calls, the longest "queue", the slowest calls ("p99"), or
--- hold the most "bytes".
function silo.busiest(_, order, limit, type_name)
  return require("gb.busy").most(joined("busiest", order, limit, type_name), order, limit)
end

--- All that gbrun top shows of this silo.
function silo.look()
  local sum = { time = core.monotonic(), lua_bytes = 0, grains = silo.grains(),
    devices = require("gb").devices() }
  for _, memory in ipairs(raise_unless(worker.ask_all("memory"))) do
    sum.lua_bytes = sum.lua_bytes + memory[1]
  end
  return sum
end

--- And what tenants have of their memory.
function silo.devices()
  local gb = require "gb"
  return { devices = gb.devices(), tenants = gb.tenants() }
end

--- Figures instead of the measured ones; nothing: the measured ones again.
function silo.give(_, figures)
  raise_unless(host.give(figures))
  return true
end

-- The table has what this silo asked of it, after 5 s at the latest: its state then.
local function wait_until(is_so)
  for _ = 1, 250 do
    if is_so(host.self().state) then break end
    core.sleep(0.02)
  end
  return host.self().state
end

--- No new grains from now on, and those that are here go: the answer is how many are left.
function silo.drain()
  if host.self().state == "active" then host.drain() end
  wait_until(function(state) return state ~= "active" end) -- else a call could bring a grain back
  raise_unless(host.sweep())
  local left = 0
  for _, one in ipairs(silo.grains()) do left = left + one.active end
  return left
end

--- They may come again: the state that this silo is in then.
function silo.undrain()
  if host.self().state == "draining" then host.undrain() end
  return wait_until(function(state) return state ~= "draining" end)
end

--- Messages of a grain for those who listen on one worker, in one life of this silo.
function silo:_hand(life, index, ...)
  if host.self().id ~= life then fail.raise("ENOENT", "this silo lives anew") end
  return raise_unless(ref.make("$worker" .. index, 0):hear(...))
end

-- ---- defining them ----

local function define(name, methods, options)
  options.reentrant_code, options.max_queue = 1, 1024
  local meta = { __index = methods, __gb = "self", __gb_options = {}, __gb_methods = methods }
  core.ready(assert(core.define(name, "gb/silo.lua", false, options, methods, meta)))
end

define("$cluster", cluster, { placement_code = 4, keep_alive = true })
define("$silo", silo, { placement_code = 1, site_code = 4, keep_alive = true })
for name, methods in pairs(topics.types) do
  define(name, methods, { placement_code = 2, idle_s = topics.IDLE_S })
end
