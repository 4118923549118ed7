-- Twelve resident grains of 2 MB of a tenant that may have 8 MB, on all workers, beside those of
-- another: whichever worker asks, the tenant's own oldest of any worker goes, and nobody else's.
local gb = require "gb"
local COUNT, ROUNDS = 12, 3

local function memory(name)
  for _, t in ipairs(gb.tenants()) do
    if t.name == name then return t.memory end
  end
end

for i = 1, COUNT do assert(gb.get("Other", i):set(-i)) end
local before = assert(gb.resident.stats())
assert(memory("gamma") == COUNT * 2 ^ 21)
for round = 1, ROUNDS do
  local futures = {}
  for i = 1, COUNT do futures[i] = gb.get("Tile", i):async("set", round * 100 + i) end
  for i = 1, COUNT do assert(futures[i]:await()) end
  for i = 1, COUNT do
    local value = assert(gb.get("Tile", i):get())
    assert(value == round * 100 + i, ("grain %d: %g in round %d"):format(i, value, round))
    assert(memory("acme") <= 2 ^ 23)
  end
end
local after = assert(gb.resident.stats())
assert(after.evictions - before.evictions >= COUNT - 4 and after.losses == 0)
assert(memory("gamma") == COUNT * 2 ^ 21, "another tenant's state went")
for i = 1, COUNT do assert(gb.get("Other", i):get() == -i) end
assert(gb.resident.stats().reloads == after.reloads)
print(("%d evictions"):format(after.evictions - before.evictions))
