-- Items of many turns gathered into batches of one kernel: gb.batch(id):call(item), where each
-- caller waits for its own result, and gb.batch(id):stream{...}, whose results go to a function in
-- the order of the items. A group is run when it is full or when its first item has waited for the
-- delay; it runs in a turn of the worker itself, so it outlives the grain that began it. An item is
-- copied into its group at once; all callers of a group wait for one future.
local ffi = require "ffi"
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"
local array = require "gb.array"
local catalog = require "gb.catalog"
local ref = require "gb.ref"
local put = require "gb.batch".put

local M = {}

local SIZE, DELAY = 128, "100ms" -- of a stream
local CALL_SIZE, CALL_DELAY = 1000, "1ms"
local WINDOW = 10 -- seconds between two looks at how fast a stream is
local ROOM = 100000

local FIRST_ROOM = 128 -- items; grows to the size of the group

local groups, last_group = {}, 0 -- those under way, by number, for the worker's turns

local function worker(timeout)
  return ref.make("$worker" .. core.place().worker, 0):with { timeout = timeout }
end

-- ---- the worker's turns ----

--- Waits for the delay of a group; cancelled when it is full.
function M.wait(number)
  local group = groups[number]
  if group then core.sleep(group.owner.delay) end
  return true
end

-- Results of one element as a list, which costs less to read than an array.
local function take_results(group, out, failed)
  local side = group.found.layout.result
  group.per, group.values = side.count, out
  if side.count == 1 and not side.kind.fields then group.values = out:totable() end
  for _, one in ipairs(failed) do
    group.failed = group.failed or {}
    for at = one.first, one.last do group.failed[at] = one end
  end
end

--- Runs a group once it is full or its first item has waited long enough.
function M.run(number)
  local group = groups[number]
  if not group then return nil, "the batch is gone", "ECANCELED" end
  local owner = group.owner
  if owner.open == group then core.await(group.waiting) end
  if owner.open == group then owner.open = false end
  groups[number] = nil
  local batch, side = require "gb.batch", group.found.layout.item
  local out, failed, code = batch.run(owner.entry, group.items:view(0, group.n * side.count),
    owner.hints)
  if not out then return nil, failed, code == nil and "EINVAL" or code end
  take_results(group, out, failed)
  owner.spare = group.items -- nothing runs on it any more
  return true
end

-- ---- groups ----

-- Memory for the items of a group: what the last one used, when it is large enough to begin with.
local function items_of(owner, side)
  local spare = owner.spare
  owner.spare = false
  if spare and array.kind_of(spare) == side.kind and #spare >= side.count then return spare end
  return array.make(side.kind, math.min(owner.size, FIRST_ROOM) * side.count)
end

