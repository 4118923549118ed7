-- The program over the software driver: what doctor says, and a GPU that is lost under a host: who
-- waits hears of it, launches go to another GPU or fail, and a host that owns its GPUs works on the
-- same one again.
local environment = dofile((arg[2]:gsub("[^/]+$", "soft.lua")))

local common = [==[
local gb = require "gb"
local M = {}
M.K = assert(gb.kernels { name = "lost", source = [=[
extern "C" __global__ void add(int *x, int by) { x[threadIdx.x] += by; }
extern "C" __global__ void trap(int *x) { if (x[0] >= 0) __trap(); }
]=] })
M.one = { grid = 1, block = 4 }
function M.add(x, by) return M.K.add:run(M.one, x, by) end
-- The device is gone for this call: nil, text, ELOST.
function M.trap()
  return M.K.trap:run(M.one, gb.array("int32", 4))
end
function M.lost(ok, message, code)
  assert(ok == nil and code == "ELOST", tostring(ok) .. " " .. tostring(message))
  assert(message:find("cuda device %d"), message)
  return message
end
-- Until the device serves again; anything but ELOST on the way is wrong.
function M.again(work)
  local stop = gb.monotonic() + 60
  while true do
    local result, message, code = work()
    if result ~= nil then return result end
    assert(code == "ELOST", tostring(code) .. ": " .. tostring(message))
    assert(gb.monotonic() < stop, message)
    gb.sleep("5ms")
  end
end
return M
]==]

-- A grain that adds up on the device, with what it remembers.
local adder = [==[
local gb = require "gb"
local lost = require "lost"
local Adder = gb.grain("Adder", { idle = "1h" })
function Adder:add(by)
  self.total = self.total or gb.array("int32", 4)
  local ok, message, code = lost.add(self.total, by)
  if not ok then return nil, message, code end
  self.calls = (self.calls or 0) + 1
  return self.total[0]
end
function Adder:trap() return lost.trap() end
function Adder:where() return gb.device().index, self.calls end
return Adder
]==]

local function case(name, environment_more, script, more)
  local out = { name, files = { ["a.lua"] = script, ["app/lost.lua"] = common,
    ["app/adder.lua"] = adder }, run = "--workers 2 a.lua", env = environment(environment_more),
    out = "done\n" }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end

-- What is made once and used again: kernels, lanes, staging, scratch of gb.lib, graphs of plans.
local everything = [==[
local gb = require "gb"
local lost = require "lost"
local Adder = require "adder"
assert(gb.device().backend == "software" and not gb.device().lost)
local grain, other = gb.get(Adder, "a"), gb.get(Adder, "b")
local x = gb.array("int32", { 1, 2, 3, 4 })
local plan = gb.plan(lost.K):launch("add", lost.one, "x", "by"):reduce("x", "sum", "total")
local zeros = gb.plan():fill("z", 7):copy("z", "to"):download("to") -- no kernels, own memory
local function fill()
  return zeros:run { z = gb.array("int32", 100), to = gb.array("int32", 100) }
end
local numbers = gb.array("float", 5000)
for i = 0, 4999 do numbers[i] = i % 7 end
local function sum() return gb.lib.sum(numbers) end
local function run() return plan:run { x = x, by = 10 } end

assert(lost.add(x, 1))
assert(grain:add(5) == 5 and other:add(7) == 7)
local total, planned = assert(sum()), assert(run()).total
assert(assert(fill()).to[99] == 7)
local old = assert(gb.buffer("int32", { 1, 2, 3, 4 }))
local queue = assert(gb.queue())

for round = 1, 3 do
  if round == 2 then lost.lost(grain:trap()) else lost.lost(lost.trap()) end
  lost.again(function() return lost.add(x, 1) end)
  assert(gb.device().index == 0 and not gb.device().lost)
  -- what was made before the loss stays lost, and says so
  local text = lost.lost(old:download())
  assert(text:find("it was reset since then: open anew", 1, true), text)
  assert(lost.lost(lost.K.add:run({ grid = 1, block = 4, queue = queue }, x, 1)):find("reset"))
  -- grains go on with what they remember, and so does everything that is kept for later
  assert(grain:add(5) == 5 * (round + 1) and other:add(7) == 7 * (round + 1))
  assert(sum() == total and assert(run()).total == planned + 4 * round)
  assert(assert(fill()).to[99] == 7)
  old:free() queue:close()
  old, queue = assert(gb.buffer("int32", { 1, 2, 3, 4 })), assert(gb.queue())
  assert(lost.K.add:run({ grid = 1, block = 4, queue = queue }, old, 1))
  assert(old:download()[3] == 5)
end
assert(x[0] == 1 + 1 + 3 and x[3] == 4 + 1 + 3)
assert(select(2, grain:where()) == 4)
print("done")
]==]

