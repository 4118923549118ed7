-- GPUs that fail, over the software driver: whose fault it is, where work goes, who is told.
local environment = dofile((arg[2]:gsub("[^/]+$", "soft.lua")))

local common = [==[
local gb = require "gb"
local M = {}
M.K = assert(gb.kernels { name = "faults", source = [=[
extern "C" __global__ void add(int *x, int by) { x[threadIdx.x] += by; }
extern "C" __global__ void trap(int *x) { if (x[0] >= 0) __trap(); }
extern "C" __global__ void endless(volatile int *x) { while (x[0] == 0) { } }
]=] })
M.one = { grid = 1, block = 4 }
function M.add(by) local x = gb.array("int32", 4)
  local ok, message, code = M.K.add:run(M.one, x, by or 1)
  if not ok then return nil, message, code end
  return x[3]
end
function M.trap() return M.K.trap:run(M.one, gb.array("int32", 4)) end
gb.catalog.register("twice", { kernel = "twice", source = [=[
extern "C" __global__ void twice(const int *x, int *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n && x[i] < 0) __trap();
  if (i < n) y[i] = 2 * x[i];
}]=] })
gb.catalog.register("plus", { kernel = "plus", source = [=[
extern "C" __global__ void plus(int *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += 1;
}]=] })
function M.numbers(n) local a = gb.array("int32", n) for i = 0, n - 1 do a[i] = i end return a end
function M.lost() local out = {}
  for _, d in ipairs(gb.devices()) do out[#out + 1] = d.lost or "-" end
  return table.concat(out, " ")
end
function M.moved() local sum = 0
  for _, worker in ipairs(gb.resilience.stats()) do
    for _, d in ipairs(worker.devices) do sum = sum + d.moved end
  end
  return sum
end
function M.fails(code, value, message, got)
  assert(value == nil and got == code, tostring(got) .. ": " .. tostring(message))
  return message
end
return M
]==]

