-- gb.pipeline: items through stages, a batch at a time, several batches at once: kernels of the
-- catalog on all workers of the silo, functions in the caller's turn. Results come in the order of
-- the items; a batch that fails after its attempts is an error that says which items it had.
local array = require "gb.array"
local batch = require "gb.batch"
local catalog = require "gb.catalog"
local core = require "gb.core"
local faults = require "gb.faults"
local future = require "gb.future"
local near = require "gb.near"
local ref = require "gb.ref"

local M = {}

local methods = {}
local meta = { __gb = "pipeline", __index = near.methods("pipeline", methods) }

local ATTEMPTS, BACK_OFF = 3, 0.1 -- seconds before the second attempt; twice that before the third

-- What may be better the next time. A kernel that traps or does not compile will do so again.
local passing = { ENOMEM = true, ELOST = true, EBUSY = true }

local function check_self(self, name)
  if getmetatable(self) ~= meta then
    error(("call it as pipeline:%s(...), with a colon"):format(name), 3)
  end
end

local function add_function(self, name, fn)
  check_self(self, name)
  if type(fn) ~= "function" then
    error(("%s takes a function, got %s"):format(name, type(fn)), 3)
  end
  table.insert(self.stages, { what = name, fn = fn })
  return self
end

--- A kernel of the catalog as the next stage.
function methods:kernel(id)
  check_self(self, "kernel")
  table.insert(self.stages, { what = "kernel", entry = catalog.find(id, 2) })
  return self
end

--- Keeps the items for which fn(item) is true.
function methods:filter(fn) return (add_function(self, "filter", fn)) end

--- fn(item) in place of each item.
function methods:map(fn) return (add_function(self, "map", fn)) end

--- fn(item) sees each item.
function methods:tap(fn) return (add_function(self, "tap", fn)) end

local function whole(value, name, level)
  if type(value) ~= "number" or value % 1 ~= 0 or value < 1 then
    error(("%s is an integer from 1, got %s"):format(name, tostring(value)), level + 1)
  end
  return value
end

--- Items in one batch: 100.
function methods:batch_size(n)
  check_self(self, "batch_size")
  self.size = whole(n, "batch_size", 2)
  return self
end

--- Batches under way at once: 1.
function methods:parallelism(n)
  check_self(self, "parallelism")
  self.most = whole(n, "parallelism", 2)
  return self
end

--- fn(items done, items in all) after each batch, in the order of the batches.
function methods:progress(fn)
  check_self(self, "progress")
  if type(fn) ~= "function" then
    error(("progress takes a function, got %s"):format(type(fn)), 2)
  end
  self.report = fn
  return self
end

-- ---- one batch ----

local workers = core.place().workers
local turn, device_turn = 0, 0 -- the worker and the device that got the last batch

local gpus, cpus -- indexes

