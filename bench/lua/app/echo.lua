-- Grains of the benches that run on every worker.
local gb = require "gb"

local Echo = gb.grain("Echo", { max_queue = 65536 })
function Echo:ping(x) return x end

local Near = gb.grain("Near", { placement = "local", max_queue = 65536 })
function Near:ping(x) return x end

-- Makes calls from the worker that its key belongs to.
local Driver = gb.grain("Driver", {})

--- count calls, one in flight, to a partner on this worker.
function Driver:pair(count)
  local partner = gb.get("Near", "partner of " .. self:id())
  for i = 1, count do partner:ping(i) end
end

--- count calls to random keys of all workers, `width` in flight.
function Driver:random(count, width, keys)
  local refs, fs = {}, {}
  for k = 1, keys do refs[k] = gb.get("Echo", k) end
  if width == 1 then
    for i = 1, count do refs[math.random(keys)]:ping(i) end
    return
  end
  for k = 1, width do
    fs[k] = gb.spawn(function()
      for i = 1, count / width do refs[math.random(keys)]:ping(i) end
    end)
  end
  gb.all(fs)
end

function Driver:worker() return gb.silo().worker end

return Driver
