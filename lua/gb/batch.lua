-- gb.batch: one kernel of the catalog over many items. Items are cut into micro-batches that fit
-- the device, at most four of them under way; results come in the order of the items, and an item
-- that fails takes no other with it.
local ffi = require "ffi"
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"
local array = require "gb.array"
local buffer = require "gb.buffer"
local catalog = require "gb.catalog"
local faults = require "gb.faults"
require "gb.future" -- the methods of what start() gives

local M = {}
local copy, fill = ffi.copy, ffi.fill

local LANES = 4
local USABLE = 0.8 -- of the device's free memory, all micro-batches together
local MICRO_BATCH = 10000
local SPLITS_MAX = 100

-- ---- hints ----

local known_hints = { device = true, high_priority = true, max_micro_batch = true,
  persistent = true, prefer_gpu = true, required = true, timeout = true }

--- The hints of execute, checked: a table of its own. Raises at a level.
function M.check_hints(hints, level)
  near.check_options("execute", hints, known_hints, level + 1)
  hints = hints or {}
  for _, name in ipairs { "high_priority", "persistent", "prefer_gpu", "required" } do
    if hints[name] ~= nil and type(hints[name]) ~= "boolean" then
      error(("execute: %s is true or false, got %s"):format(name, type(hints[name])), level + 1)
    end
  end
  local most = hints.max_micro_batch or MICRO_BATCH
  if type(most) ~= "number" or most % 1 ~= 0 or most < 1 then
    error(("execute: max_micro_batch is an integer from 1, got %s"):format(tostring(most)),
      level + 1)
  end
  return { device = buffer.device_index(hints.device, level + 1), max_micro_batch = most,
    persistent = hints.persistent, prefer_gpu = hints.prefer_gpu, required = hints.required,
    high_priority = hints.high_priority,
    timeout = units.seconds(hints.timeout or "5m", "timeout") }
end

-- ---- items ----

-- Puts a list or an element in its place: what is wrong with it, or nothing.
local function put_value(all, first, item, side)
  local per, set = side.count, side.kind.set
  if per == 1 then
    local good, why = set(item)
    if not why then all[first] = good end
    return why
  end
  local from = 1
  if array.is_array(item) then
    from = 0
  elseif type(item) ~= "table" then
    return ("an item is a list of %d, got %s"):format(per, type(item))
  end
  if #item ~= per then return ("an item has %d elements, not %d"):format(#item, per) end
  for k = 0, per - 1 do
    local good, why = set(item[from + k])
    if why then return why end
    all[first + k] = good
  end
end

--- Puts an item into an array of items at number `at`, from 0: why it cannot be one, or nothing.
--- Compiles for arrays of the kernel's own type.
function M.put(all, at, item, side)
  local per, kind = side.count, side.kind
  if per > 1 and array.is_of(kind, item) and item.gb_count == per and item.gb_block ~= nil then
    copy(all.gb_data + at * per, item.gb_data, per * kind.size)
    return nil
  end
  local why = put_value(all, at * per, item, side)
  if why then fill(all.gb_data + at * per, per * kind.size) end
  return why
end

