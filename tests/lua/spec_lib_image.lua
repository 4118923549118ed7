-- gb.lib: random numbers, images, batches.
local kit = require "lib_kit"
local gb = require "gb"
local lib = gb.lib
local equal, near, raised, returned = kit.equal, kit.near, kit.raised, kit.returned

-- the known answers that come with the generator
local bits = lib.integers(gb.array("uint32", 5), 0, 2 ^ 32 - 1)
for i, want in ipairs { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } do
  equal(bits[i - 1], want, "Philox")
end
local K = assert(gb.kernels { name = "known", source = [==[
#include "gb/random.cuh"
extern "C" __global__ void known(unsigned int *out)
{
    uint4 c = {0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u};
    uint4 r = gb::philox(c, 0xa4093822u, 0x299f31d0u);
    out[0] = r.x, out[1] = r.y, out[2] = r.z, out[3] = r.w;
}
]==] })
local four = gb.array("uint32", 4)
assert(K.known:run(1, four))
for i, want in ipairs { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } do
  equal(four[i - 1], want, "Philox")
end

local function moments(x)
  local mean = lib.mean(x)
  return mean, lib.dot(x, x) / #x - mean * mean
end

kit.both(function(sizes, put)
  for _, n in ipairs(sizes) do
    for _, name in ipairs { "float", "double" } do
      local x = kit.host(lib.uniform(put(gb.array(name, n)), { seed = 7, low = 2, high = 4 }))
      local again = kit.host(lib.uniform(put(gb.array(name, n)), { seed = 7, low = 2, high = 4 }))
      kit.all(again, x, n, nil, "the same seed")
      local y = kit.host(lib.normal(put(gb.array(name, n)), { seed = kit.seed, mean = 5 }))
      if n >= 4097 then
        assert(lib.min(x) >= 2 and lib.max(x) < 4)
        local mean, variance = moments(x)
        near(mean, 3, 0.06, "mean") near(variance, 1 / 3, 0.04, "variance")
        mean, variance = moments(y)
        near(mean, 5, 0.1, "mean of normal") near(variance, 1, 0.15, "variance of normal")
      end
    end
    local whole = kit.host(lib.integers(put(gb.array("int32", n)), -3, 3, { stream = 5 }))
    if n >= 1000 then equal(lib.min(whole), -3) equal(lib.max(whole), 3) end
  end
end, 1e5)

-- ---- images ----

local function clamp(i, n) return math.max(0, math.min(n - 1, i)) end

local function resized(x, w, h, c, tw, th, i)
  local k, column, row = i % c, math.floor(i / c) % tw, math.floor(i / c / tw)
  local fx, fy = (column + 0.5) * w / tw - 0.5, (row + 0.5) * h / th - 0.5
  local x0, y0 = math.floor(fx), math.floor(fy)
  local ax, ay = fx - x0, fy - y0
  local function at(dx, dy) return x[(clamp(y0 + dy, h) * w + clamp(x0 + dx, w)) * c + k] end
  return (1 - ay) * ((1 - ax) * at(0, 0) + ax * at(1, 0))
    + ay * ((1 - ax) * at(0, 1) + ax * at(1, 1))
end

local function convolved(x, w, h, c, weights, kw, kh, i)
  local k, column, row, sum = i % c, math.floor(i / c) % w, math.floor(i / c / w), 0
  for v = 0, kh - 1 do
    for u = 0, kw - 1 do
      local y = clamp(row + v - math.floor(kh / 2), h)
      sum = sum + weights[v * kw + u] * x[(y * w + clamp(column + u - math.floor(kw / 2), w)) * c
        + k]
    end
  end
  return sum
end

local across = gb.array("float", { -1, 0, 1, -2, 0, 2, -1, 0, 1 })
local down = gb.array("float", { -1, -2, -1, 0, 0, 0, 1, 2, 1 })

