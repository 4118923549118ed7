-- gb.lib: random numbers by counter (kernels/random.cuh).
local M = require "gb.lib_core"

local lib = {}
local whole_types = { int32 = true, uint32 = true }
local names = { uniform = "random_uniform", normal = "random_normal" }

local function kernel(job, name, type_name)
  local list = M.reals[type_name] and { "random_uniform", "random_normal" } or { name }
  return job:kernels("random", "random " .. type_name,
    M.instances(list, M.c_names[type_name]))[name]
end

local function seed_of(job, options)
  return job:whole(options.seed or 0, "seed", 0, 2 ^ 53),
    job:whole(options.stream or 0, "stream", 0, 2 ^ 53)
end

local function real(name, first, first_default, second, second_default)
  lib[name] = M.entry(name, function(job, x, options)
    options = job:options(options, { seed = true, stream = true, [first] = true,
      [second] = true })
    x = job:target(x, "x", M.reals)
    local seed, stream = seed_of(job, options)
    local a = job:number(options[first] or first_default, first)
    local b = job:number(options[second] or second_default, second)
    if name == "uniform" then b = b - a end
    job:bind(x)
    local per = x.type == "float" and 4 or 2
    job:each(kernel(job, names[name], x.type), math.ceil(x.n / per), x.memory, x.n, seed, stream,
      a, b)
    return x.value
  end)
end
real("uniform", "low", 0, "high", 1)
real("normal", "mean", 0, "deviation", 1)

lib.integers = M.entry("integers", function(job, x, low, high, options)
  options = job:options(options, { seed = true, stream = true })
  x = job:target(x, "x", whole_types)
  local least, most = -2 ^ 31, 2 ^ 31 - 1
  if x.type == "uint32" then least, most = 0, 2 ^ 32 - 1 end
  low = job:whole(low, "low", least, most)
  high = job:whole(high, "high", low, most)
  local seed, stream = seed_of(job, options)
  job:bind(x)
  job:each(kernel(job, "random_whole", x.type), math.ceil(x.n / 4), x.memory, x.n, seed, stream,
    low, (high - low + 1) % 2 ^ 32)
  return x.value
end)

return lib
