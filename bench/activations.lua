-- Activations per second, bytes per idle activation, the longest pause while a million of them live.
local gb = require "gb"

local Idle = gb.grain("Idle", { idle = "1h" })
function Idle:hello() self.state.n = 1 end

local function rss()
  for line in io.lines("/proc/self/status") do
    local kib = line:match("^VmRSS:%s*(%d+)")
    if kib then return tonumber(kib) * 1024 end
  end
end

local make = {
  integer = function(i) return i end,
  string = function(i) return "player-" .. i end,
}

-- The longest time between two calls of a loop that does nothing else, with churn for the collector.
local function longest_pause(seconds)
  local probe, longest, calls = gb.get(Idle, 1), 0, 0
  local last, stop = gb.monotonic(), gb.monotonic() + seconds
  while last < stop do
    probe:hello()
    local _ = { last, calls } -- luacheck: ignore
    calls = calls + 1
    local now = gb.monotonic()
    if now - last > longest then longest = now - last end
    last = now
  end
  return longest * 1e3
end

local kind, count = arg[1] or "integer", tonumber(arg[2] or 1e6)
local key = make[kind]
gb.get(Idle, key(1)):hello()
collectgarbage()
collectgarbage()
local before, start, worst = rss(), gb.monotonic(), 0
local last = start
for i = 2, count do
  gb.get(Idle, key(i)):hello()
  if i % 16 == 0 then
    local now = gb.monotonic()
    if now - last > worst then worst = now - last end
    last = now
  end
end
local seconds = gb.monotonic() - start
local made = rss() - before
print(("activations %s_keys_%d per_s=%.3f M/s (bar 1)  rss_per_activation=%.0f B  longest_pause_ms=%.1f"):format(
  kind, count, count / seconds / 1e6, made / count, worst * 1e3))
local pause = longest_pause(3)
collectgarbage()
collectgarbage()
print(("activations %s_keys_%d idle_bytes=%.0f B (bar 600)  longest_pause_with_all_alive_ms=%.1f (bar 10 for integers)")
  :format(kind, count, (rss() - before) / count, pause))
