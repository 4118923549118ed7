-- lib_nvrtc.lua: every kernel of gb.lib through the real NVRTC. The device is the software
-- driver's, which cannot load what NVRTC makes: a call has to fail at loading, not before. Exit
-- code 77 without NVRTC.
local gb = require "gb"
local lib = gb.lib

local function b(n, type_name)
  return assert(gb.buffer(type_name or "float", n, { device = 0 }))
end

local of_numbers = {
  add = function(t) return lib.add(b(9, t), b(9, t)) end,
  sum = function(t) return lib.sum(b(9, t)) end,
  scan = function(t) return lib.scan(b(9, t)) end,
  sort = function(t) return lib.sort(b(9, t)) end,
  pairs = function(t) return lib.sort(b(9, t), b(9)) end,
  argsort = function(t) return lib.argsort(b(9, t)) end,
  select = function(t) return lib.select(b(9, t), ">", 0) end,
  where = function(t) return lib.where(b(9, t), "<", 0) end,
  flags = function(t) return lib.select(b(9, t), b(9, "int32")) end,
  histogram = function(t) return lib.histogram(b(9, t), 4, 0, 1) end,
  matmul = function(t) return lib.matmul(b(9, t), b(9, t), 3, 3, 3) end,
}
local of_reals = {
  inverse = function(t) return lib.inverse(b(9, t), 3) end,
  normalize = function(t) return lib.normalize(b(9, t)) end,
  uniform = function(t) return lib.uniform(b(9, t)) end,
  batch = function(t) return lib.batch_solve(b(9, t), b(3, t), 1, 3) end,
}
local of_one = {
  grayscale = function(t) return lib.grayscale(b(9, t), 3, 1, 3) end,
  bytes = function() return lib.grayscale(b(9, "uint8"), 3, 1, 3) end,
  equalize = function() return lib.equalize(b(9, "uint8")) end,
  bfs = function() return lib.bfs(b(2, "int32"), b(0, "int32"), 0) end,
  integers = function() return lib.integers(b(9, "int32"), 0, 5) end,
}

local _, message = gb.kernels { name = "probe",
  source = 'extern "C" __global__ void probe(int *x) { *x = 1; }' }
if message and message:find("NVRTC is not there", 1, true) then
  print "no NVRTC: not run"
  os.exit(77)
end
assert(gb.device().backend == "software", "meant for the software driver")

local count = 0
local function try(name, fn, type_name)
  local value, why = fn(type_name)
  assert(value == nil and tostring(why):find("loading a module", 1, true),
    ("%s of %s: %s"):format(name, type_name, tostring(why)))
  count = count + 1
end

for _, t in ipairs { "float", "double", "int8", "uint16", "int32", "uint64" } do
  for name, fn in pairs(of_numbers) do try(name, fn, t) end
end
for _, t in ipairs { "float", "double" } do
  for name, fn in pairs(of_reals) do try(name, fn, t) end
end
for name, fn in pairs(of_one) do try(name, fn, "float") end
print(count .. " calls were compiled by NVRTC")
