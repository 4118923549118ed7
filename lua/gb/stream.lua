-- gb.batch(id):stream{ ... }: items in, results out to a function, in the order of the items. Items
-- are gathered as calls are (collect.lua). One turn hands results out; who pushes while too many
-- items are under way waits until that turn has brought them down.
local core = require "gb.core"
local collect = require "gb.collect"
local near = require "gb.near"
local units = require "gb.units"

local M = {}

local WINDOW = 10 -- seconds between two looks at how fast a stream is
local SAMPLES = 1000 -- latencies that stats() knows
local GATE = 0.05 -- seconds that the turn of an open gate may stay

local presets = {
  default = { size = 128, min = 32, max = 10000, delay = 0.1, adaptive = true, buffer = 100000,
    pause = 0.9, resume = 0.5 },
  low_latency = { size = 16, min = 16, max = 1000, delay = 0.01, adaptive = false, buffer = 10000,
    pause = 0.8, resume = 0.4 },
  high_throughput = { size = 256, min = 256, max = 100000, delay = 1, adaptive = true,
    buffer = 1000000, pause = 0.95, resume = 0.7 },
}

local known = { preset = true, size = true, delay = true, buffer = true, adaptive = true,
  out = true, min = true, max = true, pause = true, resume = true, hints = true }

local methods = {}
local meta = { __gb = "stream", __index = near.methods("stream", methods) }

-- ---- options ----

local function whole(value, name, level)
  if type(value) ~= "number" or value % 1 ~= 0 or value < 1 then
    error(("stream: %s is an integer from 1, got %s"):format(name, tostring(value)), level + 1)
  end
  return value
end

local function fraction(value, name, level)
  if type(value) ~= "number" or not (value > 0 and value <= 1) then
    error(("stream: %s is a part of the buffer, over 0 and up to 1, got %s"):format(name,
      tostring(value)), level + 1)
  end
  return value
end

-- size, min, max and buffer, from the options or the preset; what was not given follows the rest.
local function sizes(options, preset, level)
  local size = whole(options.size or preset.size, "size", level + 1)
  local least = whole(options.min or math.min(preset.min, size), "min", level + 1)
  local most = whole(options.max or math.max(preset.max, size), "max", level + 1)
  local room = whole(options.buffer or math.max(preset.buffer, size), "buffer", level + 1)
  if room < size then
    error(("stream: a buffer of %d is less than one batch of %d"):format(room, size), level + 1)
  end
  if size < least or size > most then
    error(("stream: a size of %d is not in %d .. %d (min, max)"):format(size, least, most),
      level + 1)
  end
  return size, least, math.min(most, room), room
end

--- A stream of items through an entry: see gb.batch(id):stream.
function M.stream(entry, options, check_hints, level)
  near.check_options("stream", options, known, level + 1)
  options = options or {}
  if type(options.out) ~= "function" then
    error(("stream: out is a function for the results, got %s"):format(type(options.out)),
      level + 1)
  end
  local preset = presets[options.preset or "default"]
  if not preset then
    error(near.unknown("preset", tostring(options.preset), near.keys(presets)), level + 1)
  end
  local adaptive = options.adaptive
  if adaptive ~= nil and type(adaptive) ~= "boolean" then
    error(("stream: adaptive is true or false, got %s"):format(type(adaptive)), level + 1)
  end
  if adaptive == nil then adaptive = preset.adaptive and options.size == nil end
  local size, least, most, room = sizes(options, preset, level + 1)
  local pause = fraction(options.pause or preset.pause, "pause", level + 1)
  local resume = fraction(options.resume or math.min(preset.resume, pause), "resume", level + 1)
  if resume > pause then
    error(("stream: resume (%g) is over pause (%g)"):format(resume, pause), level + 1)
  end
  return setmetatable(collect.owner { entry = entry, size = size, eager = false,
    hints = check_hints(options.hints, level + 1), tenant = core.tenant(),
    delay = units.seconds(options.delay or preset.delay, "delay"), out = options.out,
    adaptive = adaptive, min = least, max = most, room = room,
    pause_at = math.max(1, math.floor(room * pause)), resume_at = math.floor(room * resume),
    stopped = false, error = false, paused = false, gate = false, pumping = false, giver = false,
    queue = {}, first = 1, last = 0, at = 0, -- groups; items given of the first
    pushed = 0, given = 0, failed_count = 0, batches = 0, pauses = 0,
    window_start = core.monotonic(), window_items = 0, rate = 0,
    latencies = {}, latency_count = 0 }, meta)
end

-- ---- handing out ----

-- Throughput of the last window against the one before: larger batches while that pays.
local function look(self, n)
  self.window_items = self.window_items + n
  local now = core.monotonic()
  local passed = now - self.window_start
  if passed < WINDOW then return end
  local rate, old = self.window_items / passed, self.rate
  if self.adaptive and old > 0 and rate > 1.1 * old then
    self.size = math.min(self.max, math.floor(self.size * 1.2))
  elseif self.adaptive and old > 0 and rate < 0.9 * old then
    self.size = math.max(self.min, math.floor(self.size * 0.8))
  end
  self.rate, self.window_start, self.window_items = rate, now, 0
end

-- Whoever waits in push goes on.
local function open_gate(self)
  self.paused = false
  local gate = self.gate
  self.gate = false
  if gate then gate:cancel() end
end

