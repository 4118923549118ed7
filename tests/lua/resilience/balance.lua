-- Several workers and the CPU as four devices: grains are balanced over the silo, and what one
-- worker is told of a device or a kernel all of them know.
local gb = require "gb"
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local eq, ok = kit.eq, kit.ok
local types = require "types.placed"

kit.case("balanced over all workers", function()
  local counts, workers = { [0] = 0, 0, 0, 0 }, {}
  for i = 1, 200 do
    local at, worker = gb.get(types.Balanced, i):where()
    counts[at] = counts[at] + 1
    workers[worker] = true
  end
  kit.same(counts, { [0] = 50, 50, 50, 50 })
  ok(#workers >= kit.workers - 1, "grains of several workers")
end)

kit.case("what is isolated is so for all workers", function()
  ok(gb.resilience.isolate(2))
  for i = 1, 100 do ok(gb.get(types.Affine, i):where() ~= 2) end
  eq(#gb.resilience.stats(), kit.workers)
  for _, worker in ipairs(gb.resilience.stats()) do
    eq(worker.devices[1].index, 2)
    eq(worker.devices[1].breaker.state, "isolated")
  end
  ok(gb.resilience.reset(2))
  local there = 0
  for i = 101, 200 do
    if gb.get(types.Affine, i):where() == 2 then there = there + 1 end
  end
  ok(there > 5, there)
end)

kit.case("settings reach all workers", function()
  ok(gb.resilience.configure { kernel = { min_calls = 2, open = "1h" } })
  for i = 1, 50 do -- each grain's worker counts for itself
    local grain = gb.get(types.Balanced, i)
    eq(select(3, grain:trap()) == "ETRAP" or select(3, grain:trap()) == "EBUSY", true)
  end
  for _, worker in ipairs(gb.resilience.stats()) do
    for _, k in ipairs(worker.kernels) do eq(k.breaker.state, "open") end
  end
  ok(gb.resilience.reset("placed:trap"))
  eq(select(3, gb.get(types.Balanced, 1):trap()), "ETRAP")
end)

kit.finish()
