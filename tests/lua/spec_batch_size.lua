-- lua/gb/batch_size.lua over rates that are known: whatever the best size is, it is found within so
-- many windows, and found again when it changes. No clock runs here.
local spec = require "spec"
local sizes = require "gb.batch_size"
local equal = spec.equal

-- Items in a second at a size: each micro-batch has a fixed cost, and past a size items cost more.
local function model(fixed_s, item_s, room)
  return function(size)
    local over = math.max(0, size - room) / room * item_s
    return size / (fixed_s + size * (item_s + over))
  end
end

-- Micro-batches until so many windows have passed; how many sizes were used.
local function run(tuner, rate, windows, most)
  local used, count = {}, 0
  for _ = 1, windows do
    for _ = 1, 8 do
      if most then tuner:cap(most) end
      local size = tuner.size
      if not used[size] then used[size], count = true, count + 1 end
      tuner:note(size, math.max(size / rate(size), 0.001))
    end
  end
  return count
end

local function within(tuner, low, high)
  assert(tuner.best >= low and tuner.best <= high,
    ("%d is not in %d .. %d"):format(tuner.best, low, high))
end

-- up, down, and where it is
for _, one in ipairs {
  { model(0.5, 1e-6, 1e9), 1e6, 2 ^ 22 },   -- a launch costs half a second: the larger the better
  { model(0.2, 1e-5, 60000), 40000, 80000 },
  { model(0.001, 1e-4, 700), 350, 1250 },
  { model(1e-3, 1e-6, 12000), 10000, 10000 },
} do
  local tuner = sizes.new()
  equal(tuner.size, 10000)
  local used = run(tuner, one[1], 14)
  within(tuner, one[2], one[3])
  assert(used <= 12, used)
  equal(run(tuner, one[1], 35), 1, "it stays there")
end

-- a few per cent up and down move nothing
do
  local seed = 7
  local function noise()
    seed = (seed * 16807) % 2147483647
    return 0.98 + 0.04 * seed / 2147483647
  end
  local flat, tuner = function() return 1e6 * noise() end, sizes.new()
  run(tuner, flat, 500)
  within(tuner, 10000, 10000)
end

-- another best size is found when it looks again
do
  local tuner = sizes.new()
  run(tuner, model(0.2, 1e-5, 60000), 30)
  within(tuner, 40000, 80000)
  run(tuner, model(0.001, 1e-4, 1500), 70)
  within(tuner, 600, 3000)
end

-- never larger than what fits, and larger again when more fits
do
  local rate, tuner = model(0.5, 1e-6, 1e9), sizes.new()
  run(tuner, rate, 20, 3000)
  within(tuner, 1500, 3000)
  assert(tuner.size <= 3000)
  run(tuner, rate, 80, 100000)
  within(tuner, 24000, 100000)
  tuner:cap(1)
  equal(tuner.size, 1)
end

-- in a world where no time passes nothing is concluded
do
  local tuner = sizes.new()
  for _ = 1, 10000 do tuner:note(tuner.size, 0) end
  equal(tuner.size, 10000) equal(tuner.best_rate, 0)
end

local one = sizes.of("kernel", 0)
equal(sizes.of("kernel", 0), one)
assert(sizes.of("kernel", 1) ~= one)
equal(sizes.sizes("other"), nil) equal(sizes.sizes("kernel")[1], 10000)
spec.done()
