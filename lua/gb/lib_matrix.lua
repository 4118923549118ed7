-- gb.lib: dense matrices, row by row (kernels/matrix.cuh).
local M = require "gb.lib_core"

local lib = {}
local SQUARE, SIDE_MAX = 64, 32767 -- n * n elements are counted in 31 bits
local LU_WIDTH, LU_STRIP, SOLVE_STRIP = 32, 64, 32 -- see kernels/lu.cuh

local function product_kernels(job, type_name)
  return job:kernels("matrix", "matrix " .. type_name, function()
    return M.instances({ "matrix_product", "matrix_transpose", "matrix_vector" },
      M.c_names[type_name])
  end)
end

local function lu_kernels(job, type_name)
  return job:kernels("lu", "lu " .. type_name, function()
    return M.instances({ "lu_panel", "lu_rows", "lu_update", "lu_solve", "matrix_identity" },
      M.c_names[type_name])
  end)
end

local function shape(job, x, rows, columns)
  if x.n ~= rows * columns then
    job:misuse("%s has %d elements, a %d x %d matrix has %.0f", x.name, x.n, rows, columns,
      rows * columns)
  end
end

local function same_type(job, a, b)
  if a.type ~= b.type then
    job:misuse("%s has elements of %s, %s of %s", a.name, a.type, b.name, b.type)
  end
end

lib.matmul = M.entry("matmul", function(job, a, b, m, k, n, options)
  options = job:options(options, { out = true })
  a, b = job:input(a, "a"), job:input(b, "b")
  m, k, n = job:whole(m, "m", 0), job:whole(k, "k", 0), job:whole(n, "n", 0)
  same_type(job, a, b)
  shape(job, a, m, k)
  shape(job, b, k, n)
  local out = job:output(options.out, a, a.type, m * n)
  if out.value == a.value or out.value == b.value then job:misuse("out is one of the factors") end
  job:bind(a, b)
  job:grid(product_kernels(job, a.type).matrix_product, math.ceil(n / SQUARE),
    math.ceil(m / SQUARE), a.memory, b.memory, out.memory, m, n, k)
  return out.value
end)

lib.matvec = M.entry("matvec", function(job, a, x, m, n, options)
  options = job:options(options, { out = true })
  a, x = job:input(a, "a"), job:input(x, "x")
  m, n = job:whole(m, "m", 0), job:whole(n, "n", 0)
  same_type(job, a, x)
  shape(job, a, m, n)
  shape(job, x, n, 1)
  local out = job:output(options.out, x, a.type, m)
  if out.value == x.value then job:misuse("out is x") end
  job:bind(a, x)
  job:blocks(product_kernels(job, a.type).matrix_vector, m, a.memory, x.memory, out.memory, n)
  return out.value
end)

lib.transpose = M.entry("transpose", function(job, x, m, n, options)
  options = job:options(options, { out = true })
  x = job:input(x, "x")
  m, n = job:whole(m, "m", 0), job:whole(n, "n", 0)
  shape(job, x, m, n)
  local out = job:output(options.out, x, x.type, m * n)
  if out.value == x.value then job:misuse("out is x") end
  job:bind(x)
  job:grid(product_kernels(job, x.type).matrix_transpose, math.ceil(n / 32), math.ceil(m / 32),
    x.memory, out.memory, m, n)
  return out.value
end)

-- ---- LU ----

-- LU of a in scratch memory: the memory, the pivots, and the first column without a pivot or 0.
local function factor(job, a, n)
  local K = lu_kernels(job, a.type)
  local memory, pivots = job:scratch(a.type, n * n), job:scratch("int32", n)
  local singular = job:scratch("int32", 1)
  job:check(singular:fill(0))
  job:each(M.copy_kernel(job, a.type), n * n, a.memory, memory, n * n)
  for k = 0, n - 1, LU_WIDTH do
    local w = math.min(LU_WIDTH, n - k)
    job:blocks(K.lu_panel, 1, memory, pivots, singular, n, k, w)
    if w < n then job:blocks(K.lu_rows, math.ceil(n / LU_STRIP), memory, pivots, n, k, w) end
    local tiles = math.ceil((n - k - w) / SQUARE)
    job:grid(K.lu_update, tiles, tiles, memory, n, k, w)
  end
  return memory, pivots, n > 0 and job:read(singular, "int32") or 0
end

local function solve(job, type_name, memory, pivots, b, out, n, m)
  if n == 0 then return end
  job:runs(lu_kernels(job, type_name).lu_solve, m, math.ceil(m / SOLVE_STRIP), memory, pivots, b,
    out, n, m)
end

local function square(job, a, n)
  a, n = job:input(a, "a", M.reals), job:whole(n, "n", 0, SIDE_MAX)
  shape(job, a, n, n)
  return a, n
end

lib.solve = M.entry("solve", function(job, a, b, n, m, options)
  if type(m) == "table" then m, options = nil, m end
  options = job:options(options, { out = true })
  a, n = square(job, a, n)
  b, m = job:input(b, "b"), job:whole(m or 1, "m", 0)
  same_type(job, a, b)
  shape(job, b, n, m)
  local out = job:output(options.out, b, a.type, n * m)
  job:bind(a, b)
  local memory, pivots, singular = factor(job, a, n)
  if singular > 0 then job:fail(("the matrix is singular (column %d)"):format(singular - 1),
    "EINVAL") end
  solve(job, a.type, memory, pivots, b.memory, out.memory, n, m)
  return out.value
end)

lib.inverse = M.entry("inverse", function(job, a, n, options)
  options = job:options(options, { out = true })
  a, n = square(job, a, n)
  local out = job:output(options.out, a, a.type, n * n)
  job:bind(a)
  local memory, pivots, singular = factor(job, a, n)
  if singular > 0 then job:fail(("the matrix is singular (column %d)"):format(singular - 1),
    "EINVAL") end
  local K, one = lu_kernels(job, a.type), job:scratch(a.type, n * n)
  job:each(K.matrix_identity, n * n, one, n)
  solve(job, a.type, memory, pivots, one, out.memory, n, n)
  return out.value
end)

lib.determinant = M.entry("determinant", function(job, a, n)
  a, n = square(job, a, n)
  job:bind(a)
  if n == 0 then return 1 end
  local memory, pivots, singular = factor(job, a, n)
  if singular > 0 then return 0 end
  local lu = job:check(memory:download(nil, { count = n * n }))
  local rows, product = job:check(pivots:download(nil, { count = n })), 1
  for i = 0, n - 1 do
    product = product * lu[i * n + i]
    if rows[i] ~= i then product = -product end
  end
  return product
end)

return lib
