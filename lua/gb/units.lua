-- Durations and sizes as users write them.
local core = require "gb.core"

local M = {}

local seconds = { ns = 1e-9, us = 1e-6, ms = 1e-3, s = 1, m = 60, h = 3600, d = 86400,
  all = "ns us ms s m h d" }
local bytes = { B = 1, KB = 2 ^ 10, MB = 2 ^ 20, GB = 2 ^ 30, TB = 2 ^ 40, all = "B KB MB GB TB" }

-- Raises at the user's line.
local function parse(value, units, what, example)
  if type(value) == "number" then
    if value ~= value or value < 0 then
      core.raise(("%s must not be negative, got %s"):format(what, tostring(value)))
    end
    return value
  end
  if type(value) == "string" then
    local number, unit = value:match("^%s*([%d.]+)%s*(%a*)%s*$")
    number = tonumber(number)
    local factor = unit == "" and 1 or units[unit]
    if number and tonumber(factor) then return number * factor end
  end
  core.raise(("%s must be a number or a text like %s, got %s"):format(what, example,
    type(value) == "string" and ("'%s' (units: %s)"):format(value, units.all) or type(value)))
end

--- Seconds from a number of seconds or "250ms", "5s", "10m", "1h", "1d".
function M.seconds(value, what)
  return parse(value, seconds, what or "a duration", '"250ms" or "10m"')
end

--- Bytes from a number of bytes or "512MB" (powers of 1,024).
function M.bytes(value, what)
  return parse(value, bytes, what or "a size", '"512MB"')
end

return M
