-- gb.lib: element-wise work and reductions (kernels/vector.cuh, kernels/reduce.cuh).
local M = require "gb.lib_core"
local lib = {}

local c_names = M.c_names

-- ---- element by element ----

local map_names = { "add", "subtract", "multiply", "divide", "minimum", "maximum", "scale", "saxpy",
  "copy", "count_up" }

local function map_kernels(job, type_name)
  return job:kernels("vector", "vector " .. type_name, function()
    return M.instances(map_names, c_names[type_name])
  end)
end
M.map_kernels = map_kernels

local function same_count(job, x, y)
  if x.n ~= y.n then
    job:misuse("%s has %d elements, %s has %d", x.name, x.n, y.name, y.n)
  end
end

local function same_type(job, x, y)
  if x.type ~= y.type then
    job:misuse("%s has elements of %s, %s of %s", x.name, x.type, y.name, y.type)
  end
end

local function map2(name)
  lib[name] = M.entry(name, function(job, x, y, options)
    options = job:options(options, { out = true })
    x, y = job:input(x, "x"), job:input(y, "y")
    same_type(job, x, y)
    same_count(job, x, y)
    if name == "divide" and not M.reals[x.type] then
      job:misuse("x has elements of %s; possible: double, float", x.type)
    end
    local out = job:output(options.out, x, x.type, x.n)
    job:bind(x, y)
    job:each(map_kernels(job, x.type)[name], x.n, x.memory, y.memory, out.memory, x.n)
    return out.value
  end)
end
for _, name in ipairs { "add", "subtract", "multiply", "divide", "minimum", "maximum" } do
  map2(name)
end

-- A factor must fit the element type: the launch would say so with a kernel's words.
local function factor(job, a, x)
  if not M.reals[x.type] then
    if type(a) ~= "number" or a % 1 ~= 0 then
      job:misuse("a is an integer, as the elements of %s are", x.name)
    end
    return a
  end
  return job:number(a, "a")
end

local function scaled(job, a, x, out)
  job:each(map_kernels(job, x.type).scale, x.n, a, x.memory, out.memory, x.n)
  return out.value
end

lib.scale = M.entry("scale", function(job, x, a, options)
  options = job:options(options, { out = true })
  x = job:input(x, "x")
  a = factor(job, a, x)
  local out = job:output(options.out, x, x.type, x.n)
  job:bind(x)
  return scaled(job, a, x, out)
end)

lib.saxpy = M.entry("saxpy", function(job, a, x, y)
  x, y = job:input(x, "x"), job:target(y, "y")
  same_type(job, x, y)
  same_count(job, x, y)
  a = factor(job, a, x)
  job:bind(x, y)
  job:each(map_kernels(job, x.type).saxpy, x.n, a, x.memory, y.memory, x.n)
  return y.value
end)

-- ---- reductions ----

local fold_names = { "sum_tiles", "dot_tiles", "absolute_tiles", "min_tiles", "max_tiles",
  "find_first" }

-- Sums of sums need one kernel alone, and compiling costs a second.
local function total_kernels(job, type_name)
  return job:kernels("reduce", "reduce sums of " .. type_name, function()
    return M.instances({ "sum_tiles" }, c_names[type_name])
  end)
end

local function fold_kernels(job, type_name)
  return job:kernels("reduce", "reduce " .. type_name, function()
    return M.instances(fold_names, c_names[type_name])
  end)
end

-- Passes over partial results until one is left: the scratch memory that holds it.
local function passes(job, kernel_name, type_name, memory, n)
  if n == 1 then return memory end
  local kernel = (kernel_name == "sum_tiles" and total_kernels or fold_kernels)(job,
    type_name)[kernel_name]
  while n > 1 do
    local tiles = M.tiles(n)
    local next_memory = job:scratch(type_name, tiles)
    job:blocks(kernel, tiles, memory, next_memory, n)
    memory, n = next_memory, tiles
  end
  return memory
end

--- Memory of doubles, int64 or uint64 summed: the memory that holds the sum, the same for n = 1.
function M.total(job, type_name, memory, n)
  return passes(job, "sum_tiles", type_name, memory, n)
end

