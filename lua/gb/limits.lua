-- How much at once and how often: bulkheads (so many run, so many wait) and token buckets (so many
-- in a time). Both are fair: who came first goes first.
--
-- A turn may vanish while it runs or waits (its grain deactivates). A slot is therefore held by a
-- lease on the turn's own stack: what is collected gives the slot back.
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"
local breaker = require "gb.breaker"

local M = {}

local LOOK = 1 -- seconds between two looks for leases that were collected

-- ---- bulkheads ----

local bulkhead_options = { name = true, running = true, queued = true, wait = true }
local bulkhead = {}
local bulkhead_meta = { __gb = "bulkhead", __index = near.methods("bulkhead", bulkhead) }

--- At most running (10) calls at once; queued (50) more wait, for at most wait ("30s").
function M.bulkhead(options, what)
  what = what or "a bulkhead"
  near.check_options(what, options, bulkhead_options)
  options = options or {}
  return setmetatable({ name = tostring(options.name or "bulkhead"),
    most = breaker.number(options.running or 10, what .. ": running", 1, 1e6, true),
    room = breaker.number(options.queued or 50, what .. ": queued", 0, 1e6, true),
    wait_s = units.seconds(options.wait or "30s", "wait"),
    active = 0, waiting = {}, first = 1, last = 0, length = 0, rejected = 0, late = 0,
    dropped = 0 }, bulkhead_meta)
end

local weak = { __mode = "v" }

-- The slot goes to who waits longest and is still there.
local function pass_on(self)
  while self.first <= self.last do
    local one = self.waiting[self.first]
    self.waiting[self.first] = nil
    self.first = self.first + 1
    if one and not one.left then
      self.length = self.length - 1
      local there = one.lease[1]
      if there then
        one.granted = true
        getmetatable(there).held = true
      end
      core.cancel(one.promise) -- whoever waits for it goes on
      if there then return end
    end
  end
  self.active = self.active - 1
end

-- A finalizer may run at any time, also when the state closes: it only notes.
local function new_lease(self)
  local lease = newproxy(true)
  local own = getmetatable(lease)
  own.held = false
  function own.__gc()
    if own.held then self.dropped = self.dropped + 1 end
  end
  return lease, own
end

local function take_dropped(self)
  while self.dropped > 0 do
    self.dropped = self.dropped - 1
    pass_on(self)
  end
end

-- Waits for a slot; now and then it looks for those that nobody gave back.
local function await_slot(self, one)
  local limit = math.min(self.wait_s, core.deadline() or self.wait_s)
  local until_s = core.monotonic() + limit
  local left = limit
  while not one.granted and left > 0 do
    core.await(one.promise, math.min(left, LOOK))
    take_dropped(self)
    left = until_s - core.monotonic()
  end
  return limit
end

--- A slot: a lease to give back with leave; or nil, message, "EBUSY".
function bulkhead:enter()
  take_dropped(self)
  local lease, own = new_lease(self)
  if self.active < self.most then
    self.active = self.active + 1
    own.held = true
    return lease
  end
  if self.length >= self.room then
    self.rejected = self.rejected + 1
    return nil, ("%s: %d run and %d wait already"):format(self.name, self.active, self.length),
      "EBUSY"
  end
  local one = { promise = core.promise(), lease = setmetatable({ lease }, weak), granted = false,
    left = false }
  self.last = self.last + 1
  self.waiting[self.last] = one
  self.length = self.length + 1
  local waited = await_slot(self, one)
  if one.granted then return lease, own end
  one.left = true
  self.length = self.length - 1
  core.cancel(one.promise)
  self.late = self.late + 1
  return nil, ("%s: waited for %.3g s, and %d still run"):format(self.name, waited, self.active),
    "EBUSY"
end

--- Gives a slot back.
function bulkhead:leave(lease)
  local own = getmetatable(lease)
  if not own.held then return end
  own.held = false
  pass_on(self)
end

--- { running, queued, rejected, late }: late waited in vain.
function bulkhead:stats()
  take_dropped(self)
  return { running = self.active, queued = self.length, rejected = self.rejected, late = self.late }
end

-- ---- token buckets ----

local bucket_options = { name = true, rate = true, burst = true, refill = true, wait = true }
local bucket = {}
local bucket_meta = { __gb = "bucket", __index = near.methods("bucket", bucket) }

--- rate (10) calls a second, burst (20) at once after a rest; tokens come every refill ("100ms").
--- A call that would wait longer than wait ("30s") is refused at once.
function M.bucket(options, what)
  what = what or "a bucket"
  near.check_options(what, options, bucket_options)
  options = options or {}
  local self = setmetatable({ name = tostring(options.name or "bucket"),
    rate = breaker.number(options.rate or 10, what .. ": rate", 1e-6, 1e9),
    burst = breaker.number(options.burst or 20, what .. ": burst", 1, 1e9),
    refill = units.seconds(options.refill or "100ms", "refill"),
    wait_s = units.seconds(options.wait or "30s", "wait"), taken = 0, rejected = 0 }, bucket_meta)
  if self.refill <= 0 then core.raise(what .. ": refill is longer than nothing") end
  self.tokens, self.at = self.burst, core.monotonic()
  return self
end

-- Whole refills only; the rest of the time counts for the next one.
local function refill(self, now)
  local times = math.floor((now - self.at) / self.refill + 1e-9)
  if times <= 0 then return end
  self.at = self.at + times * self.refill
  self.tokens = math.min(self.burst, self.tokens + times * self.refill * self.rate)
end

--- Takes a token and waits until it is there: true, or nil, message, "EBUSY". Tokens are promised
--- in the order of the calls, so what is left may be less than nothing.
function bucket:take()
  local now = core.monotonic()
  refill(self, now)
  local missing = 1 - self.tokens
  local wait = 0
  if missing > 1e-9 then
    wait = self.at + math.ceil(missing / (self.rate * self.refill) - 1e-9) * self.refill - now
  end
  local most = math.min(self.wait_s, core.deadline() or self.wait_s)
  if wait > most then
    self.rejected = self.rejected + 1
    return nil, ("%s: %g calls a second are over; the next is free in %.3g s"):format(self.name,
      self.rate, wait), "EBUSY"
  end
  self.tokens, self.taken = self.tokens - 1, self.taken + 1
  if wait > 0 then core.sleep(wait) end
  return true
end

--- { tokens, taken, rejected }
function bucket:stats()
  refill(self, core.monotonic())
  return { tokens = self.tokens, taken = self.taken, rejected = self.rejected }
end

function M.is_bulkhead(value) return getmetatable(value) == bulkhead_meta end
function M.is_bucket(value) return getmetatable(value) == bucket_meta end

return M
