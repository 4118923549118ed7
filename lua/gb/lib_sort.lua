-- gb.lib: scan, sort, select, histogram (kernels/scan.cuh, sort.cuh, select.cuh, histogram.cuh).
local M = require "gb.lib_core"
local near = require "gb.near"
local types = require "gb.types"

local lib = {}
local c_names = M.c_names
local SORT_TILE = 16384

-- ---- scan ----

local ops = { sum = "gb::op_sum", min = "gb::op_min", max = "gb::op_max" }

local function scan_kernels(job, op, type_name, wide)
  local key = ("scan %s %s"):format(op, type_name)
  return job:kernels("scan", key, function()
    return M.instances({ "scan_fold", "scan_tiles" }, ops[op], c_names[type_name], c_names[wide])
  end)
end

-- Scans memory into out, which may be the same.
local function scan(job, op, type_name, memory, out, n, exclusive)
  if n == 0 then return end
  local wide = op == "sum" and M.sum_names[type_name] or type_name
  local K, tiles = scan_kernels(job, op, type_name, wide), M.tiles(n)
  local before = job:scratch(wide, tiles)
  if tiles > 1 then
    job:blocks(K.scan_fold, tiles, memory, before, n)
    scan(job, op, wide, before, before, tiles, true)
  end
  job:blocks(K.scan_tiles, tiles, memory, out, before, n, tiles > 1 and 1 or 0,
    exclusive and 1 or 0)
end
M.scan = scan

lib.scan = M.entry("scan", function(job, x, options)
  options = job:options(options, { out = true, exclusive = true, op = true })
  local op = options.op or "sum"
  if not ops[op] then job:misuse("%s", near.unknown("op", op, near.keys(ops))) end
  x = job:input(x, "x")
  local out = job:output(options.out, x, x.type, x.n)
  job:bind(x)
  scan(job, op, x.type, x.memory, out.memory, x.n, options.exclusive)
  return out.value
end)

-- ---- sort ----

local function sort_kernels(job, key_type, value_type)
  local K = c_names[key_type]
  return job:kernels("sort", ("sort %s %s"):format(key_type, value_type or ""), function()
    local list = { { "count", "sort_count", K } }
    if value_type then
      list[2] = { "place", "sort_pairs", K, c_names[value_type] }
    else
      list[2] = { "place", "sort_keys", K }
    end
    return list
  end)
end

-- Sorts n keys in place, and values with them. keys and values: { memory =, type = }. bits: keys
-- are integers from 0 below 2^bits, and the results may lie elsewhere: the memory of both.
local function sort(job, keys, values, n, descending, bits)
  if n < 2 then return keys.memory, values and values.memory end
  local K = sort_kernels(job, keys.type, values and values.type)
  local tiles, size = M.tiles(n, SORT_TILE), types.check(keys.type).size
  local counts = job:scratch("int32", 256 * tiles)
  local from, to = keys.memory, job:scratch(keys.type, n)
  local vfrom, vto
  if values then vfrom, vto = values.memory, job:scratch(values.type, n) end
  local flip = descending and 255 or 0
  for shift = 0, (bits or size * 8) - 1, 8 do
    job:blocks(K.count, tiles, from, counts, n, shift, flip)
    scan(job, "sum", "int32", counts, counts, 256 * tiles, true)
    if values then
      job:blocks(K.place, tiles, from, vfrom, counts, to, vto, n, shift, flip)
      vfrom, vto = vto, vfrom
    else
      job:blocks(K.place, tiles, from, counts, to, n, shift, flip)
    end
    from, to = to, from
  end
  if size > 1 or bits then return from, vfrom end -- whole keys: an even number of passes
  job:each(M.copy_kernel(job, keys.type), n, from, to, n)
  if values then job:each(M.copy_kernel(job, values.type), n, vfrom, vto, n) end
end
M.sort = sort

lib.sort = M.entry("sort", function(job, keys, values, options)
  if options == nil and type(values) == "table" and getmetatable(values) == nil then
    values, options = nil, values
  end
  options = job:options(options, { descending = true })
  keys = job:target(keys, "keys")
  if values ~= nil then
    values = job:target(values, "values")
    if values.n ~= keys.n then
      job:misuse("keys has %d elements, values has %d", keys.n, values.n)
    end
    job:bind(values)
  end
  job:bind(keys)
  sort(job, keys, values, keys.n, options.descending)
  return keys.value, values and values.value
end)