-- The items as one array, and those that cannot be items.
local function items_array(items, side)
  local per, kind = side.count, side.kind
  if array.is_array(items) then
    if items.gb_block == nil then return nil, "the items were freed or moved" end
    local own = array.kind_of(items)
    if own ~= kind then
      return nil, ("the items are %s array, the kernel takes %s"):format(own.name, kind.name)
    end
    if #items % per ~= 0 then
      return nil, ("%d elements are no whole number of items of %d"):format(#items, per)
    end
    return items, {}, #items / per
  end
  if type(items) ~= "table" then
    return nil, ("the items are a list or an array, got %s"):format(type(items))
  end
  local n, failed = #items, {}
  local all, message, code = array.make(kind, n * per)
  if not all then return nil, message, nil, code end
  for i = 1, n do
    local why = M.put(all, i - 1, items[i], side)
    if why then failed[#failed + 1] = { first = i, last = i, message = why, code = "EINVAL" } end
  end
  return all, failed, n
end

-- ---- memory ----

-- Items in one micro-batch and how many run at once: all of them together fit the usable bytes.
local function cut(run, usable, n)
  local most = math.min(run.hints.max_micro_batch, n)
  if n <= most and n * run.bytes <= usable then return n, 1 end
  local lanes = math.min(LANES, math.floor(usable / run.bytes))
  return math.max(1, math.min(most, math.floor(usable / lanes / run.bytes))), lanes
end

-- The bytes that a batch may take. When that is not even one item's, state of resident grains that
-- is not in use goes first.
local function usable_bytes(run)
  local device = run.device
  local function look()
    local free = core.device_memory(device)
    if run.bytes <= USABLE * free then return USABLE * free end
    return nil, ("one item needs %.0f bytes on the device, and %.0f of its %.0f free bytes may be "
      .. "used"):format(run.bytes, USABLE * free, free), "ENOMEM"
  end
  local usable = look()
  if usable then return usable end
  local message, code
  usable, message, code = require("gb.resident").with_room(device, run.bytes / USABLE, 0, look)
  return usable, message, code
end

local function free_lanes(lanes)
  for _, lane in ipairs(lanes) do
    if lane.queue then lane.queue:close() end
    for _, side in ipairs { "item", "result" } do
      if lane[side] then lane[side]:free() end
    end
  end
end

local function open_buffer(run, side, size, reserved)
  local kind, count = side.kind, size * side.count
  return core.buffer_new(kind.id, count * kind.size, count, run.device, "device", reserved)
end

-- One queue, and where kernels do not work in host memory its buffers. The caller frees lane.
local function open_lane(run, lane, size, reserved)
  local layout, message, code = run.found.layout
  lane.queue, message, code = core.queue_new(run.device, run.hints.high_priority)
  if not lane.queue then return nil, message, code end
  if run.in_place then return true end
  lane.item, message, code = open_buffer(run, layout.item, size, reserved)
  if lane.item and not layout.in_place then
    lane.result, message, code = open_buffer(run, layout.result, size, reserved)
  end
  if code then return nil, message, code end
  return true
end

-- All lanes out of one reservation, or none.
local function open_all(run, size, count)
  local lanes, reserved, ok, message, code = {}, nil, true, nil, nil
  if not run.in_place then
    reserved, message, code = core.reserve(run.device, size * count * run.bytes)
    if not reserved then return nil, message, code end
  end
  for i = 1, count do
    lanes[i] = {}
    ok, message, code = open_lane(run, lanes[i], size, reserved)
    if not ok then break end
  end
  if reserved then core.reserve_end(reserved) end -- the buffers have taken theirs
  if ok then return lanes end
  free_lanes(lanes)
  return nil, message, code
end

-- Everything is there before anything runs. Less memory than was said to be free (others may have
-- been quicker) makes smaller micro-batches.
local function open_lanes(run, n)
  local usable, message, code = math.huge
  if not run.in_place then
    usable, message, code = usable_bytes(run)
    if not usable then return nil, message, code end
  end
  local size, count = cut(run, usable, n)
  while true do
    local lanes
    lanes, message, code = open_all(run, size, math.min(count, math.ceil(n / size)))
    if lanes then return lanes, size end
    if code ~= "ENOMEM" or size == 1 and count == 1 then return nil, message, code end
    if size > 1 then size = math.floor(size / 2) else count = 1 end
  end
end

-- With persistent = true they are kept for the next batch of the same kernel on the device.
local kept = {}

local function lanes_key(run)
  return run.entry.key .. "\0" .. run.device .. (run.hints.high_priority and "!" or "")
end

local function take_lanes(run, n)
  local key = lanes_key(run)
  local own = run.hints.persistent and kept[key]
  if own then kept[key] = nil end
  if own and (own.lanes[1].item and core.buffer_lost(own.lanes[1].item)
    or own.size * #own.lanes < math.min(n, run.hints.max_micro_batch)
    or own.size > run.hints.max_micro_batch) then
    free_lanes(own.lanes)
    own = nil
  end
  if own then return own.lanes, own.size end
  return open_lanes(run, n)
end

local function give_lanes(run, lanes, size, good)
  if not run.hints.persistent or not good then return free_lanes(lanes) end
  local key = lanes_key(run)
  if kept[key] then free_lanes(kept[key].lanes) end
  kept[key] = { lanes = lanes, size = size }
end

-- ---- running ----

-- What a launch over items from `from` on takes.
local function arguments(run, from, to, count)
  local layout, args = run.found.layout, {}
  for i = 1, layout.n do args[i] = layout.args[i] end
  if layout.count then args[layout.count] = count end
  args[layout.item.at] = from
  if not layout.in_place then args[layout.result.at] = to end
  return args
end

-- One launch in host memory, on the caller's own queue: small batches cost little more than that.
local function run_whole(run, n)
  local args = arguments(run, run.items, run.results, n)
  return run.found.kernel:run({ threads = n, timeout = run.hints.timeout },
    unpack(args, 1, run.found.layout.n))
end

-- The futures of items first .. first + count - 1 (from 0) on a lane, in the order of its queue.
local function start(run, lane, first, count)
  local layout, futures = run.found.layout, {}
  local from = run.items:view(first * layout.item.count, count * layout.item.count)
  local to = layout.in_place and from
    or run.results:view(first * layout.result.count, count * layout.result.count)
  local args = arguments(run, lane.item or from, lane.result or to, count)
  if lane.item then
    futures[1] = lane.item:upload(from, { async = true, queue = lane.queue })
  end
  futures[#futures + 1] = run.found.kernel:async({ threads = count, queue = lane.queue },
    unpack(args, 1, layout.n))
  if lane.item then
    local out = layout.in_place and lane.item or lane.result
    futures[#futures + 1] = out:download(to, { count = #to, async = true, queue = lane.queue })
  end
  return futures
end

local function finish(run, futures)
  local message, code
  for _, future in ipairs(futures) do
    local left = run.deadline - core.monotonic()
    local ok, own, own_code = future:await(math.max(left, 0))
    if not ok and not code then message, code = own, own_code end
  end
  return code == nil, message, code
end

-- A kernel that trapped over some items runs again over halves of them, until those that make it
-- trap are alone: the others have their results. So do items for which memory ran out on the way.
local function narrow(run, lane, first, count, message, code)
  local smaller = code == "ETRAP" or code == "ENOMEM"
  if smaller and count > 1 and run.splits < SPLITS_MAX then
    run.splits = run.splits + 1
    local half = math.floor(count / 2)
    for _, part in ipairs { { first, half }, { first + half, count - half } } do
      local ok, own, own_code = finish(run, start(run, lane, part[1], part[2]))
      if not ok then narrow(run, lane, part[1], part[2], own, own_code) end
    end
    return
  end
  run.failed[#run.failed + 1] = { first = first + 1, last = first + count, message = message,
    code = code }
end

-- What ends the batch, whatever the items are.
local whole = { ETIMEDOUT = true, ELOST = true, EDEVICE = true }

local function run_all(run, lanes, size, n)
  local under_way, next_first = {}, 0
  local function begin(lane)
    if next_first >= n then return end
    local one = { lane = lane, first = next_first, count = math.min(size, n - next_first) }
    next_first = next_first + one.count
    one.futures = start(run, lane, one.first, one.count)
    under_way[#under_way + 1] = one
    run.micro_batches = run.micro_batches + 1
  end
  for _, lane in ipairs(lanes) do begin(lane) end
  while #under_way > 0 do
    local one = table.remove(under_way, 1)
    local ok, message, code = finish(run, one.futures)
    if not ok then narrow(run, one.lane, one.first, one.count, message, code) end
    if whole[code] then
      for _, other in ipairs(under_way) do finish(run, other.futures) end
      return nil, message, code
    end
    begin(one.lane)
  end
  return true
end

-- true; nil, message, code. Raises when the kernel does not take the values of args.
local function run_items(run, n)
  local message, code
  if run.in_place and n <= run.hints.max_micro_batch and run.here then
    local ok
    run.micro_batches = 1
    ok, message, code = run_whole(run, n)
    if ok then return true end
    if code ~= "ETRAP" and code ~= "ENOMEM" then return nil, message, code end
  end
  local lanes, size, why = take_lanes(run, n)
  if not lanes then return nil, size, why end
  local calm, ok
  if code then
    calm, ok = pcall(narrow, run, lanes[1], 0, n, message, code)
    if calm then ok = true end
  else
    calm, ok, message, code = pcall(run_all, run, lanes, size, n)
  end
  give_lanes(run, lanes, size, calm and ok)
  if not calm then error(ok, 0) end
  return ok, message, code
end

-- ---- results ----

local function as_list(run, n)
  local layout, out = run.found.layout, {}
  local side = layout.in_place and layout.item or layout.result
  for i = 1, n do
    if side.count == 1 then
      out[i] = run.results[i - 1]
    else
      out[i] = run.results:view((i - 1) * side.count, side.count)
    end
  end
  for _, one in ipairs(run.failed) do
    for i = one.first, one.last do out[i] = false end
  end
  return out
end

--- What the failures say: message and code of the first, and how many items they cover.
function M.summary(failed, n)
  table.sort(failed, function(a, b) return a.first < b.first end)
  local items, first = 0, failed[1]
  for _, one in ipairs(failed) do items = items + one.last - one.first + 1 end
  local where = first.first == first.last and ("item %d"):format(first.first)
    or ("items %d to %d"):format(first.first, first.last)
  return ("%s: %s (%d of %d items failed)"):format(where, first.message, items, n), first.code
end

-- On one device: what M.run gives.
local function run_on(device, found, entry, items, hints, deadline)
  local layout = found.layout
  local run = { entry = entry, found = found, hints = hints, splits = 0, micro_batches = 0,
    deadline = deadline, device = device, in_place = core.device_in_place(device),
    here = device == core.device_here() and not hints.high_priority }
  local n, message, code
  run.items, run.failed, n, code = items_array(items, layout.item)
  if not run.items then
    if code then return nil, run.failed, code end
    return false, run.failed
  end
  run.bytes = layout.item.count * layout.item.kind.size
  if layout.in_place then
    -- what the caller gave stays as it is
    run.results, message, code = run.items, nil, nil
    if array.is_array(items) then run.results, message, code = items:copy() end
    run.items = run.results
  else
    run.bytes = run.bytes + layout.result.count * layout.result.kind.size
    run.results, message, code = array.make(layout.result.kind, n * layout.result.count)
  end
  if not run.results then return nil, message, code end
  if n > 0 then
    local calm, ok
    calm, ok, message, code = pcall(run_items, run, n)
    if not calm then -- what the kernel does not take: the values of args
      return false, (tostring(ok):gsub("^[^ ]+%.lua:%d+: ", ""))
    end
    if not ok then return nil, message, code end
  end
  local out = array.is_array(items) and run.results or as_list(run, n)
  return out, run.failed, n, run.micro_batches
end

--- Runs an entry of the catalog over items, with checked hints: results, failures, n and how many
--- micro-batches; nil, message, code. false, message: misuse. Where a device fails, all of it runs
--- again on another one: the items are as they were.
function M.run(entry, items, hints)
  local found, message, code = catalog.open(entry)
  if not found then return nil, message, code end
  local deadline = core.monotonic() + hints.timeout
  return faults.guard(found.kernel.gb_number, function()
    return faults.over_devices(hints, function(device)
      return run_on(device, found, entry, items, hints, deadline)
    end)
  end)
end

--- For a pipeline on another worker: the results, or nil, message, code.
function M.serve(entry, items, hints)
  local out, failed, n = M.run(entry, items, hints)
  if out == false then return nil, failed, "EINVAL" end
  if out == nil then return nil, failed, n end
  if #failed == 0 then return out end
  return nil, M.summary(failed, n)
end

-- ---- gb.batch ----

local collect -- takes functions of this module
local methods = {}
local meta = { __gb = "batch", __index = near.methods("batch", methods) }

local function check_self(self, name)
  if getmetatable(self) ~= meta then
    error(("call it as gb.batch(id):%s(...), with a colon"):format(name), 3)
  end
end

--- Runs the kernel over a list or array of items: the results in the same order and form (a list of
--- numbers, vectors or arrays; an array). When items failed: nil, message, code, { results = (false
--- in a list where there is none), failed = { { first =, last =, message =, code = } } }.
function methods:execute(items, hints)
  check_self(self, "execute")
  hints = M.check_hints(hints, 2)
  local out, failed, n, micro = M.run(self.entry, items, hints)
  if out == false then error("execute: " .. failed, 2) end
  if out == nil then return nil, failed, n end
  local stats = self.counts
  stats.batches, stats.items = stats.batches + 1, stats.items + n
  stats.micro_batches = stats.micro_batches + micro
  if #failed == 0 then return out end
  local message, code = M.summary(failed, n)
  stats.failures = stats.failures + #failed
  return nil, message, code, { results = out, failed = failed }
end

--- One item, in one launch with the items that other turns of this worker call with at this time:
--- its result, or nil, message, code. Waits.
function methods:call(item)
  check_self(self, "call")
  if item == nil then error("call takes an item", 2) end
  collect = collect or require "gb.collect"
  return collect.call(self.entry, M.check_hints, item)
end

--- How calls are gathered: at most max_batch items (1000), at most max_delay ("1ms") after the
--- first. Holds for the kernel on this worker.
function methods:coalesce(options)
  check_self(self, "coalesce")
  near.check_options("coalesce", options, { max_batch = true, max_delay = true }, 2)
  options = options or {}
  local size = options.max_batch or 1000
  if type(size) ~= "number" or size % 1 ~= 0 or size < 1 then
    error(("coalesce: max_batch is an integer from 1, got %s"):format(tostring(size)), 2)
  end
  require("gb.collect").tune(self.entry, M.check_hints(nil, 2), size,
    units.seconds(options.max_delay or "1ms", "max_delay"))
  return self
end

--- A stream of items: { out = function(result) (nil, message, code for an item that failed), preset
--- = "default" | "low_latency" | "high_throughput"; in their place size (128) items or delay
--- ("100ms") make a batch, adaptive, min, max, buffer (100000) items under way, of which push
--- waits from the part pause (0.9) on until resume (0.5), hints = those of execute }. push(item),
--- flush(), stop(), stats().
function methods:stream(options)
  check_self(self, "stream")
  return (require("gb.stream").stream(self.entry, options, M.check_hints, 2))
end

--- { batches, micro_batches, items, failures } of this handle.
function methods:stats()
  local out = {}
  for name, value in pairs(self.counts) do out[name] = value end
  return out
end

--- gb.batch(id): a kernel of the catalog, for many items at once.
function M.batch(id)
  return setmetatable({ entry = catalog.find(id, 2),
    counts = { batches = 0, micro_batches = 0, items = 0, failures = 0 } }, meta)
end

return M