-- The group that takes the next item; nil, message, code.
local function open_group(owner)
  local found, message, code = catalog.open(owner.entry)
  if not found then return nil, message, code end
  if owner.open then return owner.open end -- another turn was quicker while this one compiled
  local side = found.layout.item
  local items, why, why_code = items_of(owner, side)
  if not items then return nil, why, why_code end
  last_group = last_group + 1
  local group = { number = last_group, owner = owner, found = found, side = side, n = 0,
    items = items, room = math.floor(#items / side.count) }
  groups[group.number] = group
  owner.open = group
  local timeout = owner.hints.timeout + owner.delay
  group.waiting = worker(timeout):async("collect_wait", group.number)
  group.done = worker(timeout + 60):async("collect_run", group.number)
  return group
end

-- Twice the room: true, or nil, message, code.
local function grow(group)
  local side, room = group.side, math.min(2 * group.room, math.max(group.owner.size, group.n + 1))
  local items, message, code = array.make(side.kind, room * side.count)
  if not items then return nil, message, code end
  ffi.copy(items:pointer(), group.items:pointer(), group.n * side.count * side.kind.size)
  group.items:free()
  group.items, group.room = items, room
  return true
end

--- Takes no more items into a group: it runs.
function M.close(group)
  local owner = group.owner
  if owner.open ~= group then return end
  owner.open = false
  group.waiting:cancel()
end

-- The group and the item's place in it. What is no item keeps its place and fails alone.
local function add(owner, item)
  local group = owner.open
  if not group then
    local message, code
    group, message, code = open_group(owner)
    if not group then return nil, message, code end
  end
  local n = group.n
  if n == group.room then
    local ok, message, code = grow(group)
    if not ok then return nil, message, code end
  end
  local why = put(group.items, n, item, group.side)
  n = n + 1
  group.n = n
  if why then
    group.failed = group.failed or {}
    group.failed[n] = { message = why, code = "EINVAL" }
  end
  if n >= owner.size then M.close(group) end
  return group, n
end

-- Waits until the group has run: true, or nil, message, code.
local function await(group)
  if group.values then return true end
  local ok, message, code = core.await(group.done)
  if ok then return true end
  local owner = group.owner -- its turn may never have begun
  if owner.open == group then owner.open = false end
  groups[group.number] = nil
  return nil, message, code
end

local function result_at(group, at)
  local failed = group.failed and group.failed[at]
  if failed then return nil, failed.message, failed.code end
  local values, per = group.values, group.per
  if type(values) == "table" then return values[at] end
  if per == 1 then return values[at - 1] end
  return values:view((at - 1) * per, per)
end

-- ---- calls that are coalesced ----

local callers = {} -- by the key of the entry

--- How calls of an entry are gathered: at most so many items, so many seconds after the first.
function M.tune(entry, hints, size, delay)
  callers[entry.key] = { entry = entry, hints = hints, size = size, delay = delay }
end

--- The result of one item, which runs in one launch with those that other turns ask for now.
function M.call(entry, check_hints, item)
  if not callers[entry.key] then
    M.tune(entry, check_hints(nil, 1), CALL_SIZE, units.seconds(CALL_DELAY, "delay"))
  end
  local group, at, code = add(callers[entry.key], item)
  if not group then return nil, at, code end
  local ok, message
  ok, message, code = await(group)
  if not ok then return nil, message, code end
  return result_at(group, at)
end

-- ---- streams ----

local methods = {}
local meta = { __gb = "stream", __index = near.methods("stream", methods) }

local stream_options = { size = true, delay = true, buffer = true, adaptive = true, out = true,
  min = true, max = true, hints = true }

local function whole(value, name, level)
  if type(value) ~= "number" or value % 1 ~= 0 or value < 1 then
    error(("stream: %s is an integer from 1, got %s"):format(name, tostring(value)), level + 1)
  end
  return value
end

--- A stream of items through an entry: see gb.batch(id):stream.
function M.stream(entry, options, check_hints, level)
  near.check_options("stream", options, stream_options, level + 1)
  options = options or {}
  if type(options.out) ~= "function" then
    error(("stream: out is a function for the results, got %s"):format(type(options.out)),
      level + 1)
  end
  local size = whole(options.size or SIZE, "size", level + 1)
  local self = { entry = entry, hints = check_hints(options.hints, level + 1), size = size,
    delay = units.seconds(options.delay or DELAY, "delay"), out = options.out,
    room = whole(options.buffer or ROOM, "buffer", level + 1),
    adaptive = options.adaptive or false, min = whole(options.min or 32, "min", level + 1),
    max = whole(options.max or 10000, "max", level + 1), open = false, spare = false,
    pumping = false, stopped = false, error = false, pushed = 0, given = 0, failed_count = 0,
    batches = 0,
    queue = {}, first = 1, last = 0,
    window_start = core.monotonic(), window_items = 0, rate = 0 }
  if self.room < size then
    error(("stream: a buffer of %d is less than one batch of %d"):format(self.room, size),
      level + 1)
  end
  return setmetatable(self, meta)
end

-- Throughput of the last window against the one before: larger batches while that pays.
local function adapt(self, n)
  self.window_items = self.window_items + n
  local now = core.monotonic()
  local passed = now - self.window_start
  if passed < WINDOW then return end
  local rate = self.window_items / passed
  if self.rate > 0 and rate > 1.1 * self.rate then
    self.size = math.min(self.max, math.floor(self.size * 1.2))
  elseif self.rate > 0 and rate < 0.9 * self.rate then
    self.size = math.max(self.min, math.floor(self.size * 0.8))
  end
  self.rate, self.window_start, self.window_items = rate, now, 0
end

-- Hands out the results of the oldest group; one turn at a time does so.
local function give_next(self)
  local group = self.queue[self.first]
  local ok, message, code = await(group)
  if self.queue[self.first] ~= group then return true end -- another turn was quicker
  self.queue[self.first] = nil
  self.first = self.first + 1
  self.batches = self.batches + 1
  if self.adaptive then adapt(self, group.n) end
  for at = 1, group.n do
    self.given = self.given + 1
    if ok then
      local value, own, own_code = result_at(group, at)
      if value == nil then self.failed_count = self.failed_count + 1 end
      self.out(value, own, own_code)
    else
      self.failed_count = self.failed_count + 1
      self.out(nil, message, code)
    end
  end
  return true
end

-- The turn that gives, started with the first item that waits for it.
local function pump(self)
  if self.pumping then return end
  self.pumping = true
  require("gb").spawn(function()
    local ok, why = true, nil
    while ok and self.first <= self.last do ok, why = pcall(give_next, self) end
    self.pumping = false
    if not ok then self.error = tostring(why) end
  end)
end

local function check_self(self, name)
  if getmetatable(self) ~= meta then
    error(("call it as stream:%s(...), with a colon"):format(name), 3)
  end
end

--- Adds an item and waits while the buffer is full: true, or nil, message, code.
function methods:push(item)
  check_self(self, "push")
  if item == nil then error("push takes an item", 2) end
  while not self.stopped and not self.error and self.pushed - self.given >= self.room do
    pump(self)
    local oldest = self.queue[self.first]
    if oldest then await(oldest) end
    if self.pushed - self.given >= self.room then core.sleep(0) end
  end
  if self.error then return nil, "stream: out raised: " .. self.error, "EINVAL" end
  if self.stopped then return nil, "the stream was stopped", "ECLOSED" end
  local group, message, code = add(self, item)
  if not group then return nil, message, code end
  self.pushed = self.pushed + 1
  if self.queue[self.last] ~= group then
    self.last = self.last + 1
    self.queue[self.last] = group
    pump(self)
  end
  return true
end

--- Takes no more items, runs what is there, and returns when out has had all results.
function methods:stop()
  check_self(self, "stop")
  self.stopped = true
  if self.open then M.close(self.open) end
  while self.first <= self.last and not self.error do
    pump(self)
    await(self.queue[self.first])
    if self.first <= self.last then core.sleep(0) end
  end
  if self.error then return nil, "stream: out raised: " .. self.error, "EINVAL" end
  return true
end

--- { pushed, given, failed, batches, waiting, size = of a batch now }
function methods:stats()
  check_self(self, "stats")
  return { pushed = self.pushed, given = self.given, failed = self.failed_count,
    batches = self.batches, waiting = self.pushed - self.given, size = self.size }
end

return M
