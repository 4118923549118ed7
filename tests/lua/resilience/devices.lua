-- The CPU as four devices: which one a grain gets and keeps, copies between them, breakers of
-- devices and kernels, launches at once. In virtual time.
local gb = require "gb"
local core = require "gb.core"
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local eq, ok, fails, raises = kit.eq, kit.ok, kit.fails, kit.raises

local devices = gb.devices()
eq(#devices, 4)

local K = assert(gb.kernels { name = "faults", source = [==[
extern "C" __global__ void add(int *x, int by) { x[threadIdx.x] += by; }
extern "C" __global__ void trap(int *x) { if (x[0] >= 0) __trap(); x[1] = 7; }
extern "C" __global__ void fill(int *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = i;
}
]==] })
local one = { grid = 1, block = 4 }

local reasons = {}
local function place(name, options)
  local T = gb.grain(name, { placement = gb.gpu(options), idle = "1h" })
  function T:where() return self.device.index end
  function T:here() return gb.device().index end
  function T:bye() return self:deactivate() end
  function T:add(x) local good, message, code = K.add:run(one, x, 1)
    if not good then return nil, message, code end
    return x
  end
  function T:trap(good_one)
    local x = gb.array("int32", 4)
    if good_one then x[0] = -1 end
    local good, message, code = K.trap:run(one, x)
    if not good then return nil, message, code end
    return x[1]
  end
  function T:on_deactivate(reason) reasons[#reasons + 1] = reason end
  return T
end
place("Balanced", { policy = "balanced" })
place("Affine", { policy = "affinity" })
place("Scored", { memory = "1MB" })

local function spread(name, count, method)
  local counts = { [0] = 0, 0, 0, 0 }
  local where = {}
  for i = 1, count do
    local at = ok(gb.get(name, i)[method or "where"](gb.get(name, i)))
    counts[at] = counts[at] + 1
    where[i] = at
  end
  return counts, where
end
local function bye(name, count)
  for i = 1, count do ok(gb.get(name, i):bye()) end
  gb.sleep("1s")
end

kit.case("balanced: as many on each, also after some have gone", function()
  kit.same(spread("Balanced", 40), { [0] = 10, 10, 10, 10 })
  for i = 1, 40 do
    if gb.get("Balanced", i):where() == 2 then ok(gb.get("Balanced", i):bye()) end
  end
  gb.sleep("1s")
  for i = 41, 50 do eq(gb.get("Balanced", i):where(), 2, "the emptiest") end
  bye("Balanced", 50)
  for i = 0, 3 do eq(core.device_claim(i, 0), 0, "nobody is left") end
end)

kit.case("affinity: the same device at every activation; only those of a device that goes move",
  function()
    local counts, before = spread("Affine", 200)
    for i = 0, 3 do ok(counts[i] > 20, counts[i]) end
    bye("Affine", 200)
    local _, again = spread("Affine", 200)
    kit.same(again, before)
    bye("Affine", 200)
    ok(gb.resilience.isolate(1))
    local _, without = spread("Affine", 200)
    for i = 1, 200 do
      if before[i] == 1 then ok(without[i] ~= 1) else eq(without[i], before[i]) end
    end
    bye("Affine", 200)
    ok(gb.resilience.reset(1))
    _, again = spread("Affine", 200)
    kit.same(again, before)
    bye("Affine", 200)
  end)

kit.case("score: free memory decides where nothing waits", function()
  local bytes = math.floor(devices[1].memory_total / 4)
  local full = {}
  for _, index in ipairs { 0, 1, 3 } do
    full[#full + 1] = ok(gb.buffer("uint8", bytes, { device = index }))
  end
  eq(gb.get("Scored", 1):where(), 2)
  for _, one_buffer in ipairs(full) do one_buffer:free() end
end)

kit.case("a device of one's own choice, and one that does not exist", function()
  place("Third", { device = 3 })
  eq(gb.get("Third", 1):where(), 3)
  eq(gb.get("Third", 1):here(), 3, "its launches run there")
  place("Ninth", { device = 9 })
  fails("EDEVICE", "Ninth/1 asks for device 9; there are 4 (0 .. 3)", gb.get("Ninth", 1):where())
  place("Gpu", { required = true })
  fails("ENOGPU", "Gpu/1 requires a GPU and there is none", gb.get("Gpu", 1):where())
  place("Huge", { memory = "900TB" })
  fails("ENOMEM", "~no device has .* MB free for Huge/1", gb.get("Huge", 1):where())
  raises("~device is the index of a device, from 0", gb.gpu, { device = -1 })
  raises("~unknown policy 'affinty'; did you mean 'affinity'", gb.gpu, { policy = "affinty" })
  raises("~unknown option 'divice'; did you mean 'device'", gb.gpu, { divice = 1 })
  raises("~required is true or false, got string", gb.gpu, { required = "yes" })
  raises("~there is no device 9: valid 0 .. 3", gb.queue, { device = 9 })
  raises("~unknown priority 'hihg'; did you mean 'high'", gb.queue, { priority = "hihg" })
end)

kit.case("copies between devices keep the order of both", function()
  local n = 100000
  local a = ok(gb.buffer("int32", n, { device = 0 }))
  local b = ok(gb.buffer("int32", n, { device = 2 }))
  for round = 1, 5 do
    local futures = { K.fill:async(n, a, n), b:copy_from(a, { async = true }),
      K.add:async({ grid = 1, block = 4 }, b, round),
      a:copy_from(b, { count = 10, from_offset = 100, offset = 50, async = true }),
      a:fill(-1, { offset = 0, count = 10, async = true }) }
    ok(gb.all(futures))
    local got = b:download()
    for i = 0, n - 1 do
      if got[i] ~= i + (i < 4 and round or 0) then eq(got[i], i) end
    end
    local back = a:download(nil, { count = 70 })
    eq(back[9], -1) eq(back[10], 10) eq(back[50], 100) eq(back[59], 109) eq(back[60], 60)
  end
  raises("~the buffer is on device 2, the launch on device 0", K.fill.run, K.fill,
    { threads = n, queue = gb.queue { device = 0 } }, b, n)
  fails("EINVAL", nil, a:copy_from(a, { count = 10, from_offset = 5 }))
end)

-- ---- kernels that trap ----

local function kernel_stats(name)
  for _, k in ipairs(gb.resilience.stats()[1].kernels) do
    if k.name == name then return k end
  end
end

kit.case("a kernel that traps too often in grains is refused, others are not", function()
  local grain = gb.get("Balanced", "trap")
  for _ = 1, 10 do fails("ETRAP", nil, grain:trap()) end
  fails("EBUSY", "kernel 'faults:trap': circuit open for 60 s more: 10 of 10 calls failed",
    grain:trap())
  fails("EBUSY", nil, gb.get("Balanced", "other"):trap(true))
  eq(ok(grain:add(gb.array("int32", 4)))[0], 1)
  eq(select(3, K.trap:run(one, gb.array("int32", 4))), "ETRAP", "a script decides for itself")
  local stats = kernel_stats "faults:trap"
  eq(stats.breaker.state, "open")
  eq(stats.failures, 10)
  eq(stats.breaker.rejected, 2)
  gb.sleep("60s")
  fails("ETRAP", nil, grain:trap())
  fails("EBUSY", "~the trial failed", grain:trap())
  gb.sleep("60s")
  eq(grain:trap(true), 7)
  eq(kernel_stats("faults:trap").breaker.state, "closed")
  eq(grain:trap(true), 7)
end)

kit.case("good launches count too", function()
  local grain = gb.get("Balanced", "trap")
  gb.sleep("10m")
  for _ = 1, 30 do eq(grain:trap(true), 7) end
  for _ = 1, 20 do fails("ETRAP", nil, grain:trap()) end
  eq(kernel_stats("faults:trap").breaker.state, "closed", "20 of 50")
  for _ = 1, 10 do fails("ETRAP", nil, grain:trap()) end
  eq(kernel_stats("faults:trap").breaker.state, "open", "30 of 60")
  ok(gb.resilience.reset("trap"))
  eq(grain:trap(true), 7)
end)

kit.case("a trap is not the device's fault", function()
  for _, worker in ipairs(gb.resilience.stats()) do
    for _, d in ipairs(worker.devices) do eq(d.failures, 0) end
  end
end)

kit.case("isolated by hand: a kernel, a device, all of them", function()
  local grain = gb.get("Balanced", "iso")
  local home = ok(grain:where())
  ok(gb.resilience.isolate("faults:add"))
  fails("EBUSY", "kernel 'faults:add': circuit open: isolated until it is reset",
    grain:add(gb.array("int32", 4)))
  ok(gb.resilience.reset(K.add))
  ok(gb.resilience.isolate(home))
  ok(grain:add(gb.array("int32", 4)))
  ok(grain:here() ~= home)
  local moved = 0
  for _, d in ipairs(gb.resilience.stats()[1].devices) do
    if d.index == home then moved = d.moved end
  end
  eq(moved, 1)
  local buffer = ok(gb.buffer("int32", 4, { device = home }))
  fails("EBUSY", "~^device " .. home .. ": circuit open: isolated", K.add:run(one, buffer, 1))
  for i = 0, 3 do ok(gb.resilience.isolate(i)) end
  fails("EBUSY", "~isolated until it is reset", grain:add(gb.array("int32", 4)))
  for i = 0, 3 do ok(gb.resilience.reset(i)) end
  ok(grain:add(gb.array("int32", 4)))
  eq(grain:here(), home)
  raises("~unknown kernel 'faults:ad'; did you mean 'faults:add'", gb.resilience.isolate,
    "faults:ad")
  raises("~there is no device 7: valid 0 .. 3", gb.resilience.isolate, 7)
  raises("~takes the index of a device or the name of a kernel, got nil", gb.resilience.reset)
end)

-- ---- batches ----

gb.catalog.register("faults/add", { kernel = "add2", source = [==[
extern "C" __global__ void add2(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && x[i] < 0) __trap();
    if (i < n) y[i] = x[i] + 2;
}]==] })

kit.case("batches leave out what is not in order, and kernels that only trap are refused",
  function()
    local batch = gb.batch("faults/add")
    kit.same(batch:execute({ 1, 2 }, { device = 2, high_priority = true }), { 3, 4 })
    for i = 0, 2 do ok(gb.resilience.isolate(i)) end
    kit.same(batch:execute({ 1, 2 }, { device = 2 }), { 3, 4 })
    ok(gb.resilience.isolate(3))
    fails("EDEVICE", "no device is in order", batch:execute({ 1, 2 }))
    for i = 0, 3 do ok(gb.resilience.reset(i)) end
    fails("ENOGPU", "a GPU is required and there is none",
      batch:execute({ 1 }, { required = true }))
    for _ = 1, 20 do -- one bad item says nothing of the kernel
      local _, _, code, partial = batch:execute({ 1, -1, 3 })
      eq(code, "ETRAP")
      eq(partial.results[3], 5)
    end
    gb.sleep("1h")
    for _ = 1, 10 do eq(select(3, batch:execute { -1, -1 }), "ETRAP") end
    fails("EBUSY", "~^kernel 'faults/add:add2': circuit open", batch:execute({ 1 }))
    gb.sleep("60s")
    kit.same(batch:execute({ 1 }), { 3 })
    raises("~there is no device 4: valid 0 .. 3", batch.execute, batch, { 1 }, { device = 4 })
    raises("~unknown option 'high_prioritty'; did you mean 'high_priority'", batch.execute, batch,
      { 1 }, { high_prioritty = true })
  end)

-- ---- launches at once, and those that never end ----

kit.case("so many launches at once", function()
  ok(gb.resilience.configure { max_kernels = 2 * kit.workers })
  local most, futures = 0, {}
  local x = {}
  for i = 1, 20 do
    x[i] = gb.array("int32", 200000)
    futures[i] = gb.spawn(function()
      local future = K.fill:async(200000, x[i], 200000)
      most = math.max(most, core.launches())
      return future:await()
    end)
  end
  ok(gb.all(futures))
  for i = 1, 20 do eq(x[i][199999], 199999) end
  ok(most <= 2, most)
  ok(gb.resilience.configure { max_kernels = 0 })
  raises("~max_kernels is an integer from 0", gb.resilience.configure, { max_kernels = -1 })
  raises("~unknown option 'devise'; did you mean 'device'", gb.resilience.configure,
    { devise = {} })
  raises("~ratio is a number", gb.resilience.configure, { kernel = { ratio = 0 } })
end)

-- What is past its bound is in tests/gbrun/cases_faults.lua: its thread would be left behind here.
kit.case("a bound is a time", function()
  local x = gb.array("int32", 4)
  ok(K.add:run({ grid = 1, block = 4, bound = "1m" }, x, 1))
  raises("~bound must be a number or a text like", K.add.run, K.add, { grid = 1, block = 4,
    bound = "soon" }, x, 1)
  raises("~bound: it is longer than nothing", K.add.run, K.add, { grid = 1, block = 4,
    bound = 0 }, x, 1)
end)

kit.finish()
