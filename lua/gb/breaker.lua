-- Circuit breakers: a state machine that watches how often something fails and refuses it for a
-- while when that is too often.
--
--   closed    --(share of failures, or failures in a row)-->  open
--   open      --(its time is over)-->                         half_open: one trial at a time
--   half_open --(the trial succeeds)--> closed   --(it fails)--> open
--   any       --isolate()--> isolated            --reset()-->  closed
--
-- What began under an older state counts for nothing when it ends: a slow call of long ago neither
-- opens a breaker that was closed since nor closes one that is half open.
--
-- Use it by run(fn, ...), or by begin() and finish(ticket, good). A trial that never ends (its turn
-- was given up) is followed by another one after the open time.
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"

local M = {}

local BUCKETS = 10 -- of the window: what is older is forgotten a tenth at a time

local known = { name = true, ratio = true, failures = true, window = true, min_calls = true,
  open = true, on_change = true, codes = true, calls = true }

local methods = {}
local meta = { __gb = "breaker", __index = near.methods("breaker", methods) }

--- What counts as a failure unless the options name codes: what may be somebody else's fault than
--- the caller's.
M.codes = { ERAISED = true, ETIMEDOUT = true, EBUSY = true, ENOMEM = true, ELOST = true,
  ESTUCK = true, EDEVICE = true, ETRAP = true, ECLOSED = true }

--- A set of codes from a list; raises at the user's line.
function M.code_set(list, what)
  if list == nil then return nil end
  if type(list) ~= "table" then
    core.raise(("%s is a list of codes: { \"ELOST\" }, got %s"):format(what, type(list)))
  end
  local set = {}
  for i, code in ipairs(list) do
    if type(code) ~= "string" then
      core.raise(("%s[%d] is a code like \"ELOST\", got %s"):format(what, i, type(code)))
    end
    set[code] = true
  end
  return set
end

--- A number of an option within bounds; raises at the user's line.
function M.number(value, what, low, high, whole)
  if type(value) ~= "number" or value ~= value or value < low or value > high
    or whole and value % 1 ~= 0 then
    core.raise(("%s is %s from %s to %s, got %s"):format(what, whole and "an integer" or "a number",
      low, high, tostring(value)))
  end
  return value
end

local function empty(self)
  self.calls, self.bad, self.in_row, self.last = {}, {}, 0, -1
  for i = 1, BUCKETS do self.calls[i], self.bad[i] = 0, 0 end
  self.since = core.monotonic()
end

-- calls: for ourselves: a function that knows of so many more calls in so many seconds.

--- A breaker: ratio 0.5 of at least min_calls 10 within window "2m", or so many failures in a row,
--- open it for open = "1m".
function M.new(options, what)
  what = what or "a breaker"
  near.check_options(what, options, known)
  options = options or {}
  if options.on_change ~= nil and type(options.on_change) ~= "function" then
    core.raise(("%s: on_change is a function, got %s"):format(what, type(options.on_change)))
  end
  local self = setmetatable({ name = tostring(options.name or "breaker"),
    ratio = M.number(options.ratio or 0.5, what .. ": ratio", 0.001, 1),
    most = options.failures and M.number(options.failures, what .. ": failures", 1, 1e9, true)
      or false,
    window = units.seconds(options.window or "2m", "window"),
    min_calls = M.number(options.min_calls or 10, what .. ": min_calls", 1, 1e9, true),
    open_s = units.seconds(options.open or "1m", "open"),
    codes = M.code_set(options.codes, what .. ": codes") or M.codes,
    on_change = options.on_change or false, more = options.calls or false,
    now_state = "closed", epoch = 1, until_s = 0, trial_s = false, opened = 0,
    rejected = 0, why = false }, meta)
  if self.window <= 0 then core.raise(what .. ": window is longer than nothing") end
  empty(self)
  return self
end

-- ---- the window ----

-- The bucket of a time; those that were passed since the last one are emptied.
local function bucket(self, now)
  local at = math.floor(now / (self.window / BUCKETS))
  for i = math.max(self.last + 1, at - BUCKETS + 1), at do
    self.calls[i % BUCKETS + 1], self.bad[i % BUCKETS + 1] = 0, 0
  end
  if at > self.last then self.last = at end
  return self.last % BUCKETS + 1
end

