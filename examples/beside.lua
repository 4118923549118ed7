-- beside.lua: one piece of work in plain Lua and on every device of this machine, the times side by
-- side and the results compared. The examples that compute share it.
--
-- Times are the best of some rounds after one that is not counted; operands lie on the device
-- already. A device whose backend is `cpu` is the processor: its figure is never a GPU's.
local gb = require "gb"

local M = {}
local ROUNDS_MAX, SECONDS_MAX = 5, 0.5

local devices, failures = gb.devices(), 0

local function best_seconds(work)
  local result = work()
  local best, start = math.huge, gb.monotonic()
  for _ = 1, ROUNDS_MAX do
    local before = gb.monotonic()
    result = work()
    best = math.min(best, gb.monotonic() - before)
    if gb.monotonic() - start > SECONDS_MAX then break end
  end
  return best, result
end

--- The greatest difference of two numbers, arrays or buffers; NaN when one of them has a NaN.
function M.difference(a, b)
  if type(a) == "number" then return math.abs(a - b) end
  if gb.type(b) == "buffer" then b = assert(b:download()) end
  if #a ~= #b then return math.huge end
  local p, q, worst = a:pointer(), b:pointer(), 0
  for i = 0, #a - 1 do
    local one = math.abs(tonumber(p[i]) - tonumber(q[i]))
    if not (one <= worst) and one ~= 0 then -- also true for NaN, and for equal infinities
      if p[i] ~= q[i] then worst = one end
      if worst ~= worst then break end
    end
  end
  return worst
end

--- An array as a buffer on a device.
function M.put(device, array)
  return assert(gb.buffer(array:type(), array, { device = device.index }))
end

--- Names the devices and heads the table.
function M.begin(title)
  print(title)
  local head = ("%-32s %12s"):format("", "plain Lua")
  for _, device in ipairs(devices) do
    print(("device %d: %s, %s"):format(device.index, device.backend, device.name))
    head = head .. (" %14s"):format(("%s %d"):format(device.backend, device.index))
  end
  print(head)
end

local function judge(differs, limit)
  local good = differs <= limit -- not so for NaN
  if not good then failures = failures + 1 end
  return ("%s: differs by %.2g"):format(good and "good" or "WRONG", differs)
end

--- work.lua() gives a number or an array. work.on(device) gives a function that does the same there
--- and gives a number, an array or a buffer. They may differ by work.limit. What Lua found.
function M.work(work)
  local seconds, expected = best_seconds(work.lua)
  local line, worst = ("%-32s %9.3f ms"):format(work.name, seconds * 1e3), 0
  for _, device in ipairs(devices) do
    local took, found = best_seconds(work.on(device))
    local differs = M.difference(expected, found)
    if not (differs <= worst) then worst = differs end
    line = line .. (" %11.3f ms"):format(took * 1e3)
  end
  print(("%s  %s"):format(line, judge(worst, work.limit)))
  return expected
end

--- A check without a time.
function M.expect(name, differs, limit)
  print(("%-32s %s"):format(name, judge(differs, limit)))
end

--- Ends the script with an error when something differed.
function M.finish()
  if failures > 0 then error(("check failed: results that differ: %d"):format(failures), 0) end
  print "check passed: every device agrees with plain Lua"
end

return M