local function read_devices()
  gpus, cpus = {}, {}
  for i = 0, core.device_count() - 1 do
    local list = core.device_info(i).backend == "cpu" and cpus or gpus
    list[#list + 1] = i
  end
end

-- Devices take turns too, unless the caller named one or there is no choice. Where one fails the
-- batch goes on to another (faults.lua).
local function with_device(hints)
  if not gpus then read_devices() end
  local wants_gpu = hints.required or hints.prefer_gpu ~= false
  local list = wants_gpu and #gpus > 0 and gpus or cpus
  if hints.device or #list < 2 or list == cpus and hints.required then return hints end
  local out = {}
  for name, value in pairs(hints) do out[name] = value end
  for _ = 1, #list do
    device_turn = device_turn % #list + 1
    out.device = list[device_turn]
    if faults.usable(out.device) then return out end
  end
  return hints
end

local function spread(entry, items, hints)
  turn = (turn + 1) % workers
  hints = with_device(hints)
  local worker = ref.make("$worker" .. turn, 0):with { timeout = hints.timeout }
  return worker:batch(core.tenant(), entry, items, hints)
end

local function kernel_stage(stage, items, hints)
  local out, message, code
  for attempt = 1, ATTEMPTS do
    if attempt > 1 then core.sleep(BACK_OFF * 2 ^ (attempt - 2)) end
    out, message, code = spread(stage.entry, items, hints)
    if out or not passing[code] then break end
  end
  return out, message, code
end

local function run_batch(self, items, hints)
  for _, stage in ipairs(self.stages) do
    if stage.what == "kernel" then
      if #items > 0 then
        local message, code
        items, message, code = kernel_stage(stage, items, hints)
        if not items then return nil, message, code end
      end
    else
      local kept, fn = {}, stage.fn
      for _, item in ipairs(items) do
        if stage.what == "map" then
          local value = fn(item)
          if value == nil then
            error("map: the function gave nil for an item; leave items out with filter", 0)
          end
          kept[#kept + 1] = value
        elseif stage.what == "tap" then
          fn(item)
          kept[#kept + 1] = item
        elseif fn(item) then
          kept[#kept + 1] = item
        end
      end
      items = kept
    end
  end
  return items
end

-- ---- all of them ----

local function slice(items, first, last)
  if array.is_array(items) then return items:view(first - 1, last - first + 1):copy() end
  local out = {}
  for i = first, last do out[#out + 1] = items[i] end
  return out
end

local function count_of(self, items)
  if type(items) == "table" then return #items, 1 end
  if not array.is_array(items) then
    return nil, ("the items are a list or an array, got %s"):format(type(items))
  end
  if items.gb_block == nil then return nil, "the items were freed or moved" end
  local first = self.stages[1]
  local per = first.what == "kernel" and first.entry.item_count or 1
  if #items % per ~= 0 then
    return nil, ("%d elements are no whole number of items of %d"):format(#items, per)
  end
  return #items / per, per
end

local function append(out, items)
  if array.is_array(items) then
    for i = 0, #items - 1 do out[#out + 1] = items[i] end
  else
    for _, item in ipairs(items) do out[#out + 1] = item end
  end
end

--- Runs all stages over all items: a list of results in the order of the items; or nil, message,
--- code, { failed = { { first =, last =, message =, code = } }, results = by batch }.
function methods:execute(items, hints)
  check_self(self, "execute")
  if #self.stages == 0 then error("the pipeline has no stages: gb.pipeline(id)", 2) end
  hints = batch.check_hints(hints, 2)
  local n, per = count_of(self, items)
  if not n then error("execute: " .. per, 2) end
  local spawn = require("gb").spawn
  local under_way, next_first, out, failed, parts = {}, 1, {}, {}, {}
  local function begin()
    local last = math.min(next_first + self.size - 1, n)
    local part, message, code = slice(items, (next_first - 1) * per + 1, last * per)
    under_way[#under_way + 1] = { first = next_first, last = last,
      future = part and spawn(run_batch, self, part, hints) or future.failed(message, code) }
    next_first = last + 1
  end
  while next_first <= n or #under_way > 0 do
    while next_first <= n and #under_way < self.most do begin() end
    local one = table.remove(under_way, 1)
    local results, message, code = one.future:await()
    if results then
      append(out, results)
      parts[#parts + 1] = { first = one.first, last = one.last, results = results }
    else
      failed[#failed + 1] = { first = one.first, last = one.last, message = message, code = code }
    end
    if self.report then self.report(one.last, n) end
  end
  if #failed == 0 then return out end
  local message, code = batch.summary(failed, n)
  return nil, message, code, { failed = failed, results = parts }
end

--- gb.pipeline([id]): a pipeline whose first stage is a kernel of the catalog.
function M.pipeline(id)
  local self = setmetatable({ stages = {}, size = 100, most = 1, report = false }, meta)
  if id ~= nil then table.insert(self.stages, { what = "kernel", entry = catalog.find(id, 2) }) end
  return self
end

return M