local function sums(self)
  local now = core.monotonic()
  bucket(self, now)
  local calls, bad = 0, 0
  for i = 1, BUCKETS do calls, bad = calls + self.calls[i], bad + self.bad[i] end
  if self.more then calls = calls + self.more(math.min(self.window, now - self.since)) end
  return math.max(calls, bad), bad
end

-- ---- states ----

local function change(self, state, why)
  local old = self.now_state
  self.now_state, self.epoch, self.trial_s = state, self.epoch + 1, false
  if state == "closed" then empty(self) end
  if state == "open" then
    self.until_s, self.why, self.opened = core.monotonic() + self.open_s, why, self.opened + 1
  end
  if self.on_change and old ~= state then self.on_change(self, old, state, why) end
end

-- Open long enough: half open from here on.
local function look(self)
  if self.now_state == "open" and core.monotonic() >= self.until_s then
    change(self, "half_open")
  end
  return self.now_state
end

--- "closed" | "open" | "half_open" | "isolated"
function methods:state() return look(self) end

--- May a call begin: a ticket for finish; or nil, message, "EBUSY".
function methods:begin()
  local state = look(self)
  if state == "closed" then return self.epoch end
  local now = core.monotonic()
  if state == "half_open" and not (self.trial_s and now < self.trial_s + self.open_s) then
    if self.trial_s then change(self, "half_open") end -- the last trial is given up
    self.trial_s = now
    return self.epoch
  end
  self.rejected = self.rejected + 1
  if state == "isolated" then
    return nil, ("%s: circuit open: isolated until it is reset"):format(self.name), "EBUSY"
  elseif state == "half_open" then
    return nil, ("%s: circuit open: one trial is under way"):format(self.name), "EBUSY"
  end
  return nil, ("%s: circuit open for %.3g s more: %s"):format(self.name, self.until_s - now,
    self.why), "EBUSY"
end

local function judge(self)
  if self.most and self.in_row >= self.most then
    return ("%d failures in a row"):format(self.in_row)
  end
  local calls, bad = sums(self)
  if calls >= self.min_calls and bad / calls >= self.ratio then
    return ("%d of %d calls failed"):format(bad, calls)
  end
end

--- A call has ended; calls: how many it stands for (1).
function methods:finish(ticket, good, calls)
  if ticket ~= self.epoch then return end
  if self.now_state == "half_open" then
    if good then change(self, "closed") else change(self, "open", "the trial failed") end
    return
  end
  if self.now_state ~= "closed" then return end
  local at = bucket(self, core.monotonic())
  self.calls[at] = self.calls[at] + (calls or 1)
  if good then
    self.in_row = 0
    return
  end
  self.bad[at], self.in_row = self.bad[at] + 1, self.in_row + 1
  local why = judge(self)
  if why then change(self, "open", why) end
end

--- It ended and says nothing about what is watched: a trial may be made again.
function methods:forget(ticket)
  if ticket == self.epoch and self.now_state == "half_open" then self.trial_s = false end
end

--- Is this result a failure for the breaker.
function methods:counts(value, code) return value == nil and self.codes[code] == true end

local function settle(self, ticket, value, message, code, ...)
  self:finish(ticket, not self:counts(value, code))
  return value, message, code, ...
end

--- Runs fn(...) unless the breaker is open: its results; nil, message, "EBUSY" when it is.
function methods:run(fn, ...)
  local ticket, message, code = self:begin()
  if not ticket then return nil, message, code end
  return settle(self, ticket, fn(...))
end

--- Opens it now, as if calls had failed.
function methods:trip(why)
  if self.now_state ~= "isolated" then change(self, "open", why or "tripped") end
  return true
end

--- Refuses everything until reset().
function methods:isolate()
  if self.now_state ~= "isolated" then change(self, "isolated", "isolated") end
  return true
end

--- Closed, with nothing counted.
function methods:reset()
  change(self, "closed")
  return true
end

--- Seconds until a trial may be made; 0 unless it is open.
function methods:wait()
  if look(self) ~= "open" then return 0 end
  return self.until_s - core.monotonic()
end

--- { state, calls, failures (both within the window), opened, rejected, why, wait }
function methods:stats()
  local state = look(self)
  local calls, bad = sums(self)
  return { state = state, calls = calls, failures = bad, opened = self.opened,
    rejected = self.rejected, why = state ~= "closed" and self.why or nil, wait = self:wait() }
end

function meta.__tostring(self) return ("breaker %s (%s)"):format(self.name, look(self)) end

function M.is(value) return type(value) == "table" and getmetatable(value) == meta end

return M
