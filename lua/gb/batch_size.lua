-- The size of micro-batches by measuring: max_micro_batch = "auto". One tuner for each kernel and
-- device of a worker climbs: it doubles the size as long as more items pass in a second, else it
-- tries half of it in the same way, and keeps the best. Nothing is tried for a while then, before
-- it looks again, because what else runs on the device changes. Time comes in by note(), so that
-- the rule can be tested without any.
local M = {}

local FIRST = 10000 -- items
local LEAST, MOST = 64, 2 ^ 22
local WINDOW_S = 0.005 -- what one measurement lasts at least,
local WINDOW_BATCHES = 8 -- and of how many micro-batches
local BETTER = 1.05 -- a gain that is worth another size
local HOLD = 50 -- windows at the best size between two looks around

local methods = {}
local meta = { __index = methods }

--- A tuner that knows nothing yet.
function M.new()
  return setmetatable({ size = FIRST, best = FIRST, best_rate = 0, step = 2, turned = false,
    hold = 0, items = 0, seconds = 0, batches = 0 }, meta)
end

local function try(self, size)
  self.size = math.max(LEAST, math.min(MOST, math.floor(size)))
end

-- The other way, or back to the best for a while.
local function turn(self)
  if self.turned then
    self.size, self.hold, self.turned = self.best, HOLD, false
    return
  end
  self.turned, self.step = true, 1 / self.step
  try(self, self.best * self.step)
end

local function judge(self, rate)
  if self.hold > 0 then
    self.hold = self.hold - 1
    if self.hold == 0 then self.best_rate = 0 end
    return
  end
  if self.best_rate == 0 then
    self.best, self.best_rate = self.size, rate
  elseif self.size == self.best then
    return turn(self) -- there is no such size: it was cut to the bounds
  elseif rate > self.best_rate * BETTER then
    -- what was passed on the way here is worse: no need to turn
    self.best, self.best_rate, self.turned = self.size, rate, true
  else
    return turn(self)
  end
  try(self, self.best * self.step)
end

--- A micro-batch of the tuner's size ended: so many items, so many seconds after the one before.
function methods:note(items, seconds)
  self.items, self.seconds = self.items + items, self.seconds + seconds
  self.batches = self.batches + 1
  if self.seconds < WINDOW_S or self.batches < WINDOW_BATCHES then return end
  local rate = self.items / self.seconds
  self.items, self.seconds, self.batches = 0, 0, 0
  judge(self, rate)
end

--- No micro-batch can be larger than that, for want of memory.
function methods:cap(most)
  if self.size <= most then return end
  self.items, self.seconds, self.batches = 0, 0, 0
  if self.best <= most then
    turn(self)
    if self.size <= most then return end
  end
  self.size, self.best, self.best_rate, self.hold = most, most, 0, 0
end

local tuners = {} -- by key of a catalog's entry and index of a device

--- The tuner of a kernel on a device.
function M.of(key, device)
  local by_device = tuners[key] or {}
  tuners[key] = by_device
  by_device[device] = by_device[device] or M.new()
  return by_device[device]
end

--- The best sizes so far, by device; nil: none was measured.
function M.sizes(key)
  local out
  for device, tuner in pairs(tuners[key] or {}) do
    out = out or {}
    out[device] = tuner.best
  end
  return out
end

return M
