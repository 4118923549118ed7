-- gb.lib: matrices against sums in double precision.
local kit = require "lib_kit"
local gb = require "gb"
local lib = gb.lib
local equal, near, raised, returned = kit.equal, kit.near, kit.raised, kit.returned

-- Element (i, j) of the product of a (m x k) and b (k x n).
local function product(a, b, i, j, k, n)
  local sum = 0
  for p = 0, k - 1 do sum = sum + a[i * k + p] * b[p * n + j] end
  return sum
end

local shapes = { { 0, 3, 2 }, { 2, 0, 3 }, { 1, 1, 1 }, { 31, 33, 32 }, { 65, 300, 70 },
  { 4, 16, 130 } }

local function check_products(put, name)
  for _, shape in ipairs(shapes) do
    local m, k, n = unpack(shape)
    local a, b = kit.random(name, m * k, -2, 2), kit.random(name, k * n, -2, 2)
    local what = ("%d x %d x %d"):format(m, k, n)
    local slack = name == "float" and 1e-5 * (k + 1) or 1e-12
    local c = kit.host(lib.matmul(put(a), put(b), m, k, n))
    kit.all(c, function(i) return product(a, b, math.floor(i / n), i % n, k, n) end, m * n, slack,
      what)
    local x = kit.random(name, k, -2, 2)
    local y = kit.host(lib.matvec(put(a), put(x), m, k))
    kit.all(y, function(i) return product(a, x, i, 0, k, 1) end, m, slack, "matvec " .. what)
    local turned = kit.host(lib.transpose(put(a), m, k))
    kit.all(turned, function(i) return a[i % m * k + math.floor(i / m)] end, m * k, nil,
      "transpose " .. what)
  end
end

local function check_systems(put, name, layout)
  for _, n in ipairs { 0, 1, 2, 31, 33, layout and 70 or 130 } do
    local a, b = kit.random(name, n * n, -1, 1), kit.random(name, n * 3, -1, 1)
    for i = 0, n - 1 do a[i * n + i] = a[i * n + i] + (i % 2 == 0 and 3 or 0) end
    local slack = name == "float" and 2e-2 or 1e-8
    local x = kit.host(assert(lib.solve(put(a), put(b), n, 3)))
    kit.all(b, function(i) return product(a, x, math.floor(i / 3), i % 3, n, 3) end, n * 3, slack,
      "solve " .. n)
    local inverse = kit.host(assert(lib.inverse(put(a), n)))
    for i = 0, n - 1 do
      for j = 0, n - 1 do
        near(product(a, inverse, i, j, n, n), i == j and 1 or 0, slack, "inverse of " .. n)
      end
    end
  end
end

kit.both(function(_, put, layout)
  check_products(put, "float")
  check_systems(put, "double", layout)
end)
check_products(function(x) return x end, "int32")

near(lib.determinant(gb.array("double", { 0, 2, 3, 1 }), 2), -6, 1e-12, "determinant")
equal(lib.determinant(gb.array("double", { 1, 2, 2, 4 }), 2), 0)
equal(lib.determinant(gb.array("double", 0), 0), 1)
local singular = gb.array("double", { 1, 2, 2, 4 })
returned("EINVAL", "the matrix is singular (column 1)", lib.inverse(singular, 2))
returned("EINVAL", "the matrix is singular", lib.solve(singular, gb.array("double", 2), 2))

local x = gb.array("float", 6)
raised("gb.lib.matmul: a has 6 elements, a 2 x 2 matrix has 4",
  function() lib.matmul(x, x, 2, 2, 3) end)
raised("gb.lib.matmul: m is an integer from 0 to 2147483647, got -1",
  function() lib.matmul(x, x, -1, 2, 3) end)
raised("gb.lib.matmul: a has elements of float, b of double", function()
  lib.matmul(x, gb.array("double", 6), 2, 3, 2)
end)
raised("gb.lib.transpose: out is x", function() lib.transpose(x, 2, 3, { out = x }) end)
raised("gb.lib.inverse: a has 6 elements, a 2 x 2 matrix has 4", function() lib.inverse(x, 2) end)
raised("gb.lib.inverse: a has elements of int32; possible: double, float", function()
  lib.inverse(gb.array("int32", 4), 2)
end)
kit.spec.done()
