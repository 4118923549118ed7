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
local batch_size = require "gb.batch_size"
local run_list = require("gb.kernels").run_list
local lanes_of = require "gb.batch_lanes"
local put = require("gb.batch_items").put
local collect = require "gb.collect"
require "gb.future" -- the methods of what start() gives

local M = {}
local copy, fill = ffi.copy, ffi.fill
local new_table = require "table.new"

local MICRO_BATCH = 10000
local SPLITS_MAX = 100
local SMALL_BYTES = 2 ^ 16 -- for so much no queue and buffers of its own are opened

-- ---- hints ----

local known_hints = { device = true, high_priority = true, max_micro_batch = true,
  persistent = true, prefer_gpu = true, required = true, timeout = true }

local silo_prefers_gpu = core.place().prefer_gpu
local no_hints -- what nil stands for

--- The hints of execute, checked: a table that nobody changes. Raises at a level.
function M.check_hints(hints, level)
  if hints == nil and no_hints then return no_hints end
  near.check_options("execute", hints, known_hints, level + 1)
  hints = hints or {}
  for _, name in ipairs { "high_priority", "persistent", "prefer_gpu", "required" } do
    if hints[name] ~= nil and type(hints[name]) ~= "boolean" then
      error(("execute: %s is true or false, got %s"):format(name, type(hints[name])), level + 1)
    end
  end
  local most = hints.max_micro_batch or MICRO_BATCH
  if most ~= "auto" and (type(most) ~= "number" or most % 1 ~= 0 or most < 1) then
    error(("execute: max_micro_batch is an integer from 1 or \"auto\", got %s"):format(
      tostring(most)), level + 1)
  end
  local prefer_gpu = hints.prefer_gpu
  if prefer_gpu == nil then prefer_gpu = silo_prefers_gpu end
  return { device = buffer.device_index(hints.device, level + 1), max_micro_batch = most,
    persistent = hints.persistent, prefer_gpu = prefer_gpu, required = hints.required,
    high_priority = hints.high_priority,
    timeout = units.seconds(hints.timeout or "5m", "timeout") }
end
no_hints = M.check_hints({}, 1)

-- ---- items ----

-- Arrays for a list's items and results wait here for the next list of the kernel, unless memory is
-- collected meanwhile.
local weak = { __mode = "v" }

-- All zero, but for the first `written`, which the caller writes.
local function take_array(side, count, written)
  local spare = side.spare
  local own = spare and spare.array
  if own and spare.count >= count then
    local used = spare.used
    if used > written then
      fill(own.gb_data + written, (used - written) * side.kind.size)
    end
    spare.array = nil
    return own
  end
  return array.make(side.kind, count)
end

local function give_array(side, all, count)
  local spare = side.spare or setmetatable({ count = 0, used = 0 }, weak)
  side.spare = spare
  if spare.array and spare.count >= #all then return end
  spare.array, spare.count, spare.used = all, #all, count
end