local function give_one(self, ok, group, message, code)
  local value, own, own_code = nil, message, code
  if ok then value, own, own_code = collect.result_at(group, self.at) end
  self.given = self.given + 1
  if value == nil then self.failed_count = self.failed_count + 1 end
  if self.paused and self.pushed - self.given <= self.resume_at then open_gate(self) end
  self.out(value, own, own_code)
end

-- The results of the oldest group. Whoever comes after a turn that was ended in here goes on behind
-- the last item that it gave.
local function give_group(self)
  local group = self.queue[self.first]
  local ok, message, code = collect.await(group)
  while self.at < group.n do
    self.at = self.at + 1
    give_one(self, ok, group, message, code)
  end
  self.queue[self.first] = nil
  self.first, self.at = self.first + 1, 0
  self.batches = self.batches + 1
  self.latency_count = self.latency_count + 1
  self.latencies[(self.latency_count - 1) % SAMPLES + 1] = core.monotonic() - group.began
  look(self, group.n)
end

local function give_all(self)
  local ok, why = true, nil
  self.giver = core.turn()
  while ok and self.first <= self.last do ok, why = pcall(give_group, self) end
  if not ok then
    self.error = tostring(why)
    open_gate(self)
  end
end

-- The turn that gives: one at a time, begun with the first item that waits for it. It ends with the
-- grain that began it; then the next push or stop begins another.
local function pump(self)
  if self.pumping and not self.pumping:done() then return end
  if self.first <= self.last and not self.error then
    self.pumping = require("gb").spawn(give_all, self)
  end
end

-- Is it out that calls? It cannot wait for itself.
local function is_giver(self)
  return self.giver == core.turn() and self.pumping and not self.pumping:done()
end

-- ---- methods ----

local function check_self(self, name)
  if getmetatable(self) ~= meta then
    error(("call it as stream:%s(...), with a colon"):format(name), 3)
  end
end

-- Those who push wait for the future of this turn; to cancel that wakes them all at once.
local function keep_gate(self)
  while self.paused and not self.stopped do core.sleep(GATE) end
end

-- False: it is out that pushes, which nobody else empties the buffer for.
local function wait_for_room(self)
  if not self.paused and self.pushed - self.given < self.pause_at then return true end
  if is_giver(self) then return false end
  if not self.paused then
    self.paused = true
    self.pauses = self.pauses + 1
    if self.open and self.open == self.queue[self.first] then
      collect.close(self.open) -- nobody would fill it
    end
  end
  while self.paused and not self.stopped and not self.error do
    pump(self)
    if not self.gate or self.gate:done() then self.gate = require("gb").spawn(keep_gate, self) end
    core.await(self.gate)
  end
  return true
end

local function failure(self) return nil, "stream: out raised: " .. self.error, "EINVAL" end

--- Adds an item and waits while too many are under way: true, or nil, message, code.
function methods:push(item)
  check_self(self, "push")
  if item == nil then error("push takes an item", 2) end
  if not wait_for_room(self) then
    return nil, "the buffer is full, and out, which empties it, cannot wait for that", "EBUSY"
  end
  if self.error then return failure(self) end
  if self.stopped then return nil, "the stream was stopped", "ECLOSED" end
  local group, message, code = collect.add(self, item)
  if not group then return nil, message, code end
  self.pushed = self.pushed + 1
  if self.queue[self.last] ~= group then
    group.began = core.monotonic()
    self.last = self.last + 1
    self.queue[self.last] = group
  end
  pump(self)
  return true
end

--- Runs what is there now, full or not.
function methods:flush()
  check_self(self, "flush")
  if self.open then collect.close(self.open) end
  return true
end

--- Takes no more items, runs what is there, and returns when out has had all results.
function methods:stop()
  check_self(self, "stop")
  if is_giver(self) then
    error("stop waits for out, so out cannot call it: gb.spawn(s.stop, s)", 2)
  end
  self.stopped = true
  open_gate(self)
  if self.open then collect.close(self.open) end
  while self.first <= self.last and not self.error do
    pump(self)
    self.pumping:await()
  end
  if self.error then return failure(self) end
  return true
end

local function state_of(self)
  if self.error then return "failed" end
  local rest = self.pushed > self.given
  if self.stopped then return rest and "stopping" or "stopped" end
  if self.paused then return "paused" end
  return rest and "processing" or "idle"
end

--- { state, pushed, given, failed, batches, waiting, pauses, size = of a batch now, rate = items a
--- second in the last ten, latency = { mean, p50, p99, max } in seconds from the first item of a
--- batch to its last result, of the last thousand batches; nil before the first }
function methods:stats()
  check_self(self, "stats")
  local out = { state = state_of(self), pushed = self.pushed, given = self.given,
    failed = self.failed_count, batches = self.batches, waiting = self.pushed - self.given,
    pauses = self.pauses, size = self.size, rate = self.rate }
  if out.rate == 0 and core.monotonic() > self.window_start then
    out.rate = self.window_items / (core.monotonic() - self.window_start)
  end
  local sorted, sum = {}, 0
  for i, value in ipairs(self.latencies) do sorted[i], sum = value, sum + value end
  table.sort(sorted)
  if #sorted > 0 then
    out.latency = { mean = sum / #sorted, p50 = sorted[math.ceil(#sorted * 0.5)],
      p99 = sorted[math.ceil(#sorted * 0.99)], max = sorted[#sorted] }
  end
  return out
end

return M
