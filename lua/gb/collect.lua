-- Items of many turns gathered into batches of one kernel: gb.batch(id):call(item), where each
-- caller waits for its own result, and gb.batch(id):stream{...}, whose results go to a function in
-- the order of the items. A group is run when it is full or when its first item has waited for the
-- delay; it runs in a turn of the worker itself, so it outlives the grain that began it.
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"
local ref = require "gb.ref"

local M = {}

local SIZE, DELAY = 128, "100ms" -- of a stream
local CALL_SIZE, CALL_DELAY = 1000, "1ms"
local WINDOW = 10 -- seconds between two looks at how fast a stream is
local ROOM = 100000

local groups, last_group = {}, 0 -- those under way, by number, for the worker's turns

local function worker(timeout)
  return ref.make("$worker" .. core.place().worker, 0):with { timeout = timeout }
end

--- The worker's turns: waits, then starts the group; runs it.
function M.wait(number)
  local group = groups[number]
  if group and core.sleep(group.delay) then M.start(group) end
  return true
end

function M.run(number)
  local group = groups[number]
  if not group then return nil, "the batch is gone", "ECANCELED" end
  local batch = require "gb.batch"
  local start = core.monotonic()
  local out, failed, n = batch.run(group.owner.entry, group.items, group.owner.hints)
  groups[number] = nil
  group.seconds = core.monotonic() - start
  if out == false then out, failed, n = nil, failed, "EINVAL" end
  if out then
    group.results, group.failed = out, failed
  else
    group.message, group.code = failed, n
  end
  return true
end

local function open_group(owner)
  last_group = last_group + 1
  local group = { number = last_group, owner = owner, items = {}, n = 0, delay = owner.delay }
  groups[group.number] = group
  owner.open = group
  group.waiting = worker(owner.hints.timeout + owner.delay):async("collect_wait", group.number)
  return group
end

--- Runs a group once; whoever waited for it to fill goes on.
function M.start(group)
  if group.running then return end
  local owner = group.owner
  if owner.open == group then owner.open = false end
  group.running = worker(owner.hints.timeout + 60):async("collect_run", group.number)
  group.waiting:cancel()
end

local function add(owner, item)
  local group = owner.open or open_group(owner)
  local at = group.n + 1
  group.n, group.items[at] = at, item
  if at >= owner.size then M.start(group) end
  return group, at
end

-- Waits until the group has run: true, or nil, message, code.
local function await(group)
  if not group.running then
    group.waiting:await()
    M.start(group) -- unless that is done: whoever waited may have been cancelled
  end
  local ok, message, code = group.running:await()
  if not ok then return nil, message, code end
  if not group.results then return nil, group.message, group.code end
  return true
end

local function result_at(group, at)
  for _, one in ipairs(group.failed) do
    if at >= one.first and at <= one.last then return nil, one.message, one.code end
  end
  return group.results[at]
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
  local group, at = add(callers[entry.key], item)
  local ok, message, code = await(group)
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
    max = whole(options.max or 10000, "max", level + 1), open = false, pumping = false,
    stopped = false, error = false, pushed = 0, given = 0, failed_count = 0, batches = 0,
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
  self.pushed = self.pushed + 1
  local group = add(self, item)
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
  if self.open then M.start(self.open) end
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
