-- gb.lib: images and batches of small matrices (kernels/image.cuh, kernels/batch.cuh).
local M = require "gb.lib_core"
local sort_lib = require "gb.lib_sort"

local lib = {}
local pixels, bytes = { float = true, uint8 = true }, { uint8 = true }
-- What one thread of the cpu backend takes: see kernels/image.cuh.
local RESIZE_ROWS, RESIZE_COLUMNS, CONVOLVE_RUN = 8, 128, 1024

local image_names = { "image_gray", "image_resize", "image_convolve", "image_sobel" }

local function image_kernel(job, name, type_name)
  return job:kernels("image", "image " .. type_name, function()
    local list = M.instances(image_names, M.c_names[type_name])
    if type_name == "uint8" then
      list[#list + 1] = { "image_equalize", "image_equalize", "unsigned char" }
    end
    return list
  end)[name]
end

local function image(job, x, width, height, channels, allowed)
  x = job:input(x, "x", allowed or pixels)
  width, height = job:whole(width, "width", 0), job:whole(height, "height", 0)
  channels = job:whole(channels, "channels", 1, 64)
  if x.n ~= width * height * channels then
    job:misuse("x has %d elements, a %d x %d image of %d channels has %.0f", x.n, width, height,
      channels, width * height * channels)
  end
  return x, width, height, channels
end

local function elsewhere(job, out, x)
  if out.value == x.value then job:misuse("out is %s", x.name) end
  job:bind(x)
end

lib.grayscale = M.entry("grayscale", function(job, x, width, height, channels, options)
  options = job:options(options, { out = true })
  x, width, height, channels = image(job, x, width, height, channels)
  if channels < 3 then job:misuse("channels is an integer from 3 to 64, got %d", channels) end
  local out = job:output(options.out, x, x.type, width * height)
  elsewhere(job, out, x)
  job:runs(image_kernel(job, "image_gray", x.type), width * height, M.tiles(width * height),
    x.memory, out.memory, width * height, channels)
  return out.value
end)

lib.resize = M.entry("resize", function(job, x, width, height, channels, to_width, to_height,
    options)
  options = job:options(options, { out = true })
  x, width, height, channels = image(job, x, width, height, channels)
  to_width = job:whole(to_width, "to_width", 0)
  to_height = job:whole(to_height, "to_height", 0)
  local n = to_width * to_height * channels
  if n > 0 and x.n == 0 then job:misuse("x has no pixels") end
  if n > 2 ^ 31 - 2 ^ 17 then job:misuse("the result has %.0f elements", n) end
  local out = job:output(options.out, x, x.type, n)
  elsewhere(job, out, x)
  job:runs(image_kernel(job, "image_resize", x.type), n,
    math.ceil(to_width / RESIZE_COLUMNS) * math.ceil(to_height / RESIZE_ROWS), x.memory, out.memory,
    width, height, channels, to_width, to_height)
  return out.value
end)

lib.convolve = M.entry("convolve", function(job, x, width, height, channels, weights, kw, kh,
    options)
  options = job:options(options, { out = true })
  x, width, height, channels = image(job, x, width, height, channels)
  weights = job:input(weights, "weights", { float = true })
  kw, kh = job:whole(kw, "kw", 1, 1024), job:whole(kh, "kh", 1, 1024)
  if weights.n ~= kw * kh then
    job:misuse("weights has %d elements, %d x %d are %d", weights.n, kw, kh, kw * kh)
  end
  local out = job:output(options.out, x, x.type, x.n)
  elsewhere(job, out, x)
  job:bind(weights)
  job:runs(image_kernel(job, "image_convolve", x.type), x.n,
    math.ceil(width * channels / CONVOLVE_RUN) * height, x.memory, weights.memory, out.memory,
    width, height, channels, kw, kh)
  return out.value
end)

lib.sobel = M.entry("sobel", function(job, x, width, height, options)
  options = job:options(options, { out = true })
  x, width, height = image(job, x, width, height, 1)
  local out = job:output(options.out, x, x.type, x.n)
  elsewhere(job, out, x)
  job:runs(image_kernel(job, "image_sobel", x.type), x.n, width > 0 and height or 0, x.memory,
    out.memory, width, height)
  return out.value
end)

lib.equalize = M.entry("equalize", function(job, x, options)
  options = job:options(options, { out = true })
  x = job:input(x, "x", bytes)
  local out = job:output(options.out, x, "uint8", x.n)
  job:bind(x)
  if x.n == 0 then return out.value end
  local upto = job:scratch("int32", 256)
  job:check(sort_lib.histogram(x.value, 256, 0, 256, { out = upto }))
  M.scan(job, "sum", "int32", upto, upto, 256, false)
  job:each(image_kernel(job, "image_equalize", "uint8"), x.n, x.memory, upto, out.memory, x.n)
  return out.value
end)

-- ---- batches ----

local function batch_kernels(job, type_name)
  return job:kernels("batch", "batch " .. type_name, function()
    return M.instances({ "batch_product", "batch_solve", "batch_identity" }, M.c_names[type_name])
  end)
end

local function batch_shape(job, x, count, rows, columns)
  if x.n ~= count * rows * columns then
    job:misuse("%s has %d elements, %d matrices of %d x %d have %.0f", x.name, x.n, count, rows,
      columns, count * rows * columns)
  end
end

lib.batch_matmul = M.entry("batch_matmul", function(job, a, b, count, m, k, n, options)
  options = job:options(options, { out = true })
  a, b = job:input(a, "a"), job:input(b, "b")
  if a.type ~= b.type then
    job:misuse("a has elements of %s, b of %s", a.type, b.type)
  end
  count, m = job:whole(count, "count", 0), job:whole(m, "m", 0)
  k, n = job:whole(k, "k", 0), job:whole(n, "n", 0)
  batch_shape(job, a, count, m, k)
  batch_shape(job, b, count, k, n)
  local out = job:output(options.out, a, a.type, count * m * n)
  if out.value == a.value or out.value == b.value then job:misuse("out is one of the factors") end
  job:bind(a, b)
  job:each(batch_kernels(job, a.type).batch_product, count * m * n, a.memory, b.memory,
    out.memory, count, m, n, k)
  return out.value
end)

-- out holds the right sides and gets the solutions.
local function batch_systems(job, a, out, count, n, m)
  local K, copy = batch_kernels(job, a.type), job:scratch(a.type, a.n)
  local singular = job:scratch("int32", count)
  job:each(M.copy_kernel(job, a.type), a.n, a.memory, copy, a.n)
  job:each(K.batch_solve, count, copy, out.memory, singular, count, n, m)
  if count == 0 then return end
  local bad = job:check(singular:download(nil, { count = count }))
  for i = 0, count - 1 do
    if bad[i] ~= 0 then job:fail(("matrix %d is singular"):format(i), "EINVAL") end
  end
end

lib.batch_solve = M.entry("batch_solve", function(job, a, b, count, n, m, options)
  if type(m) == "table" then m, options = nil, m end
  options = job:options(options, { out = true })
  a, b = job:input(a, "a", M.reals), job:input(b, "b")
  if a.type ~= b.type then
    job:misuse("a has elements of %s, b of %s", a.type, b.type)
  end
  count, n = job:whole(count, "count", 0), job:whole(n, "n", 0, 1024)
  m = job:whole(m or 1, "m", 0)
  batch_shape(job, a, count, n, n)
  batch_shape(job, b, count, n, m)
  local out = job:output(options.out, b, a.type, b.n)
  job:bind(a, b)
  if out.value ~= b.value then
    job:each(M.copy_kernel(job, a.type), b.n, b.memory, out.memory, b.n)
  end
  batch_systems(job, a, out, count, n, m)
  return out.value
end)

lib.batch_inverse = M.entry("batch_inverse", function(job, a, count, n, options)
  options = job:options(options, { out = true })
  a = job:input(a, "a", M.reals)
  count, n = job:whole(count, "count", 0), job:whole(n, "n", 0, 1024)
  batch_shape(job, a, count, n, n)
  local out = job:output(options.out, a, a.type, a.n)
  elsewhere(job, out, a)
  job:each(batch_kernels(job, a.type).batch_identity, a.n, out.memory, count, n)
  batch_systems(job, a, out, count, n, n)
  return out.value
end)

return lib
