-- Activations: per second, bytes of an idle one, and the longest pause that a busy loop sees while
-- they live. Arguments: "integer" or "string" keys, and how many.
local gb = require "gb"

local Idle = gb.grain("Idle", { idle = "1h" })
function Idle:hello() self.state.n = 1 end

local function rss()
  for line in io.lines("/proc/self/status") do
    local kib = line:match("^VmRSS:%s*(%d+)")
    if kib then return tonumber(kib) * 1024 end
  end
end

-- The longest time between two steps of a loop that calls one of them and leaves garbage behind.
local function longest_pause(seconds)
  local probe, longest = gb.get(Idle, 1), 0
  local last = gb.monotonic()
  local stop = last + seconds
  while last < stop do
    probe:hello()
    local _ = { last } -- luacheck: ignore
    local now = gb.monotonic()
    if now - last > longest then longest = now - last end
    last = now
  end
  return longest * 1e3
end

local kind, count = arg[1] or "integer", tonumber(arg[2] or 1e6)
local key = kind == "integer" and function(i) return i end or function(i) return "player-" .. i end
local name = ("%s_%d"):format(kind, count)

gb.get(Idle, key(1)):hello()
collectgarbage()
local before, start = rss(), gb.monotonic()
for i = 2, count do gb.get(Idle, key(i)):hello() end
print(("R activations_%s %.0f"):format(name, count / (gb.monotonic() - start)))
collectgarbage()
collectgarbage()
print(("R idle_bytes_%s %.0f"):format(name, (rss() - before) / count))
print(("R pause_ms_%s %.2f"):format(name, longest_pause(2)))
