-- Calls between workers: random keys over all workers, and pairs on all cores.
local gb = require "gb"
require "echo"

local workers = gb.silo().workers

-- One driver for each worker.
local drivers, found, key = {}, 0, 0
while found < workers do
  key = key + 1
  local d = gb.get("Driver", key)
  local w = assert(d:worker())
  if not drivers[w] then
    drivers[w] = d:with { timeout = "5m" }
    found = found + 1
  end
end

local function median(fn)
  local times = {}
  for i = 1, 5 do
    local start = gb.monotonic()
    fn()
    times[i] = gb.monotonic() - start
  end
  table.sort(times)
  return times[3]
end

local function on_all(method, ...)
  local fs = {}
  for w = 0, workers - 1 do fs[#fs + 1] = drivers[w]:async(method, ...) end
  assert(gb.all(fs))
end

local count = 500000
drivers[0]:pair(10000)
local one = count / median(function() assert(drivers[0]:pair(count)) end)
on_all("pair", 10000)
local all = workers * count / median(function() on_all("pair", count) end)
print(("workers %-28s %8.3f M/s"):format("pair_on_one_core", one / 1e6))
print(("workers %-28s %8.3f M/s  ratio %.2f of %d cores (bar 0.75)"):format("pairs_on_all_cores", all / 1e6,
  all / one / workers, workers))

drivers[0]:random(10000, 1, 1000)
local busy = 200000 / median(function() assert(drivers[0]:random(200000, 1, 1000)) end)
print(("workers %-28s %8.3f M/s  (bar 0.5)"):format("random_keys_1_in_flight", busy / 1e6))

on_all("random", 10000, 250, 1000)
local wide = workers * 500000 / median(function() on_all("random", 500000, 1000, 1000) end)
print(("workers %-28s %8.3f M/s  %.3f per core (bar 1)"):format("random_keys_1000_in_flight", wide / 1e6,
  wide / 1e6 / workers))
