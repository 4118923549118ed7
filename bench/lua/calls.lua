-- Local calls on one worker, in calls per second: one round. bench/run.lua runs it several times.
local gb = require "gb"

local Echo = gb.grain("Echo", { max_queue = 4096 })
function Echo:ping(x) return x end
function Echo:inc(k) self.state.n = (self.state.n or 0) + k end
function Echo:get() return self.state.n or 0 end

local function measure(name, count, fn)
  fn(count / 10)
  local start = gb.monotonic()
  fn(count)
  print(("R %s %.0f"):format(name, count / (gb.monotonic() - start)))
end

local e = gb.get(Echo, 1)
measure("call_1", 2e6, function(n)
  for i = 1, n do e:ping(i) end
end)

measure("call_1000", 2e6, function(n)
  local fs = {}
  for k = 1, 1000 do
    local ref = gb.get(Echo, k)
    fs[k] = gb.spawn(function()
      for i = 1, n / 1000 do ref:ping(i) end
    end)
  end
  gb.all(fs)
end)

local small = { id = 7, name = "basket", price = 12.5 }
measure("call_small_table", 5e5, function(n)
  for _ = 1, n do e:ping(small) end
end)

local nested = { id = 7, name = "basket", tags = { "a", "b" }, at = { x = 1, y = 2 } }
measure("call_nested_table", 5e5, function(n)
  for _ = 1, n do e:ping(nested) end
end)

measure("fan_in_100", 1e6, function(n)
  local sink, fs = gb.get(Echo, "sink"), {}
  for k = 1, 100 do
    fs[k] = gb.spawn(function()
      for _ = 1, n / 100 do sink:tell("inc", 1) end
    end)
  end
  gb.all(fs)
  sink:get()
end)