lib.argsort = M.entry("argsort", function(job, x, options)
  options = job:options(options, { descending = true, out = true })
  x = job:input(x, "x")
  local out = job:output(options.out, x, "int32", x.n)
  job:bind(x)
  if x.n == 0 then return out.value end
  local keys = { type = x.type, memory = job:scratch(x.type, x.n) }
  job:each(M.copy_kernel(job, x.type), x.n, x.memory, keys.memory, x.n)
  local places = job:kernels("sort", "sort places", { { "places", "sort_places", "int" } }).places
  job:each(places, x.n, out.memory, x.n)
  sort(job, keys, out, x.n, options.descending)
  return out.value
end)

-- ---- select ----

local tests = { ["<"] = "test_less", ["<="] = "test_less_equal", [">"] = "test_greater",
  [">="] = "test_greater_equal", ["=="] = "test_equal", ["~="] = "test_not_equal" }
local flag_types = { int8 = true, uint8 = true, int32 = true, uint32 = true }

local function select_kernels(job, x, test, flag_type, place)
  local C = c_names[x.type]
  local key = ("select %s %s %s"):format(x.type, test or flag_type, tostring(place))
  return job:kernels("select", key, function()
    local keep = ("gb::%s<%s>"):format(place and "keep_place" or "keep_element", C)
    return {
      test and { "choose", "select_value", C, keep, ("gb::%s<%s>"):format(tests[test], C) }
        or { "choose", "select_flags", C, keep, c_names[flag_type] },
      { "move", "select_move", place and "int" or C },
    }
  end)
end

local function selected(job, x, by, value, options, place)
  local flags
  x = job:input(x, "x")
  if type(by) == "string" then
    if not tests[by] then
      job:misuse("unknown comparison '%s'; known: < <= > >= == ~=", by)
    end
    if type(value) ~= "number" and not types.wide(value) then
      job:misuse("the value to compare with is a number, got %s", type(value))
    end
  else
    options = value
    flags = job:input(by, "flags", flag_types)
    if flags.n ~= x.n then job:misuse("x has %d elements, flags has %d", x.n, flags.n) end
    job:bind(flags)
  end
  options = job:options(options, { out = true })
  job:bind(x)
  local kind, total, kept, starts = place and "int32" or x.type, 0, nil, nil
  local tiles = M.tiles(x.n)
  local K = select_kernels(job, x, not flags and by, flags and flags.type, place)
  if x.n > 0 then
    kept, starts = job:scratch(kind, x.n), job:scratch("int32", tiles + 1)
    job:blocks(K.choose, tiles, x.memory, flags and flags.memory or value, kept, starts, x.n)
    scan(job, "sum", "int32", starts, starts, tiles + 1, true)
    total = job:read(starts, "int32", tiles)
  end
  local out = job:output(options.out, x, kind, total)
  if total > 0 then job:blocks(K.move, tiles, kept, starts, out.memory) end
  return out.value, total
end

lib.select = M.entry("select", function(job, x, by, value, options)
  return selected(job, x, by, value, options, false)
end)
lib.where = M.entry("where", function(job, x, by, value, options)
  return selected(job, x, by, value, options, true)
end)

-- ---- histogram ----

lib.histogram = M.entry("histogram", function(job, x, bins, low, high, options)
  options = job:options(options, { out = true })
  x = job:input(x, "x")
  bins = job:whole(bins, "bins", 1, 2 ^ 24)
  low, high = job:number(low, "low"), job:number(high, "high")
  if not (low < high) then job:misuse("low must be less than high, got %g and %g", low, high) end
  local out = job:output(options.out, x, "int32", bins)
  job:bind(x)
  -- large tiles where there are many bins: the rows must not outweigh the elements
  local size = math.min(math.max(16384, 8 * bins), 2 ^ 27)
  local tiles = M.tiles(x.n, size)
  local C = (x.type == "double" or x.type:match("32") or x.type:match("64")) and "double"
    or "float"
  local K = job:kernels("histogram", "histogram " .. x.type, {
    { "tiles", "histogram_tiles", c_names[x.type], C }, { "sum", "histogram_sum", "int" } })
  local rows = job:scratch("int32", math.max(1, tiles * bins))
  job:blocks(K.tiles, tiles, x.memory, rows, x.n, size, low, high, bins / (high - low), bins)
  job:each(K.sum, bins, rows, out.memory, tiles, bins)
  return out.value
end)

return lib
