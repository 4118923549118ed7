-- Local calls: one and 1000 in flight, scalars and a small table, one-way fan-in.
local gb = require "gb"

local Echo = gb.grain("Echo", { max_queue = 4096 })
function Echo:ping(x) return x end
function Echo:inc(k) self.state.n = (self.state.n or 0) + k end
function Echo:get() return self.state.n or 0 end

local function report(name, count, seconds, bar)
  print(("calls %-28s %8.3f M/s  %s"):format(name, count / seconds / 1e6, bar or ""))
end

local function rounds(name, count, fn, bar)
  local best = {}
  fn(count / 10)
  for i = 1, 5 do
    local start = gb.monotonic()
    fn(count)
    best[i] = gb.monotonic() - start
  end
  table.sort(best)
  report(name, count, best[3], bar)
end

local e = gb.get(Echo, 1)
rounds("one_in_flight", 1e6, function(n)
  for i = 1, n do e:ping(i) end
end)

rounds("1000_in_flight", 1e6, function(n)
  local fs = {}
  for k = 1, 1000 do
    local ref = gb.get(Echo, k)
    fs[k] = gb.spawn(function()
      for i = 1, n / 1000 do ref:ping(i) end
    end)
  end
  gb.all(fs)
end)

local small = { id = 7, name = "basket", price = 12.5, tags = { "a", "b" } }
rounds("small_table_both_ways", 3e5, function(n)
  for _ = 1, n do e:ping(small) end
end)
local flat = { id = 7, name = "basket", price = 12.5, ok = true }
rounds("flat_table_both_ways", 3e5, function(n)
  for _ = 1, n do e:ping(flat) end
end)

rounds("fan_in_100_senders", 1e6, function(n)
  local sink, fs = gb.get(Echo, "sink"), {}
  for k = 1, 100 do
    fs[k] = gb.spawn(function()
      for _ = 1, n / 100 do sink:tell("inc", 1) end
    end)
  end
  gb.all(fs)
  sink:get()
end)
