-- gb.lib: vectors and reductions against sums in double precision.
local kit = require "lib_kit"
local gb = require "gb"
local lib = gb.lib
local equal, near, raised, returned = kit.equal, kit.near, kit.raised, kit.returned

local function check_reductions(x, put, name)
  local n, p, d = #x, x:pointer(), put(x)
  local sum, squares, most, low, high, first_low, first_high = 0, 0, 0, nil, nil, nil, nil
  for i = 0, n - 1 do
    local v = tonumber(p[i])
    sum, squares, most = sum + v, squares + v * v, most + math.abs(v)
    if not low or v < low then low, first_low = v, i end
    if not high or v > high then high, first_high = v, i end
  end
  local slack = name == "float" and most * 2e-6 or most * 1e-14
  near(tonumber(lib.sum(d)), sum, slack, "sum of " .. n)
  near(tonumber(lib.dot(d, d)), squares, squares * 2e-6, "dot of " .. n)
  if n == 0 then
    returned("EINVAL", "the min of nothing", lib.min(d))
    returned("EINVAL", "the max of nothing", lib.argmax(d))
    returned("EINVAL", "the mean of nothing", lib.mean(d))
    return
  end
  near(lib.mean(d), sum / n, slack / n, "mean")
  equal(lib.min(d), low, "min of " .. n)
  equal(lib.max(d), high, "max of " .. n)
  local at, value = lib.argmin(d)
  equal(at, first_low, "argmin") equal(value, low)
  equal(lib.argmax(d), first_high, "argmax of " .. n)
  if name ~= "float" then return end
  near(lib.norm(d), math.sqrt(squares), math.sqrt(squares) * 1e-5, "norm")
  near(lib.norm(d, { norm = "l1" }), most, most * 1e-5, "l1")
  equal(lib.norm(d, { norm = "max" }), math.max(high, -low), "max norm")
  local unit = kit.host(lib.normalize(d))
  near(lib.norm(unit), 1, 1e-5, "norm of what is normalized")
end

kit.both(function(sizes, put, layout)
  for _, name in ipairs(layout and { "float" } or { "float", "int32" }) do
    for _, n in ipairs(sizes) do
      check_reductions(kit.random(name, n, -1000, 1000), put, name)
    end
  end
end)
check_reductions(kit.random("double", 1000, -1, 1), function(x) return x end, "double")
check_reductions(kit.random("uint8", 5000, 0, 255), function(x) return x end, "uint8")

-- wide sums are wide, and NaN is passed over
equal(lib.sum(gb.array("int64", { 2 ^ 53, 1 })), 2LL ^ 53 + 1LL)
equal(lib.sum(gb.array("uint64", 0)), 0ULL)
local odd = gb.array("float", { 0 / 0, 3, 7, 7, -2 })
equal(lib.max(odd), 7) equal(lib.argmax(odd), 2) equal(lib.argmin(odd), 4)
returned("EINVAL", "the argmax of NaNs alone", lib.argmax(gb.array("float", { 0 / 0 })))

kit.both(function(sizes, put)
  for _, n in ipairs(sizes) do
    local x, y = kit.random("float", n, -8, 8), kit.random("float", n, 1, 8)
    local dx, dy = put(x), put(y)
    local f = gb.array("float", 1)
    local function single(v) f[0] = v return f[0] end
    local px, py = x:pointer(), y:pointer()
    kit.all(kit.host(lib.add(dx, dy)), function(i) return single(px[i] + py[i]) end, n, nil, "add")
    kit.all(kit.host(lib.divide(dx, dy)), function(i) return px[i] / py[i] end, n, 1e-6, "divide")
    kit.all(kit.host(lib.maximum(dx, dy)), function(i) return math.max(px[i], py[i]) end, n, nil,
      "maximum")
    kit.all(kit.host(lib.scale(dx, 2)), function(i) return 2 * px[i] end, n, nil, "scale")
    equal(lib.saxpy(0.5, dx, dy), dy)
    kit.all(kit.host(dy), function(i) return 0.5 * px[i] + py[i] end, n, 1e-6, "saxpy")
    equal(lib.subtract(dx, dx, { out = dx }), dx)
    kit.all(kit.host(dx), function() return 0 end, n, nil, "subtract in place")
  end
end)
equal(lib.multiply(gb.array("int32", { 7 }), gb.array("int32", { -6 }))[0], -42)
equal(lib.minimum(gb.array("int32", { 7 }), gb.array("int32", { -6 }))[0], -6)

-- wrong use names the argument, at the caller's line
local x, i32 = gb.array("float", 4), gb.array("int32", 4)
raised("gb.lib.sum: x is an array or a buffer, got number", function() lib.sum(4) end)
raised("gb.lib.add: x has elements of float, y of int32", function() lib.add(x, i32) end)
raised("gb.lib.add: x has 4 elements, y has 3",
  function() lib.add(x, x:view(1)) end)
raised("gb.lib.add: unknown option 'oot'; did you mean 'out'?",
  function() lib.add(x, x, { oot = x }) end)
raised("gb.lib.add: out has elements of int32, needed float",
  function() lib.add(x, x, { out = i32 }) end)
raised("gb.lib.add: out has 2 elements, needed 4",
  function() lib.add(x, x, { out = x:view(0, 2) }) end)
raised("gb.lib.add: options are a table, got number", function() lib.add(x, x, 1) end)
raised("gb.lib.scale: a is a number, got string", function() lib.scale(x, "2") end)
raised("gb.lib.scale: a is an integer, as the elements of x are",
  function() lib.scale(i32, 0.5) end)
raised("gb.lib.divide: x has elements of int32; possible: double, float",
  function() lib.divide(i32, i32) end)
raised("gb.lib.saxpy: y is read-only", function() lib.saxpy(1, x, x:copy():freeze()) end)
raised("gb.lib.norm: unknown norm 'l3'; known: l1, l2, max, sum",
  function() lib.norm(x, { norm = "l3" }) end)
raised("gb.lib.sum: x has elements of float4; possible: double", function()
  lib.sum(gb.array("float4", 1))
end)
local gone = gb.array("float", 1)
gone:free()
raised("gb.lib.sum: x was freed or moved", function() lib.sum(gone) end)
raised("unknown function of gb.lib 'summ'; did you mean 'sum'?", function() return lib.summ end)
raised("gb.lib is read-only", function() lib.mine = 1 end)
returned("EINVAL", "the norm is 0", lib.normalize(x))
equal(lib.trim(), true)

-- users' kernels include the library's
local K = assert(gb.kernels { name = "user", source = [==[
#include "gb/reduce.cuh"
extern "C" __global__ void lengths(const float *x, double *out, int rows, int columns)
{
    int row = blockIdx.x;
    float sum = gb::fold<gb::op_sum, float>(columns,
        gb::load_product<float, float>{x + row * columns, x + row * columns});
    if (gb::lane() == 0) out[row] = sqrt((double)sum);
}
]==] })
local lengths = gb.array("double", 2)
assert(K.lengths:run({ grid = 2, block = 1 }, gb.array("float", { 3, 4, 0, 6, 8, 0 }), lengths, 2,
  3))
equal(lengths[0], 5) equal(lengths[1], 10)
kit.spec.done()
