-- Where work runs by settings and hints, and how files go to a GPU, over the software driver:
-- prefer_gpu, staged_files, direct_folder.
local softcuda = assert(os.getenv("GB_TEST_SOFTCUDA"))
local softcufile = assert(os.getenv("GB_TEST_SOFTCUFILE"))

local environment = ("GB_CUDA_LIBRARY=%s GB_NVRTC_LIBRARY=%s GB_NVML_LIBRARY=%s "
  .. "GB_CUFILE_LIBRARY=%s GB_SOFTCUDA_LEAKS=1 GB_SOFTCUDA_DEVICES=2 GB_LOG_LEVEL=error "):format(
  softcuda, softcuda, softcuda, softcufile)

local common = [==[
local gb = require "gb"
local core = require "gb.core"
local M = {}
M.K = assert(gb.kernels { name = "plus", source = [=[
extern "C" __global__ void plus(const int *x, int *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] + 1;
}]=] })
gb.catalog.register("plus", { kernel = "plus", source = [=[
extern "C" __global__ void plus(const int *x, int *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] + 1;
}]=] })
function M.launch() -- on nothing that names a device
  local x, y = gb.array("int32", { 1, 2 }), gb.array("int32", 2)
  assert(M.K.plus:run(2, x, y, 2))
  assert(y[1] == 3)
end
function M.batch(hints)
  local out = assert(gb.batch("plus"):execute({ 1, 2, 3 }, hints))
  assert(#out == 3 and out[3] == 4)
end
function M.pipe(hints) assert(gb.pipeline("plus"):execute({ 1, 2, 3 }, hints)) end
-- The backend on which fn launches.
function M.where(fn, ...)
  local function counts()
    local out = {}
    for i = 0, core.device_count() - 1 do out[i] = core.device_launches(i, 300) end
    return out
  end
  local before, place = counts(), nil
  fn(...)
  for i, n in pairs(counts()) do
    if n > before[i] then
      assert(not place, "on two devices")
      place = core.device_info(i).backend
    end
  end
  return place
end
function M.is(want, fn, ...)
  local got = M.where(fn, ...)
  assert(got == want, ("on %s, not on %s"):format(tostring(got), want))
end
local Placed = gb.grain("Placed", { placement = gb.gpu {} })
function Placed:where() M.launch() return self.device.backend, M.where(M.launch) end
local Plain = gb.grain("Plain")
function Plain:where() return gb.device().backend, M.where(M.launch) end
return M
]==]

-- A hint is stronger than the setting, a device stronger than both.
local hints = [==[
local D = require "devices"
local home = ...
D.is(home, D.launch)
D.is(home, D.batch)
D.is(home, D.pipe)
for _, run in ipairs { D.batch, D.pipe } do
  D.is("cpu", run, { prefer_gpu = false })
  D.is("software", run, { prefer_gpu = true })
  D.is("software", run, { prefer_gpu = false, required = true })
  D.is("software", run, { prefer_gpu = false, device = 1 })
  D.is("cpu", run, { prefer_gpu = true, device = 2 })
end
local gb = require "gb"
assert(gb.device().backend == home)
assert(gb.devices()[gb.buffer("int32", 4):device() + 1].backend == home)
local at, launched = gb.get("Plain", 1):where()
assert(at == home and launched == home, at)
at, launched = gb.get("Placed", 1):where()         -- it was placed on a GPU
assert(at == "software" and launched == "software", at)
print("done")
]==]

-- Two files: one in the folder, one beside it whose name begins as the folder's does.
local files = [==[
local gb = require "gb"
local want_inside, want_beside = tonumber((...)), tonumber((select(2, ...)))
local b = assert(gb.buffer("int32", { 1, 2, 3, 4 }))
local function direct() return gb.device().files_direct, gb.device().files end
local function way(path)
  local before, all = direct()
  assert(b:save(path))
  local c = assert(gb.buffer("int32", 4))
  assert(c:load(path))
  assert(c:download()[3] == 4)
  local after, all_after = direct()
  assert(all_after - all == 2, all_after - all)
  return after - before
end
local here = os.getenv("PWD")
local got = way(here .. "/data/x.bin")
assert(got == want_inside, "inside: " .. got)
got = way(here .. "/data-other/x.bin")
assert(got == want_beside, "beside: " .. got)
got = way("data/y.bin")                            -- by a path that begins nowhere
assert(got == want_inside, "relative: " .. got)
print("done")
]==]

