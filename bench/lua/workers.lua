-- Calls on all workers, in calls per second: one round.
local gb = require "gb"
require "echo"

local workers = gb.silo().workers

local drivers, found, key = {}, 0, 0
while found < workers do -- one for each worker
  key = key + 1
  local d = gb.get("Driver", key)
  local w = assert(d:worker())
  if not drivers[w] then
    drivers[w] = d:with { timeout = "5m" }
    found = found + 1
  end
end

local function on_all(method, ...)
  local fs = {}
  for w = 0, workers - 1 do fs[#fs + 1] = drivers[w]:async(method, ...) end
  assert(gb.all(fs))
end

local function measure(name, count, fn)
  fn(count / 10)
  local start = gb.monotonic()
  fn(count)
  print(("R %s %.0f"):format(name, count / (gb.monotonic() - start)))
end

print(("R workers %d"):format(workers))
measure("pair_on_one_worker", 1e6, function(n) assert(drivers[0]:pair(n)) end)
measure("pairs_on_all_workers", 1e6 * workers, function(n) on_all("pair", n / workers) end)
measure("random_keys_1", 2e5, function(n) assert(drivers[0]:random(n, 1, 1000)) end)
measure("random_keys_1000", 5e5 * workers, function(n)
  on_all("random", n / workers, 1000, 1000)
end)
