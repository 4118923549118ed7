-- load.lua KEYS CALLERS STOP SECONDS: a client that calls counters of a cluster until the file STOP
-- is there, each call with so long a deadline. Each line that it prints is an event, with its time
-- on the machine's clock; the last one sums up.
local gb = require "gb"
local keys, callers, stop = tonumber(arg[1]), tonumber(arg[2]), arg[3]
local TIMEOUT = tonumber(arg[4])

local home, counts = {}, {} -- silo by key; calls by code
local backwards, slowest, ended, over = 0, 0, 0, false

local function say(format, ...)
  io.write(format:format(...), "\n")
  io.flush()
end

local function moved(key, silo)
  if home[key] ~= silo then
    say("moved %d %s %s %.6f", key, home[key] or "-", silo, gb.monotonic())
    home[key] = silo
  end
end

local function one_call(key, last)
  local ref = gb.get("Counter", key):with { timeout = TIMEOUT }
  local start = gb.monotonic()
  local silo, life, n = ref:inc()
  local took = gb.monotonic() - start
  local code = silo and "ok" or n or "no code"
  counts[code] = (counts[code] or 0) + 1
  if took > slowest then slowest = took end
  if not silo then
    if counts[code] <= 3 then say("failed %s %s", code, life) end
    return gb.sleep(0.005)
  end
  moved(key, silo)
  if last[life] and n <= last[life] then
    backwards = backwards + 1
    say("backwards %d %s %d after %d", key, life, n, last[life])
  end
  last[life] = n
end

local function caller(index)
  local last, key = {}, index
  while not over do
    one_call(key, last)
    key = key % keys + 1
    if index > 4 and counts.ok then gb.sleep(0.001) end
  end
  ended = ended + 1
end

local fs = {}
for i = 1, callers do fs[i] = gb.spawn(caller, i) end
local before = 0
while not over do
  gb.sleep(0.1)
  if (counts.ok or 0) > before then say("works %d", counts.ok) end
  before = counts.ok or 0
  local file = io.open(stop)
  if file then
    file:close()
    over = true
  end
end
gb.all(fs)
local list = {}
for code, n in pairs(counts) do list[#list + 1] = ("%s=%d"):format(code, n) end
table.sort(list)
say("end callers=%d backwards=%d slowest=%.3f %s", ended, backwards, slowest,
  table.concat(list, " "))
