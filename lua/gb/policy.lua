-- gb.policy{ ... }: what stands between a caller and something that may fail. From the outside in:
--
--   fallback < rate < bulkhead < retry < breaker < chaos < timeout < fn
--
-- So one slot and one token cover all attempts of a call, each attempt counts for the breaker and
-- has its own timeout, and the fallback sees what came of all of it.
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"
local breaker = require "gb.breaker"
local limits = require "gb.limits"
local chaos = require "gb.chaos"
local fail = require "gb.fail"

local M = {}

-- ---- retries ----

--- What a failed launch, device call, allocation or compilation gets when it is tried again.
M.retries = {
  kernel = { retries = 3, base = 0.5, max = 30, kind = "exponential", jitter = 0.5 },
  device = { retries = 1, base = 0.25, max = 5, kind = "linear", jitter = 0 },
  alloc = { retries = 2, base = 0.1, max = 0.1, kind = "constant", jitter = 0 },
  compile = { retries = 1, base = 1, max = 1, kind = "constant", jitter = 0 },
}

--- How long an attempt of each kind may take, in seconds.
M.timeouts = { kernel = 300, device = 30, alloc = 10, compile = 600, transfer = 120, other = 60 }

-- What may be better the next time. ELOST and ETIMEDOUT are not here: it may have run.
local passing = { EBUSY = true, ENOMEM = true, EDEVICE = true }
local unsure = { ELOST = true, ETIMEDOUT = true }

local retry_options = { retries = true, base = true, max = true, kind = true, jitter = true,
  codes = true, idempotent = true, like = true }
local kinds = { exponential = true, linear = true, constant = true }

local function check_retry(given)
  if given == true then given = {} end
  if type(given) == "string" then given = { like = given } end
  near.check_options("retry", given, retry_options, true)
  local like = given.like or "kernel"
  local preset = M.retries[like]
  if not preset then core.raise(near.unknown("retry", like, near.keys(M.retries))) end
  local kind = given.kind or preset.kind
  if not kinds[kind] then core.raise(near.unknown("kind of retry", kind, near.keys(kinds))) end
  if given.idempotent ~= nil and type(given.idempotent) ~= "boolean" then
    core.raise(("retry: idempotent is true or false, got %s"):format(type(given.idempotent)))
  end
  local codes = breaker.code_set(given.codes, "retry: codes")
  if not codes then
    codes = {}
    for code in pairs(passing) do codes[code] = true end
    if given.idempotent then
      for code in pairs(unsure) do codes[code] = true end
    end
  end
  return { retries = breaker.number(given.retries or preset.retries, "retry: retries", 0, 1000,
    true),
    base = given.base and units.seconds(given.base, "retry: base") or preset.base,
    max = given.max and units.seconds(given.max, "retry: max") or preset.max,
    jitter = breaker.number(given.jitter or preset.jitter, "retry: jitter", 0, 1),
    kind = kind, codes = codes }
end

--- Seconds before a retry, from 1. jitter 0.5: between half of the plan's pause and all of it, so
--- that those who failed together do not come back together.
function M.pause(retry, number)
  local pause = retry.base
  if retry.kind == "exponential" then pause = retry.base * 2 ^ (number - 1)
  elseif retry.kind == "linear" then pause = retry.base * number end
  pause = math.min(pause, retry.max)
  return pause * (1 - retry.jitter * core.random())
end

-- ---- one attempt ----

local function pack(...) return { n = select("#", ...), ... } end

-- In a turn of its own, so that the caller is free when the time is over; that turn sees
-- gb.cancelled().
local function timed(self, fn, ...)
  if not self.timeout then return fn(...) end
  local future = core.spawn(fn, ...)
  local out = pack(core.await(future, self.timeout))
  if core.cancel(future) then
    self.counts.timeouts = self.counts.timeouts + 1
    return nil, ("%s: did not end within %.3g s"):format(self.name, self.timeout), "ETIMEDOUT"
  end
  return unpack(out, 1, out.n)
end

local function attempt(self, fn, ...)
  if not self.chaos then return timed(self, fn, ...) end
  local bad, message, code = chaos.strike(self.chaos)
  if bad then return nil, message, code end
  return timed(self, fn, ...)
end

-- ---- what raises ----
-- An error that is raised passes through everything, and everything hears of it.

local function guarded(done, fn, ...)
  local out = pack(pcall(fn, ...))
  if not out[1] then
    done(nil, out[2], fail.is(out[2]) and out[2].code or "ERAISED")
    error(out[2], 0)
  end
  done(out[2], out[3], out[4])
  return unpack(out, 2, out.n)
end

local function broken(self, fn, ...)
  local own = self.breaker
  if not own then return attempt(self, fn, ...) end
  local ticket, message, code = own:begin()
  if not ticket then return nil, message, code end
  return guarded(function(value, _, result)
    own:finish(ticket, not own:counts(value, result))
  end, attempt, self, fn, ...)
