-- Failures on purpose, for trying what happens then. Off unless a policy asks for it: chaos = true
-- or its own numbers. What strikes is drawn from the silo's seed.
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"

local M = {}

local known = { fault = true, latency = true, latency_min = true, latency_max = true,
  exception = true, exhaustion = true, exhaustion_for = true }

local function share(options, name, default)
  local value = options[name]
  if value == nil then return default end
  if type(value) ~= "number" or not (value >= 0 and value <= 1) then
    core.raise(("chaos: %s is a number from 0 to 1, got %s"):format(name, tostring(value)))
  end
  return value
end

--- The numbers of chaos = true | { fault = 0.01, latency = 0.05, latency_min = "100ms",
--- latency_max = "5s", exception = 0.02, exhaustion = 0.01, exhaustion_for = "30s" }.
function M.check(options)
  if options == true then options = {} end
  near.check_options("chaos", options, known, true)
  local out = { fault = share(options, "fault", 0.01), latency = share(options, "latency", 0.05),
    exception = share(options, "exception", 0.02),
    exhaustion = share(options, "exhaustion", 0.01),
    min = units.seconds(options.latency_min or "100ms", "latency_min"),
    max = units.seconds(options.latency_max or "5s", "latency_max"),
    exhausted_s = units.seconds(options.exhaustion_for or "30s", "exhaustion_for"), until_s = 0 }
  if out.max < out.min then core.raise("chaos: latency_max is less than latency_min") end
  return out
end

--- May delay; true, message, code when the call is to fail. Raises for an exception.
function M.strike(self)
  local now = core.monotonic()
  if now >= self.until_s and core.random() < self.exhaustion then
    self.until_s = now + self.exhausted_s
  end
  if now < self.until_s then return true, "chaos: out of resources", "ENOMEM" end
  if core.random() < self.latency then
    core.sleep(self.min + (self.max - self.min) * core.random())
  end
  if core.random() < self.exception then error("chaos: an exception", 0) end
  if core.random() < self.fault then return true, "chaos: a fault", "EDEVICE" end
  return false
end

return M
