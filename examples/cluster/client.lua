-- A client of the three silos that run.sh starts. It kills one of them and goes on.
local gb = require "gb"
local pid = assert(tonumber(arg[1]), "usage: gbrun --connect ADDRESSES client.lua PID")

-- Silos tell each other what they have; both with GPUs are known in a moment.
repeat local gpus = assert(gb.capacity.list()) until #gpus == 2 or not gb.sleep("20ms")
for _, silo in ipairs(assert(gb.capacity.list())) do
  print(silo.silo, silo.devices .. " GPUs", silo.memory_free / 2 ^ 20 .. " MB free",
    silo.memory_largest / 2 ^ 20 .. " MB on one")
end

-- Grains land where the capacity is: what needs much of one GPU on the one that has it.
print("train", assert(gb.get("Train", 1):where()))
local renders = { small = 0, large = 0, cpu = 0 }
for i = 1, 4 do
  local silo = assert(gb.get("Render", i):where())
  renders[silo] = renders[silo] + 1
end
print("renders on GPUs", renders.small + renders.large, "on the CPU", renders.cpu)
print("page", assert(gb.get("Page", 1):where()))

-- Counters are spread over all three.
local homes, on_large = {}, 0
for key = 1, 60 do
  local _, silo = assert(gb.get("Counter", key):add(1))
  homes[silo] = true
  if silo == "large" then on_large = on_large + 1 end
end
print("counters on", (homes.cpu and "cpu " or "") .. (homes.large and "large " or "")
  .. (homes.small and "small" or ""))

-- The end of a silo. A call that was on its way may have run: it is told so (ELOST), and whether to
-- try again is the caller's choice. Calls that come later wait until the others agree that the silo
-- is dead, and find their grains on another one.
os.execute("kill -KILL " .. pid)
local anew = 0
for key = 1, 60 do
  local n, message, code
  repeat
    n, message, code = gb.get("Counter", key):with { timeout = "60s" }:add(1)
  until n or code ~= "ELOST"
  if not n then error(message) end
  if n == 1 then anew = anew + 1 end
end
print("all count on; began anew:", anew == on_large and "those of the dead silo" or anew)

print("render", assert(gb.get("Render", 1):where()) ~= "large")
print("train", select(3, gb.get("Train", 1):where()))

-- expect: large	2 GPUs	2048 MB free	1024 MB on one
-- expect: small	1 GPUs	512 MB free	512 MB on one
-- expect: train	large
-- expect: renders on GPUs	4	on the CPU	0
-- expect: page	cpu
-- expect: counters on	cpu large small
-- expect: all count on; began anew:	those of the dead silo
-- expect: render	true
-- expect: train	ENOGPU
