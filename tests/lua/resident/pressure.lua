-- Twenty resident grains of 8 MB on all workers, on a device of 64 MB: whichever worker asks, the
-- oldest of any worker goes.
local gb = require "gb"
local COUNT, ROUNDS = 20, 2
assert(gb.device().memory_total == 64 * 2 ^ 20, "run with GB_CPU_MEMORY=64MB")

for round = 1, ROUNDS do
  local futures = {}
  for i = 1, COUNT do futures[i] = gb.get("Pile", i):async("set", round * 100 + i) end
  for i = 1, COUNT do assert(futures[i]:await()) end
  for i = 1, COUNT do
    local value = assert(gb.get("Pile", i):get())
    assert(value == round * 100 + i, ("grain %d: %g in round %d"):format(i, value, round))
  end
end
for i = 1, COUNT do assert(gb.get("Pile", i):rest()) end
for i = 1, COUNT do assert(gb.get("Pile", i):get() == ROUNDS * 100 + i) end
local stats = assert(gb.resident.stats())
assert(stats.evictions >= COUNT, "evictions")
assert(stats.losses == 0 and stats.bytes <= 64 * 2 ^ 20)
print(("%d evictions, %d reloads"):format(stats.evictions, stats.reloads))