local placed = [==[
local gb = require "gb"
local function define(name, options)
  local T = gb.grain(name, { placement = gb.gpu(options), idle = "1h" })
  function T:on_activate() self.state.at = self.device.index end
  function T:on_deactivate(reason) gb.get("Diary", 1):tell("write", name .. " " .. reason) end
  function T:where() return self.device.index, self.device.backend, gb.device().index end
  function T:add(by) return require("faults").add(by) end
  function T:trap() return require("faults").trap() end
  return T
end
local Diary = gb.grain("Diary")
function Diary:write(text) self.state[#self.state + 1] = text end
function Diary:read() return table.concat(self.state, ", ") end
define("Easy", {})
define("Picky", { required = true })
return true
]==]

local function case(name, devices, environment_more, script, more)
  local out = { name, files = { ["a.lua"] = script, ["app/faults.lua"] = common,
    ["app/placed.lua"] = placed }, run = "--workers 2 --owns-devices no a.lua",
    env = environment(("GB_SOFTCUDA_DEVICES=%d %s"):format(devices, environment_more)),
    out = "done\n" }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end

-- A command fails while a batch runs: all of it runs again on the next device, with the items as
-- they were, in place too.
local batch = [==[
local gb = require "gb"
local F = require "faults"
local x = F.numbers(20000)
for _, id in ipairs { "twice", "plus" } do
  local out = assert(gb.batch(id):execute(x))
  for i = 0, 19999 do
    assert(x[i] == i and out[i] == (id == "twice" and 2 * i or i + 1), id .. i .. " " .. out[i])
  end
end
local list = assert(gb.batch("plus"):execute({ 1, 2, 3 }, { device = 0 }))
assert(list[1] == 2 and list[3] == 4)
local made = assert(gb.pipeline("twice"):batch_size(2):execute { 1, 2, 3 })
assert(made[3] == 6)
assert(F.lost():find("device"), F.lost())
assert(F.moved() >= 1)
print("done")
]==]

-- An item that makes the kernel trap: it takes one GPU with it and no more; on the CPU it is found.
local poison = [==[
local gb = require "gb"
local F = require "faults"
local items = {}
for i = 1, 100 do items[i] = i == 42 and -1 or i end
local out, message, code, partial = gb.batch("twice"):execute(items)
assert(out == nil and code == "ETRAP", tostring(code) .. tostring(message))
assert(#partial.failed == 1 and partial.failed[1].first == 42 and partial.failed[1].last == 42)
assert(partial.results[41] == 82 and partial.results[100] == 200)
assert(F.lost() == "kernel - - -", F.lost())
-- who insists on GPUs is told what happened
F.fails("ELOST", gb.batch("twice"):execute(items, { required = true, device = 1 }))
assert(F.lost() == "kernel kernel - -", F.lost())
print("done")
]==]

local grains = [==[
local gb = require "gb"
local F = require "faults"
require "placed"
local easy, picky, diary = gb.get("Easy", 1), gb.get("Picky", 1), gb.get("Diary", 1)
assert(easy:add(5) == 5 and picky:add(6) == 6)
local first = easy:where()
F.fails("ELOST", easy:trap())
local at, backend, here = easy:where()          -- its next call: another activation
assert(at ~= first and backend == "software" and here == at, at)
assert(easy:add(7) == 7)
F.fails("ELOST", easy:trap())
at, backend = easy:where()
assert(backend == "cpu" and easy:add(8) == 8)
assert(F.lost() == "kernel kernel -", F.lost())
-- another worker's grain hears of the device by its own launch or by word from here
local text
repeat text = F.fails("ELOST", picky:add(1)) until text:find("requires a GPU and all are lost")
F.fails("ELOST", gb.get("Picky", 2):add(1))
while select(2, diary:read():gsub("Easy device", "")) < 2 do gb.sleep("1ms") end
while not diary:read():find("Picky device") do gb.sleep("1ms") end
print("done")
]==]

-- The driver refuses launches (EDEVICE: nothing is lost). The first five are of device 0, whose
-- breaker opens; the next go elsewhere, until a trial is good.
local breaker = [==[
local gb = require "gb"
local F = require "faults"
assert(gb.device().index == 0)
for _ = 1, 5 do F.fails("EDEVICE", F.add()) end
assert(gb.device().index == 1)
for i = 1, 10 do assert(F.add(i) == i) end
local buffer = gb.buffer("int32", 4, { device = 0 })
F.fails("EBUSY", F.K.add:run(F.one, buffer, 1))
assert(F.moved() == 10, F.moved())
gb.sleep("2m")
F.fails("EDEVICE", F.add())                       -- the trial
assert(F.add(3) == 3 and gb.device().index == 1)
gb.sleep("2m")
assert(F.add(4) == 4)
assert(gb.device().index == 0)                    -- and the next trial
assert(F.K.add:run(F.one, buffer, 1) and buffer:download()[0] == 1)
assert(F.lost() == "- - -")
local stats = gb.resilience.stats()[1].devices[1]
assert(stats.failures == 6 and stats.breaker.opened == 2 and stats.breaker.state == "closed")
print("done")
]==]

-- Without another GPU a grain of gb.gpu runs on the CPU meanwhile, one that requires a GPU waits.
local to_cpu = [==[
local gb = require "gb"
local F = require "faults"
require "placed"
local easy, picky = gb.get("Easy", 1), gb.get("Picky", 1)
assert(easy:where() == 0 and picky:where() == 0)
for _ = 1, 5 do F.fails("EDEVICE", easy:add()) end
assert(easy:add(2) == 2 and F.moved() == 1)
F.fails("EBUSY", picky:add(2))
F.fails("EBUSY", F.add(2))
gb.sleep("2m")
assert(picky:add(3) == 3 and easy:add(4) == 4 and F.moved() == 1)
print("done")
]==]

local copies = [==[
local gb = require "gb"
local F = require "faults"
local x = F.numbers(100000)
local d = {}
for i = 0, 3 do d[i] = assert(gb.buffer("int32", 100000, { device = i })) end
assert(d[0]:upload(x))
for i = 1, 3 do assert(d[i]:copy_from(d[i - 1])) end
assert(d[0]:fill(0) and d[0]:copy_from(d[3]))
local y = assert(d[0]:download())
for i = 0, 99999 do assert(y[i] == i) end
-- in order with what both devices do
local futures = { F.K.add:async(F.one, d[1], 10), d[0]:copy_from(d[1], { async = true }),
  F.K.add:async(F.one, d[1], 100), F.K.add:async(F.one, d[0], 1000) }
assert(gb.all(futures))
assert(d[0]:download()[2] == 1012 and d[1]:download()[2] == 112)
local q = assert(gb.queue { priority = "high", device = 1 })
assert(F.K.add:run({ grid = 1, block = 4, queue = q }, d[1], 1) and d[1]:download()[2] == 113)
assert(#gb.devices()[1].peers == tonumber(os.getenv("GB_TEST_PEERS")))
print("done")
]==]

local bound = [==[
local gb = require "gb"
local F = require "faults"
require "placed"
local easy = gb.get("Easy", 1)
local at = easy:where()
local text = F.fails("ETIMEDOUT", F.K.endless:run({ grid = 1, block = 1, bound = "50ms" },
  gb.array("int32", 1)))
assert(text:find("passed its bound of 50 ms"), text)
assert(F.lost() == "bound - -", F.lost())
assert(F.add(3) == 3 and gb.device().index == 1)
assert(easy:add(4) == 4)
print("done")
]==]

-- Calls of the driver fail at random, by a seed (GB_SEED), while batches run; devices come back
-- meanwhile (GB_ROUNDS: so often; what fails when also depends on the threads).
-- Every batch has its results, for there is always another device; only memory may be short.
local storm = [==[
local ffi = require "ffi"
local gb = require "gb"
local F = require "faults"
ffi.cdef "void softcuda_fail(const char *text);"
local driver = ffi.load(os.getenv("GB_CUDA_LIBRARY"))
local seed = tonumber(os.getenv("GB_SEED") or 1)
local rounds = tonumber(os.getenv("GB_ROUNDS") or 20)
math.randomseed(seed)
local rows = { "execute", "cuLaunchKernel", "cuMemcpyAsync", "cuEventRecord", "cuEventQuery",
  "cuStreamCreate", "cuModuleLoadDataEx", "cuMemAlloc", "cuCtxSetCurrent" }
local codes = { 214, 46, 719, 700, 701, 999 }
local x = F.numbers(3000)
local counts = { ok = 0 }
for round = 1, rounds do
  local row, code = rows[math.random(#rows)], codes[math.random(#codes)]
  if row == "execute" and (code == 701 or code == 46) then code = 702 end -- those are of calls
  driver.softcuda_fail(("%s@%d=%d"):format(row, math.random(8), code))
  local id = math.random(2) == 1 and "twice" or "plus"
  local out, message, why = gb.batch(id):execute(x, { max_micro_batch = math.random(300, 3000) })
  counts[why or "ok"] = (counts[why or "ok"] or 0) + 1
  local where = ("seed %d, round %d, %s=%d: %s"):format(seed, round, row, code, tostring(message))
  assert(out or why == "ENOMEM", where)
  for i = 0, out and 2999 or -1 do
    assert(x[i] == i and out[i] == (id == "twice" and 2 * i or i + 1), where)
  end
  if round % 10 == 0 then gb.sleep("1100ms") end   -- resets are tried once a second
end
driver.softcuda_fail("")
assert(counts.ok >= rounds * 0.9, seed)
local stop = gb.monotonic() + 60
while F.lost() ~= "- - - -" do                       -- all of them come back
  assert(gb.monotonic() < stop, F.lost())
  gb.sleep("20ms")
end
print("done")
]==]

-- The driver says for a while that a GPU is busy, and that GPU goes on with what it was given.
local busy = [==[
local ffi = require "ffi"
local gb = require "gb"
local F = require "faults"
ffi.cdef "void softcuda_fail(const char *text);"
local driver = ffi.load(os.getenv("GB_CUDA_LIBRARY"))
local x = F.numbers(3000)
for _ = 1, 3 do
  driver.softcuda_fail("cuEventQuery@*=46")
  for _ = 1, 10 do assert(assert(gb.batch("twice"):execute(x))[2999] == 5998) end
  assert(F.lost() == "device device -", F.lost())
  driver.softcuda_fail("")
  while F.lost() ~= "- - -" do gb.sleep("1ms") end
end
print("done")
]==]

local settings = [==[
local gb = require "gb"
local core = require "gb.core"
local F = require "faults"
assert(#gb.devices() == 2 and gb.devices()[2].backend == "cpu") -- one GPU of three
local most, futures = 0, {}
for i = 1, 30 do
  futures[i] = gb.spawn(function()
    local f = F.K.add:async(F.one, gb.array("int32", 4), 1)
    most = math.max(most, core.launches())
    return f:await()
  end)
end
assert(gb.all(futures))
assert(most == 2, most)                            -- of this worker's share
F.fails("ETIMEDOUT", F.K.endless:run({ grid = 1, block = 1 }, gb.array("int32", 1)))
assert(F.lost() == "bound -", F.lost())
print("done")
]==]

return {
  case("settings", 3, "GB_SOFTCUDA_LEAKS=0 GB_MAX_DEVICES=1 GB_MAX_KERNELS=4 "
    .. "GB_KERNEL_BOUND=1500ms", settings),
  case("a batch moves on", 3, "GB_SOFTCUDA_FAIL=execute@4=214", batch),
  case("a kernel that two GPUs do not load", 3,
    "GB_SOFTCUDA_FAIL=cuModuleLoadDataEx@2=701,cuModuleLoadDataEx@3=701", [==[
local ffi = require "ffi"
local gb = require "gb"
local F = require "faults"
local x = F.numbers(3000)
assert(assert(gb.batch("twice"):execute(x, { device = 2 }))[2999] == 5998 and F.moved() == 0)
-- nor does another one, when a batch is to run there
ffi.cdef "void softcuda_fail(const char *text);"
ffi.load(os.getenv("GB_CUDA_LIBRARY")).softcuda_fail("cuModuleLoadDataEx@1=701")
assert(assert(gb.batch("twice"):execute(x, { device = 1 }))[2999] == 5998 and F.moved() == 1)
assert(F.lost() == "- - - -", F.lost())
print("done")
]==]),
  case("kernels are looked at elsewhere", 2, "GB_SOFTCUDA_FAIL=cuModuleLoadDataEx@1=719", [==[
local F = require "faults"                         -- opens kernels
assert(F.lost() == "kernel - -", F.lost())
assert(F.add(3) == 3)
print("done")
]==]),
  case("and on", 3, "GB_SOFTCUDA_FAIL=execute@3=214,execute@9=214,execute@17=999", batch),
  case("a bad item takes one GPU", 3, "", poison),
  case("grains find another device", 2, "", grains),
  case("refused launches", 2,
    "GB_SOFTCUDA_FAIL=cuLaunchKernel@1=701,cuLaunchKernel@2=701,cuLaunchKernel@3=701,"
    .. "cuLaunchKernel@4=701,cuLaunchKernel@5=701,cuLaunchKernel@16=701", breaker,
    { run = "--virtual-time --workers 1 a.lua" }),
  case("refused launches, to the CPU", 1,
    "GB_SOFTCUDA_FAIL=cuLaunchKernel@1=701,cuLaunchKernel@2=701,cuLaunchKernel@3=701,"
    .. "cuLaunchKernel@4=701,cuLaunchKernel@5=701", to_cpu,
    { run = "--virtual-time --workers 1 a.lua" }),
  case("a GPU that is busy is not through", 2, "GB_SOFTCUDA_DELAY_US=5000", busy,
    { run = "--workers 2 a.lua" }),
  case("copies between devices", 3, "GB_TEST_PEERS=2 GB_CPU_DEVICES=2", copies),
  case("copies through the host", 3, "GB_TEST_PEERS=0 GB_SOFTCUDA_PEERS=0", copies),
  case("a kernel that never ends", 2, "GB_SOFTCUDA_LEAKS=0", bound),
  case("said once", 2, "GB_LOG_LEVEL=warn", grains,
    { err = { "device 0 is lost: cuda device 0", "device 1 is lost: cuda device 1",
      "on_activate of Picky/2 failed: Picky/2 requires a GPU and all are lost" } }),
  case("a storm", 3, "", storm, { run = "--workers 2 a.lua" }),
}
