-- lib_device.lua [ELEMENTS]: what share of a plain device copy's speed do the kernels of gb.lib
-- that memory bounds reach on the first device? Bytes are what must move: each input read once,
-- each output written once. "R NAME_gbs" and "R NAME_of_copy" (bar 0.85 on a GPU); sort has none.
-- $GB_BENCH_QUICK: few elements, for self-checks.
local gb = require "gb"
local lib = gb.lib
local quick = (os.getenv "GB_BENCH_QUICK" or "") ~= ""
local n = tonumber(arg[1]) or quick and 2 ^ 14 or gb.device().backend == "cpu" and 2 ^ 24 or 2 ^ 26
local ROUNDS = 7

local device = gb.device()
print(("F backend %s\nF device %s\nF elements %d"):format(device.backend, device.name, n))

local x = assert(gb.buffer("float", n))
assert(lib.uniform(x, { seed = 1 }))
local y, z = assert(gb.buffer("float", n)), assert(gb.buffer("float", n))
assert(lib.uniform(y, { seed = 2 }))
local keys = assert(gb.buffer("float", n))
local side = 2 ^ math.floor(math.log(n) / math.log(4))
local square = assert(gb.buffer("float", side * side))
local turned = assert(gb.buffer("float", side * side))
local bytes = 4 * n

local works = {
  { "copy", 2 * bytes, function() return z:copy_from(x) end },
  { "add", 3 * bytes, function() return lib.add(x, y, { out = z }) end },
  { "saxpy", 3 * bytes, function() return lib.saxpy(0.5, x, z) end },
  { "sum", bytes, function() return lib.sum(x) end },
  { "dot", 2 * bytes, function() return lib.dot(x, y) end },
  { "scan", 2 * bytes, function() return lib.scan(x, { out = z }) end },
  { "select", 1.5 * bytes, function() return lib.select(x, ">", 0.5, { out = z }) end },
  { "histogram", bytes, function() return lib.histogram(x, 256, 0, 1) end },
  { "transpose", 8 * side * side,
    function() return lib.transpose(square, side, side, { out = turned }) end },
  { "uniform", bytes, function() return lib.uniform(z, { seed = 3 }) end },
  { "sort", 2 * bytes, function() return lib.sort(keys) end,
    function() assert(keys:copy_from(x)) end },
}

local copy
for _, work in ipairs(works) do
  local name, moved, run, prepare = work[1], work[2], work[3], work[4]
  local times = {}
  for i = 0, ROUNDS do
    if prepare then prepare() end
    local start = gb.monotonic()
    assert(run())
    times[i] = gb.monotonic() - start -- the first is not counted: it compiles
  end
  table.sort(times)
  local gbs = moved / times[math.floor(ROUNDS / 2) + 1] / 1e9
  copy = copy or gbs
  print(("R %s_gbs %.3f"):format(name, gbs))
  print(("R %s_of_copy %.3f"):format(name, gbs / copy))
end