kit.both(function(_, put)
  for _, shape in ipairs { { 1, 1 }, { 33, 31 }, { 64, 5 } } do
    local w, h = shape[1], shape[2]
    for _, name in ipairs { "float", "uint8" } do
      local x, slack = kit.random(name, w * h * 3, 0, 255), name == "float" and 1e-2 or 0.51
      local d = put(x)
      local gray = kit.host(lib.grayscale(d, w, h, 3))
      kit.all(gray, function(i)
        return 0.299 * x[3 * i] + 0.587 * x[3 * i + 1] + 0.114 * x[3 * i + 2]
      end, w * h, slack, "grayscale")
      local small = kit.host(lib.resize(d, w, h, 3, 17, 40))
      kit.all(small, function(i) return resized(x, w, h, 3, 17, 40, i) end, 17 * 40 * 3, slack,
        "resize")
      local blur = gb.array("float", 15):fill(1 / 15)
      kit.all(kit.host(lib.convolve(d, w, h, 3, put(blur), 5, 3)), function(i)
        return convolved(x, w, h, 3, blur, 5, 3, i)
      end, w * h * 3, slack, "convolve")
      kit.all(kit.host(lib.sobel(put(gray), w, h)), function(i)
        local gx = convolved(gray, w, h, 1, across, 3, 3, i)
        local gy = convolved(gray, w, h, 1, down, 3, 3, i)
        local long = math.sqrt(gx * gx + gy * gy)
        return name == "float" and long or math.min(255, long)
      end, w * h, slack, "sobel")
    end
  end
  local dull = kit.random("uint8", 4000, 100, 120)
  local bright = kit.host(lib.equalize(put(dull)))
  equal(lib.min(bright), 0) equal(lib.max(bright), 255)
  kit.all(lib.argsort(bright), lib.argsort(dull), 4000, nil, "equalize keeps the order")
end)
-- Rows longer than a run, channels that are not three, weights that reach beyond the image, and
-- images of nothing.
kit.both(function(_, put)
  local x, wide = kit.random("uint8", 700 * 9 * 2, 0, 255), kit.random("float", 21 * 3, -1, 1)
  kit.all(kit.host(lib.convolve(put(x), 700, 9, 2, put(wide), 21, 3)), function(i)
    return math.max(0, math.min(255, convolved(x, 700, 9, 2, wide, 21, 3, i)))
  end, 700 * 9 * 2, 0.52, "convolve, long rows")
  local small = x:copy(0, 3 * 2 * 4)
  kit.all(kit.host(lib.convolve(put(small), 3, 2, 4, put(wide), 21, 3)), function(i)
    return math.max(0, math.min(255, convolved(small, 3, 2, 4, wide, 21, 3, i)))
  end, 24, 0.52, "convolve, few columns")
  kit.all(kit.host(lib.resize(put(small), 3, 2, 4, 300, 9)), function(i)
    return resized(small, 3, 2, 4, 300, 9, i)
  end, 300 * 9 * 4, 0.52, "resize, four channels")
  kit.all(kit.host(lib.grayscale(put(small), 3, 2, 4)), function(i)
    return 0.299 * small[4 * i] + 0.587 * small[4 * i + 1] + 0.114 * small[4 * i + 2]
  end, 6, 0.52, "grayscale, four channels")
  local none = put(gb.array("uint8", 0))
  equal(#lib.convolve(none, 0, 5, 3, put(wide), 21, 3), 0)
  equal(#lib.resize(none, 5, 0, 1, 3, 0), 0)
  equal(#lib.sobel(none, 0, 5), 0)
  equal(#lib.grayscale(none, 0, 0, 3), 0)
end)
equal(lib.equalize(gb.array("uint8", { 9, 9 }))[0], 9)
equal(#lib.equalize(gb.array("uint8", 0)), 0)

-- ---- batches ----

kit.both(function(_, put)
  for _, count in ipairs { 0, 1, 33, 1000 } do
    local n = count == 1000 and 3 or 6
    local a, b = kit.random("double", count * n * n, -1, 1), kit.random("double", count * n, -1, 1)
    for i = 0, count * n - 1 do a[math.floor(i / n) * n * n + i % n * (n + 1)] = 3 + i % 5 end
    local x = kit.host(lib.batch_solve(put(a), put(b), count, n))
    kit.all(kit.host(lib.batch_matmul(put(a), put(x), count, n, n, 1)), b, count * n, 1e-9,
      "solve")
    local inverse = kit.host(lib.batch_inverse(put(a), count, n))
    kit.all(lib.batch_matmul(inverse, b, count, n, n, 1), x, count * n, 1e-9, "inverse")
  end
end)
local flat = gb.array("double", 8)
flat[0], flat[3] = 1, 1
returned("EINVAL", "matrix 1 is singular", lib.batch_inverse(flat, 2, 2))

local x = gb.array("float", 12)
raised("gb.lib.uniform: x has elements of int32; possible: double, float",
  function() lib.uniform(gb.array("int32", 1)) end)
raised("gb.lib.uniform: seed is an integer from 0", function() lib.uniform(x, { seed = 0.5 }) end)
raised("gb.lib.integers: high is an integer from 5 to 2147483647, got 4",
  function() lib.integers(gb.array("int32", 1), 5, 4) end)
raised("gb.lib.resize: x has 12 elements, a 3 x 3 image of 1 channels has 9",
  function() lib.resize(x, 3, 3, 1, 5, 5) end)
raised("gb.lib.grayscale: channels is an integer from 3 to 64, got 1",
  function() lib.grayscale(x, 3, 4, 1) end)
raised("gb.lib.sobel: out is x", function() lib.sobel(x, 3, 4, { out = x }) end)
raised("gb.lib.convolve: weights has 9 elements, 5 x 5 are 25",
  function() lib.convolve(x, 3, 4, 1, across, 5, 5) end)
raised("gb.lib.batch_solve: a has 8 elements, 2 matrices of 3 x 3 have 18",
  function() lib.batch_solve(flat, flat, 2, 3) end)
kit.spec.done()
