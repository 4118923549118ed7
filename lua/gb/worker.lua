-- The grain that stands for this worker: "$worker0", "$worker1", ... Questions to all workers are
-- calls to these.
local core = require "gb.core"
local subscribe = require "gb.subscribe"

local M = {}

local place = core.place()
local methods = {}

function methods.keys(_, name)
  local id = core.type_id(name)
  return id and core.keys(id) or {}
end

function methods.count(_, name)
  local id = core.type_id(name)
  return id and core.count(id) or 0
end

function methods.memory() return { core.memory() } end
function methods.figures() return core.type_figures() end
function methods.inspect(_, ...) return require("gb.busy").inspect(...) end
function methods.busiest(_, ...) return require("gb.busy").busiest(...) end

function methods.catalog(_, id) return require("gb.catalog").own(id) end
function methods.collect_run(_, number) return require("gb.collect").run(number) end
function methods.resident_oldest(_, ...) return require("gb.resident").oldest(...) end
function methods.resident_evict(_, ...) return require("gb.resident").evict(...) end
function methods.resident_stats() return require("gb.resident").own_stats() end
function methods.device_lost(_, index, why, message)
  require("gb.faults").lose(index, why, message, true)
  return true
end
function methods.device_trip(_, index, why)
  require("gb.faults").trip(index, why)
  return true
end
function methods.resilience(_, ...) return require("gb.faults").serve(...) end
function methods.batch(_, ...) return require("gb.batch").serve(...) end

function methods.reload(_, name) return require("gb.reload").run(M.ask_all, name) end
function methods.reload_stage(_, name) return require("gb.reload").stage(name) end
function methods.reload_switch() return require("gb.reload").switch() end
function methods.reload_drop() return require("gb.reload").drop() end

function methods.add(_, ...) return subscribe.add(...) end
function methods.remove(_, ...) return subscribe.remove(...) end
function methods.spread(_, ...) return subscribe.spread(...) end
function methods.hand(_, ...) return subscribe.hand(...) end
function methods.hear(_, ...) return require("gb.hear").hear(...) end
function methods.watch() return require("gb.hear").watch() end
function methods.deliver(_, ...) return subscribe.deliver_script(...) end

local meta = { __index = methods, __gb = "self", __gb_options = {}, __gb_methods = methods }
local id = assert(core.define("$worker" .. place.worker, "", true,
  { placement_code = 0, reentrant_code = 1, keep_alive = true, max_queue = 100000 }, methods, meta))
core.ready(id)

--- The results of one method on every worker, in order; nil, message, code when one fails.
function M.ask_all(method, ...)
  local ref, future = require "gb.ref", require "gb.future"
  local futures = {}
  for i = 0, place.workers - 1 do
    futures[#futures + 1] = ref.make("$worker" .. i, 0):async(method, ...)
  end
  return future.all(futures)
end

return M