-- The items of a list in an array, and those that cannot be items.
local function from_list(list, n, side)
  local failed, per = {}, side.count
  local all, message, code = take_array(side, n * per, n * per)
  if not all then return nil, message, code end
  local set, data = side.kind.set, all.gb_data
  for i = 1, n do
    local good, why
    if per == 1 then
      good, why = set(list[i])
      if why then fill(data + (i - 1), side.kind.size) else data[i - 1] = good end
    else
      why = put(all, i - 1, list[i], side)
    end
    if why then failed[#failed + 1] = { first = i, last = i, message = why, code = "EINVAL" } end
  end
  return all, failed
end

-- How many items an array holds; nil and what is wrong with it.
local function count_of(items, side)
  local per, kind = side.count, side.kind
  if items.gb_block == nil then return nil, "the items were freed or moved" end
  local own = array.kind_of(items)
  if own ~= kind then
    return nil, ("the items are of type %s, the kernel takes %s"):format(own.name, kind.name)
  end
  if #items % per ~= 0 then
    return nil, ("%d elements are no whole number of items of %d"):format(#items, per)
  end
  return #items / per
end

-- ---- running ----

-- What a launch over items from `from` on takes: the layout's own list, to be read at once.
local function arguments(layout, from, to, count)
  local args = layout.args
  if layout.count then args[layout.count] = count end
  args[layout.item.at] = from
  if not layout.in_place then args[layout.result.at] = to end
  return args
end

-- One launch over host arrays, on the caller's own queue: small batches cost little more than that.
local function run_whole(run)
  local kernel, layout, n = run.found.kernel, run.found.layout, run.n
  local from, to, count, timeout = run.items, run.results, layout.n, run.hints.timeout
  if not run.in_place then -- arrays of lists may be larger, and all of them would be copied
    from = from:view(0, n * layout.item.count)
    to = layout.in_place and from or to:view(0, n * layout.result.count)
  end
  local args = arguments(layout, from, to, n)
  local ok, message, code = run_list(kernel, n, args, count, timeout)
  if ok or code then return ok, message, code end
  return kernel:run({ threads = n, timeout = timeout }, unpack(args, 1, count))
end

-- A step of a lane: its future, or in its place why there is none.
local function step(futures, future, message, code)
  futures[#futures + 1] = future or { failed = message, code = code }
end

-- The futures of items first .. first + count - 1 (from 0) on a lane, in the order of its queue.
local function start(run, lane, first, count)
  local layout, futures = run.found.layout, {}
  local from = run.items:view(first * layout.item.count, count * layout.item.count)
  local to = layout.in_place and from
    or run.results:view(first * layout.result.count, count * layout.result.count)
  if lane.item then
    step(futures, lane.item:upload(from, { async = true, queue = lane.queue }))
  end
  step(futures, run.found.kernel:async({ threads = count, queue = lane.queue },
    unpack(arguments(layout, lane.item or from, lane.result or to, count), 1, layout.n)))
  if lane.item then
    local out = layout.in_place and lane.item or lane.result
    step(futures, out:download(to, { count = #to, async = true, queue = lane.queue }))
  end
  return futures
end

local function finish(run, futures)
  local message, code
  for _, future in ipairs(futures) do
    local ok, own, own_code = nil, rawget(future, "failed"), rawget(future, "code")
    if not own then
      ok, own, own_code = future:await(math.max(run.deadline - core.monotonic(), 0))
    end
    if not ok and not code then message, code = own, own_code end
    if own_code == "ETIMEDOUT" then run.late = true end -- it may run on
  end
  return code == nil, message, code
end

-- Items that the kernel has changed in their place before it trapped are as they were given: it
-- worked on our array, or what it left was copied there.
local function restore(run, first, count)
  local layout, given, side = run.found.layout, run.given, run.found.layout.item
  if not layout.in_place then return end
  if run.is_array then
    local per = side.count
    copy(run.items.gb_data + first * per, given.gb_data + first * per,
      count * per * side.kind.size)
  else
    for at = first, first + count - 1 do put(run.items, at, given[at + 1], side) end
  end
end

-- A kernel that trapped over some items runs again over halves of them, until those that make it
-- trap are alone: the others have their results. So do items for which memory ran out on the way,
-- of which one alone has a second try.
local function narrow(run, lane, first, count, message, code, tried)
  restore(run, first, count)
  local half, parts = math.floor(count / 2), nil
  if half > 0 and (code == "ETRAP" or code == "ENOMEM") then
    parts = { { first, half }, { first + half, count - half } }
  elseif code == "ENOMEM" and not tried then
    parts = { { first, count } }
  end
  if parts and run.splits < SPLITS_MAX then
    run.splits = run.splits + 1
    for _, part in ipairs(parts) do
      local ok, own, own_code = finish(run, start(run, lane, part[1], part[2]))
      if not ok then narrow(run, lane, part[1], part[2], own, own_code, half == 0) end
    end
    return
  end
  run.failed[#run.failed + 1] = { first = first + 1, last = first + count, message = message,
    code = code }
end

-- What ends the batch, whatever the items are.
local whole = { ETIMEDOUT = true, ELOST = true, EDEVICE = true }

local function run_all(run, lanes, size, n)
  local under_way, next_first, tuner, last = {}, 0, run.tuner, core.monotonic()
  local function begin(lane)
    if next_first >= n or core.monotonic() >= run.deadline then return end
    local most = tuner and math.min(size, tuner.size) or size
    local one = { lane = lane, first = next_first, most = most,
      count = math.min(most, n - next_first) }
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
    if tuner then
      local now = core.monotonic()
      if ok and one.most == tuner.size then tuner:note(one.count, now - last) end
      last = now
    end
    begin(one.lane)
  end
  if next_first < n then
    return nil, ("the batch did not end within its timeout: %d of %d items were not begun"):format(
      n - next_first, n), "ETIMEDOUT"
  end
  return true
end

-- The same in one launch, where the size of micro-batches had a say in it.
local function run_whole_timed(run)
  local tuner, from = run.tuner, core.monotonic()
  local ok, message, code = run_whole(run)
  if ok and run.n > tuner.best then tuner:note(run.n, core.monotonic() - from) end
  return ok, message, code
end

-- true; nil, message, code. Raises when the kernel does not take the values of args.
local function run_items(run)
  local n, message, code = run.n, nil, nil
  if run.here and n <= run.most and (run.in_place or n * run.bytes <= SMALL_BYTES) then
    local ok
    run.micro_batches = 1
    ok, message, code = (run.tuner and run_whole_timed or run_whole)(run)
    if ok then return true end
    if code ~= "ETRAP" and code ~= "ENOMEM" then return nil, message, code end
  end
  local lanes, size, why = lanes_of.take(run, n)
  if not lanes then return nil, size, why end
  local calm, ok
  if code then
    calm, ok = pcall(narrow, run, lanes[1], 0, n, message, code)
    if calm then ok = true end
  else
    calm, ok, message, code = pcall(run_all, run, lanes, size, n)
  end
  lanes_of.give(run, lanes, size, calm and ok)
  if not calm then error(ok, 0) end
  return ok, message, code
end

-- ---- results ----

local function as_list(run)
  local layout, n = run.found.layout, run.n
  local side, results = layout.in_place and layout.item or layout.result, run.results
  local out, per = new_table(n, 0), side.count
  if per == 1 then
    for i = 1, n do out[i] = results[i - 1] end
  else
    for i = 1, n do out[i] = results:view((i - 1) * per, per) end
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

-- The arrays of items and results: true; false, message: misuse; nil, message, code.
local function open_arrays(run)
  local given, layout, message, code = run.given, run.found.layout, nil, nil
  local list = not run.is_array
  if list then
    run.items, message, code = from_list(given, run.n, layout.item)
    if not run.items then return nil, message, code end
    run.failed = message
  end
  if layout.in_place then
    -- what the caller gave stays as it is
    run.results = run.items
    if not list then
      run.given = given:view() -- its own: the caller may free it while this waits
      run.results, message, code = given:copy()
    end
    run.items = run.results
  elseif list and layout.lends then
    run.results, message, code = take_array(layout.result, run.n * layout.result.count, 0)
  else
    run.results, message, code = array.make(layout.result.kind, run.n * layout.result.count)
  end
  if not run.results then return nil, message, code end
  return true
end

-- The results as the caller wants them, and the arrays back unless something still runs on them.
local function close_arrays(run)
  if run.is_array then return run.results end
  local out, layout = as_list(run), run.found.layout
  if run.late then return out end
  if not layout.in_place then give_array(layout.item, run.items, run.n * layout.item.count) end
  if layout.lends then give_array(layout.result, run.results, run.n * layout.result.count) end
  return out
end

-- On one device: what M.run gives.
local function run_on(run, device, here, in_place)
  run.device, run.in_place = device, in_place
  run.here = here and not run.hints.high_priority
  run.failed, run.splits, run.micro_batches = {}, 0, 0
  run.most = run.hints.max_micro_batch
  if run.most == "auto" then
    run.tuner = batch_size.of(run.entry.key, device)
    run.most = run.tuner.size
  end
  local ok, message, code = open_arrays(run)
  if not ok then return nil, message, code end
  if run.n > 0 then
    local calm
    calm, ok, message, code = pcall(run_items, run)
    arguments(run.found.layout, false, false, 0) -- which holds no arrays of ours from now on
    if not calm then -- what the kernel does not take: the values of args
      return false, (tostring(ok):gsub("^[^ ]+:%d+: ", ""))
    end
    if not ok then return nil, message, code end
  end
  return close_arrays(run), run.failed, run.n, run.micro_batches
end

local spare_run -- a table for the next run

local function take_run()
  local run = spare_run
  spare_run = nil
  return run or { device = false, in_place = false, here = false, results = false, splits = 0,
    micro_batches = 0, most = 0 }
end

-- Holds nothing of the batch.
local function give_run(run)
  run.entry, run.found, run.hints, run.given, run.items = false, false, false, false, false
  run.results, run.failed, run.tuner = false, false, false
  spare_run = run
end

--- Runs an entry of the catalog over items, with checked hints: results, failures, n and how many
--- micro-batches; nil, message, code. false, message: misuse. Where a device fails, all of it runs
--- again on another one: the items are as they were.
function M.run(entry, items, hints)
  local found, message, code = catalog.open(entry)
  if not found then return nil, message, code end
  local layout, n = found.layout, nil
  local is_array = array.is_of(layout.item.kind, items) or array.is_array(items)
  if is_array then
    n, message = count_of(items, layout.item)
    if not n then return false, message end
  elseif type(items) ~= "table" then
    return false, ("the items are a list or an array, got %s"):format(type(items))
  end
  local number = found.kernel.gb_number
  local ticket
  ticket, message, code = faults.begin(number)
  if not ticket then return nil, message, code end
  local run = take_run()
  run.entry, run.found, run.hints, run.given, run.is_array = entry, found, hints, items, is_array
  run.n, run.bytes, run.deadline = n or #items, layout.bytes, core.monotonic() + hints.timeout
  run.items, run.tuner, run.late = is_array and items, false, false
  local out, failed, count, micro = faults.over_devices(hints, run_on, run)
  give_run(run)
  faults.finish(number, ticket, out, failed, count)
  return out, failed, count, micro
end

--- For a pipeline on another worker: the results, or nil, message, code.
function M.serve(tenant, entry, items, hints)
  core.work_for(tenant)
  local out, failed, n = M.run(entry, items, hints)
  if out == false then return nil, failed, "EINVAL" end
  if out == nil then return nil, failed, n end
  if #failed == 0 then return out end
  local message, code = M.summary(failed, n)
  return nil, "of these, " .. message, code -- which have other numbers in the pipeline
end

-- ---- gb.batch ----

local methods = {}
local meta = { __gb = "batch", __index = near.methods("batch", methods) }
local getmetatable, gather = getmetatable, collect.call

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
  if not self.rule then self.rule = collect.rule(self.entry, M.check_hints) end
  return gather(self.rule, item)
end

--- How calls are gathered: at most max_batch items (1000), max_delay after the first (not given: as
--- soon as nobody on this worker is left who could bring more, 1 ms at most). Holds for the kernel
--- on this worker.
function methods:coalesce(options)
  check_self(self, "coalesce")
  near.check_options("coalesce", options, { max_batch = true, max_delay = true }, 2)
  options = options or {}
  local size = options.max_batch or 1000
  if type(size) ~= "number" or size % 1 ~= 0 or size < 1 then
    error(("coalesce: max_batch is an integer from 1, got %s"):format(tostring(size)), 2)
  end
  collect.tune(self.entry, M.check_hints(nil, 2), size,
    options.max_delay and units.seconds(options.max_delay, "max_delay"))
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

--- { batches, micro_batches, items, failures } of this handle; sizes: items of a micro-batch by
--- device, where max_micro_batch = "auto" found them on this worker.
function methods:stats()
  local out = { sizes = batch_size.sizes(self.entry.key) }
  for name, value in pairs(self.counts) do out[name] = value end
  return out
end

--- gb.batch(id): a kernel of the catalog, for many items at once.
function M.batch(id)
  return setmetatable({ entry = catalog.find(id, 2), rule = false, -- of its calls
    counts = { batches = 0, micro_batches = 0, items = 0, failures = 0 } }, meta)
end

return M