-- first_name(x.memory, more..., partial sums, n), then sums of sums. Scratch memory with the sum.
local function sum_of(job, first_name, x, ...)
  local wide, tiles = M.sum_names[x.type], M.tiles(x.n)
  local partial = job:scratch(wide, tiles)
  local first = fold_kernels(job, x.type)[first_name]
  if ... then
    job:blocks(first, tiles, x.memory, ..., partial, x.n)
  else
    job:blocks(first, tiles, x.memory, partial, x.n)
  end
  return passes(job, "sum_tiles", wide, partial, tiles), wide
end

-- Sums of elements up to 32 bits are numbers, wider ones int64 or uint64.
local function narrow(x, value)
  if x.type == "int64" or x.type == "uint64" then return value end
  return tonumber(value)
end

local function zero(x)
  return x.type == "int64" and 0LL or x.type == "uint64" and 0ULL or 0
end

local function sum(job, x, first_name, ...)
  if x.n == 0 then return zero(x) end
  local memory, wide = sum_of(job, first_name, x, ...)
  return narrow(x, job:read(memory, wide))
end

lib.sum = M.entry("sum", function(job, x)
  x = job:input(x, "x")
  job:bind(x)
  return sum(job, x, "sum_tiles")
end)

lib.mean = M.entry("mean", function(job, x)
  x = job:input(x, "x")
  job:bind(x)
  if x.n == 0 then job:fail("the mean of nothing", "EINVAL") end
  return tonumber(sum(job, x, "sum_tiles")) / x.n
end)

lib.dot = M.entry("dot", function(job, x, y)
  x, y = job:input(x, "x"), job:input(y, "y")
  same_type(job, x, y)
  same_count(job, x, y)
  job:bind(x, y)
  return sum(job, x, "dot_tiles", y.memory)
end)

-- The tile results of min or max, and the memory of the one value.
local function extreme(job, name, x)
  if x.n == 0 then job:fail(("the %s of nothing"):format(name), "EINVAL") end
  local tiles, kernel = M.tiles(x.n), name .. "_tiles"
  local partial = job:scratch(x.type, tiles)
  job:blocks(fold_kernels(job, x.type)[kernel], tiles, x.memory, partial, x.n)
  return partial, passes(job, kernel, x.type, partial, tiles), tiles
end

local function min_or_max(name)
  lib[name] = M.entry(name, function(job, x)
    x = job:input(x, "x")
    job:bind(x)
    local _, one = extreme(job, name, x)
    return job:read(one, x.type)
  end)
  lib["arg" .. name] = M.entry("arg" .. name, function(job, x)
    x = job:input(x, "x")
    job:bind(x)
    local partial, one, tiles = extreme(job, name, x)
    local place = job:scratch("int32", 1)
    job:blocks(fold_kernels(job, x.type).find_first, 1, x.memory, partial, one, place, tiles, x.n)
    local at = job:read(place, "int32")
    if at < 0 then job:fail(("the arg%s of NaNs alone"):format(name), "EINVAL") end
    return at, job:read(one, x.type)
  end)
end
min_or_max "min"
min_or_max "max"

local norms = { l1 = true, l2 = true, max = true, sum = true }

local function norm_of(job, x, kind)
  if not norms[kind] then
    job:misuse("unknown norm '%s'; known: l1, l2, max, sum", tostring(kind))
  end
  if x.n == 0 then return 0 end
  if kind == "l2" then return math.sqrt(sum(job, x, "dot_tiles", x.memory)) end
  if kind == "sum" then return sum(job, x, "sum_tiles") end
  if kind == "l1" then return sum(job, x, "absolute_tiles") end
  local _, low = extreme(job, "min", x)
  local _, high = extreme(job, "max", x)
  return math.max(-job:read(low, x.type), job:read(high, x.type))
end

lib.norm = M.entry("norm", function(job, x, options)
  options = job:options(options, { norm = true })
  x = job:input(x, "x", M.reals)
  job:bind(x)
  return norm_of(job, x, options.norm or "l2")
end)

lib.normalize = M.entry("normalize", function(job, x, options)
  options = job:options(options, { out = true, norm = true })
  x = job:input(x, "x", M.reals)
  local out = job:output(options.out, x, x.type, x.n)
  job:bind(x)
  local norm = norm_of(job, x, options.norm or "l2")
  if x.n > 0 and not (norm > 0 or norm < 0) then
    job:fail(("the norm is %s"):format(tostring(norm)), "EINVAL")
  end
  return scaled(job, 1 / norm, x, out), norm
end)

return lib