end

local function retried(self, fn, ...)
  local retry = self.retry
  local out = pack(broken(self, fn, ...))
  if not retry then return unpack(out, 1, out.n) end
  for number = 1, retry.retries do
    if out[1] ~= nil or not retry.codes[out[3]] then break end
    local pause = M.pause(retry, number)
    local left = core.deadline()
    if left and pause >= left then break end -- there would be no time to hear of it
    self.counts.retries = self.counts.retries + 1
    core.sleep(pause)
    if core.cancelled() then break end
    out = pack(broken(self, fn, ...))
  end
  return unpack(out, 1, out.n)
end

local function limited(self, fn, ...)
  if self.rate then
    local ok, message, code = self.rate:take()
    if not ok then return nil, message, code end
  end
  local bulkhead = self.bulkhead
  if not bulkhead then return retried(self, fn, ...) end
  local lease, message, code = bulkhead:enter()
  if not lease then return nil, message, code end
  return guarded(function() bulkhead:leave(lease) end, retried, self, fn, ...)
end

-- ---- policies ----

local methods = {}
local meta = { __gb = "policy", __index = near.methods("policy", methods) }

local known = { name = true, retry = true, breaker = true, bulkhead = true, rate = true,
  timeout = true, fallback = true, chaos = true }

local function check_timeout(given)
  if given == nil then return false end
  if M.timeouts[given] then return M.timeouts[given] end
  if type(given) == "string" and not given:find("%d") then
    core.raise(near.unknown("kind of timeout", given, near.keys(M.timeouts)))
  end
  local seconds = units.seconds(given, "timeout")
  if seconds <= 0 then core.raise("timeout is longer than nothing") end
  return seconds
end

-- An option that is a table of options, true for the defaults, or an object made before.
local function part(options, name, is, new)
  local given = options[name]
  if given == nil or given == false then return false end
  if is(given) then return given end
  if given == true then given = {} end
  if type(given) ~= "table" then
    core.raise(("%s is a table of options or true, got %s"):format(name, type(given)))
  end
  local own = { name = options.name and options.name .. " " .. name or name }
  for field, value in pairs(given) do own[field] = value end
  return new(own, name)
end

--- gb.policy{ retry =, breaker =, bulkhead =, rate =, timeout =, fallback =, chaos =, name = }
function M.policy(options)
  near.check_options("gb.policy", options, known, true)
  if options.name ~= nil and type(options.name) ~= "string" then
    core.raise(("gb.policy: name is a string, got %s"):format(type(options.name)))
  end
  local levels = require "gb.levels"
  local fallback = options.fallback
  if fallback ~= nil and type(fallback) ~= "function" and not levels.is(fallback) then
    core.raise(("fallback is a function or gb.levels{ ... }, got %s"):format(type(fallback)))
  end
  local retry = options.retry
  if retry ~= nil and retry ~= true and retry ~= false and type(retry) ~= "string"
    and type(retry) ~= "table" then
    core.raise(("retry is a table of options, got %s"):format(type(retry)))
  end
  return setmetatable({ name = options.name or "policy",
    retry = options.retry and check_retry(options.retry) or false,
    breaker = part(options, "breaker", breaker.is, breaker.new),
    bulkhead = part(options, "bulkhead", limits.is_bulkhead, limits.bulkhead),
    rate = part(options, "rate", limits.is_bucket, limits.bucket),
    timeout = check_timeout(options.timeout), fallback = fallback or false,
    chaos = options.chaos and chaos.check(options.chaos) or false,
    counts = { calls = 0, failures = 0, retries = 0, timeouts = 0, fallbacks = 0 } }, meta)
end

--- Runs fn(...) under the policy: its results, those of the fallback, or nil, message, code.
function methods:run(fn, ...)
  if getmetatable(self) ~= meta then error("call it as policy:run(fn, ...), with a colon", 2) end
  if type(fn) ~= "function" then error("run takes a function, got " .. type(fn), 2) end
  local counts = self.counts
  counts.calls = counts.calls + 1
  local out = pack(limited(self, fn, ...))
  if out[1] ~= nil or type(out[3]) ~= "string" then return unpack(out, 1, out.n) end
  counts.failures = counts.failures + 1
  if not self.fallback then return unpack(out, 1, out.n) end
  counts.fallbacks = counts.fallbacks + 1
  if type(self.fallback) == "function" then return self.fallback(out[2], out[3], ...) end
  return self.fallback:run(...)
end

--- { calls, failures, retries, timeouts, fallbacks, breaker =, bulkhead =, rate = }
function methods:stats()
  local out = {}
  for name, value in pairs(self.counts) do out[name] = value end
  for _, name in ipairs { "breaker", "bulkhead", "rate" } do
    if self[name] then out[name] = self[name]:stats() end
  end
  return out
end

return M