-- The host may be reading pinned memory: it is freed before the device comes back.
local pinned = [==[
local gb = require "gb"
local lost = require "lost"
local x = assert(gb.array("int32", 4, { kind = "pinned" }))
assert(lost.add(x, 1) and x[0] == 1)
lost.lost(lost.trap())
for _ = 1, 20 do
  local text = lost.lost(lost.add(x, 1))
  assert(text:find("; 1 pinned or unified buffers have to be freed", 1, true), text)
  gb.sleep("1ms")
end
assert(x[0] == 1) -- it is still there
x:free()
local y = gb.array("int32", 4)
lost.again(function() return lost.add(y, 1) end)
assert(y[0] == 1)
print("done")
]==]

-- Nobody resets it: every launch fails at once and clearly; the CPU is there for who asks for it.
local not_owned = [==[
local gb = require "gb"
local lost = require "lost"
local Adder = require "adder"
local x, grain = gb.array("int32", 4), gb.get(Adder, "a")
assert(lost.add(x, 1) and grain:add(5) == 5)
lost.lost(grain:trap())
for _ = 1, 3 do
  assert(gb.device().lost and gb.devices()[1].lost and not gb.devices()[2].lost)
  lost.lost(lost.add(x, 1))
  lost.lost(grain:add(5))
  lost.lost(gb.lib.sum(x))
  lost.lost(gb.buffer("int32", 4))
end
local cpu = gb.devices()[2].index
local d = assert(gb.buffer("int32", { 1, 2, 3, 4 }, { device = cpu }))
assert(lost.add(d, 1) and d:download()[3] == 5)
assert(x[0] == 1)
print("done")
]==]

-- Another GPU takes the launches; what has its buffers on the lost one fails.
local two = [==[
local gb = require "gb"
local lost = require "lost"
local Adder = require "adder"
local x, grain = gb.array("int32", 4), gb.get(Adder, "a")
local d = assert(gb.buffer("int32", 4))
assert(lost.add(x, 1) and lost.add(d, 1) and grain:add(5) == 5)
assert(gb.device().index == 0 and grain:where() == 0)
assert(gb.device().temperature == 40 and gb.device().power == 100)
lost.lost(grain:trap())
assert(gb.device().index == 1 and grain:where() == 1)
assert(lost.add(x, 1) and x[0] == 2)
assert(grain:add(5) == 10)
assert(gb.lib.sum(x) == 8)
lost.lost(lost.add(d, 1))
lost.lost(lost.trap()) -- the other one too
lost.lost(lost.add(x, 1))
lost.lost(grain:add(5))
assert(grain:where() == 0)
print("done")
]==]

-- A command of the driver's fails while it runs, at a moment that nobody chose.
local planned = [==[
local gb = require "gb"
local lost = require "lost"
local Adder = require "adder"
local x, losses = gb.array("int32", 4), 0
local grain = gb.get(Adder, "a")
for i = 1, 30 do
  local ok, message, code = lost.add(x, 1)
  if not ok then
    assert(code == "ELOST", message)
    losses = losses + 1
    lost.again(function() return grain:add(1) end)
  end
end
assert(losses == 2, losses)
print("done")
]==]

local function doctor(name, environment_more, has, more)
  local out = { name, run = "doctor", env = environment(environment_more), has = has }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end

return {
  doctor("doctor over a driver", "", { "CUDA driver    for CUDA 12.4",
    "NVML           driver software",
    "50 % busy, 40 C, 100 W", "-> software devices are of a driver for tests and no GPUs",
    "usable: kernels run here\n" }),
  doctor("doctor and an old driver", "GB_SOFTCUDA_VERSION=11080",
    { "is for CUDA 11.8; the oldest that works is for 12.0" }, { lacks = { "% busy" } }),
  doctor("doctor and a driver that does not start", "GB_SOFTCUDA_FAIL=cuInit@*=803",
    { "-> it does not start: error 803" }, { lacks = { "% busy" } }),
  doctor("doctor and NVML that does not start", "GB_SOFTCUDA_FAIL=nvmlInit_v2@*=9",
    { "-> it does not start: error 9", "GiB free\n" }, { lacks = { "% busy" } }),
  doctor("doctor and a GPU that is too old", "GB_SOFTCUDA_ARCH=61",
    { "-> this NVRTC compiles for sm_75 and later, not for device 0 (sm_61)" }),
  case("a GPU that is owned serves again", "GB_SOFTCUDA_DEVICES=1", everything),
  case("pinned memory is freed first", "GB_SOFTCUDA_DEVICES=1", pinned),
  case("it can be disowned", "GB_SOFTCUDA_DEVICES=1 GB_OWNS_DEVICES=no", not_owned),
  case("by a flag too", "GB_SOFTCUDA_DEVICES=1", not_owned,
    { run = "--workers 2 --owns-devices no a.lua" }),
  case("another GPU takes over", "GB_SOFTCUDA_DEVICES=2 GB_OWNS_DEVICES=no", two),
  case("planned failures", "GB_SOFTCUDA_DEVICES=1 GB_SOFTCUDA_FAIL=execute@9=719,execute@40=214",
    planned),
}