-- Launches of plans are told while they go one by one.
local profile = [==[
local gb = require "gb"
assert(gb.device().backend == "software")
local K = assert(gb.kernels { name = "timed", source = [[
extern "C" __global__ void plus(int *n) { n[0] += 1; }
extern "C" __global__ void never(int *n) { n[0] = 0; }]] })
local d = assert(gb.buffer("int32", 1))
for _ = 1, 20 do assert(K.plus:run({ grid = 1, block = 1 }, d)) end
local t = assert(K.plus:stats())
assert(t.launches == 20 and t.failed == 0 and t.p50 > 0 and t.p50 <= t.max)
local shape = { grid = 1, block = 1 }
local plan = gb.plan(K):launch("plus", shape, "d"):launch("plus", shape, "d")
for _ = 1, 3 do assert(plan:run { d = d }) end
local replays, told = plan:stats().replays, K.plus:stats().launches
assert(replays == 2 and told == 22, replays .. " " .. told)
assert(K.never:stats().launches == 0 and d:download()[0] == 26)
print("done")
]==]

-- It is the host's: counted, and no device has less for it.
local pinned = [==[
local gb = require "gb"
assert(gb.device().backend == "software")
local before, free = gb.device().memory_pinned, gb.device().memory_free
local x = assert(gb.array("float", 5000, { kind = "pinned" }))
local d = assert(gb.buffer("float", 1000, { kind = "pinned" }))
assert(gb.device().memory_pinned - before == 24000)
assert(gb.device().memory_free == free)
x:free() d:free()
assert(gb.device().memory_pinned == before)
print("done")
]==]

local function case(name, script, flags, arguments, more)
  local out = { name, files = { ["a.lua"] = script, ["app/devices.lua"] = common },
    run = ("--workers 1 %s a.lua %s"):format(flags, arguments), env = environment, out = "done\n" }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end

return {
  case("a GPU is preferred", hints, "", "software"),
  case("prefer_gpu by a flag", hints, "--prefer-gpu no", "cpu"),
  case("prefer_gpu by the environment", hints, "", "cpu",
    { env = environment .. "GB_PREFER_GPU=no" }),
  case("prefer_gpu in the file", hints, "", "cpu",
    { files = { ["a.lua"] = hints, ["app/devices.lua"] = common,
      ["gpubridge.lua"] = "return { prefer_gpu = false }" } }),
  case("prefer_gpu without a GPU", [==[
local gb = require "gb"
local D = require "devices"
assert(gb.device().backend == "cpu")
D.is("cpu", D.launch) D.is("cpu", D.batch) D.is("cpu", D.batch, { prefer_gpu = true })
print("done")
]==], "--prefer-gpu no", "", { env = "GB_CUDA_LIBRARY=/nowhere/libcuda.so" }),
  case("prefer_gpu takes yes or no", "", "--prefer-gpu maybe", "",
    { code = 2, out = "", err = { "prefer-gpu", "maybe" } }),
  case("profiling on a GPU", profile, "--profiling", ""),
  case("page-locked memory beside a GPU", pinned, "", ""),
  case("files by cuFile", files, "", "2 2"),
  case("staged_files by a flag", files, "--staged-files", "0 0"),
  case("staged_files by the environment", files, "", "0 0",
    { env = environment .. "GB_STAGED_FILES=yes" }),
  case("direct_folder by a flag", files, '--direct-folder "$PWD/data"', "2 0"),
  case("direct_folder with a slash", files, '--direct-folder "$PWD/data/"', "2 0"),
  case("direct_folder that is not there", files, "--direct-folder /nowhere/at/all", "0 0"),
  case("direct_folder and staged_files", files, '--staged-files --direct-folder "$PWD/data"',
    "0 0"),
}
