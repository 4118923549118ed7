-- Pipelines over all workers of the silo: each compiles the kernel and runs batches of it.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
require "types.batches"

gb.catalog.register("twice", { kernel = "twice", args = { add = 1 }, source = [==[
extern "C" __global__ void twice(const float *x, float *y, float add, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * 2 + add;
}]==] })

kit.case("a pipeline uses every worker and keeps the order", function()
  local items = gb.array("float", 10000)
  for i = 0, 9999 do items[i] = i end
  local steps = 0
  local out = assert(gb.pipeline("twice"):batch_size(100):parallelism(8)
    :progress(function() steps = steps + 1 end):execute(items))
  kit.eq(#out, 10000)
  kit.eq(steps, 100)
  for i = 1, 10000 do kit.eq(out[i], (i - 1) * 2 + 1) end
end)

kit.case("a kernel that one worker registered is known to grains on all", function()
  local there = kit.elsewhere("Batches")
  kit.eq(assert(there:run("twice", { 3 }))[1], 7)
  kit.eq(assert(kit.elsewhere("Batches", true):run("twice", { 4 }))[1], 9)
  local out, message = there:run("twcie", { 1 })
  kit.eq(out, nil)
  kit.ok(message:find("unknown kernel of the catalog 'twcie'; did you mean 'twice'?", 1, true),
    message)
end)

kit.case("calls of many turns share launches, and each gets its own result", function()
  local b = gb.batch("twice"):coalesce { max_batch = 64, max_delay = "1ms" }
  local futures = {}
  for i = 1, 1000 do futures[i] = gb.spawn(function() return b:call(i) end) end
  for i = 1, 1000 do kit.eq(futures[i]:await(), 2 * i + 1) end
  local bad, message, code = b:call("text")
  kit.eq(bad, nil)
  kit.eq(code, "EINVAL")
  kit.ok(message:find("takes a number, got string", 1, true), message)
  -- a caller that is gone takes no result from the others
  local first = gb.spawn(function() return b:call(1) end)
  local second = gb.spawn(function() return b:call(2) end)
  gb.sleep(0)
  first:cancel()
  kit.eq(second:await(), 5)
end)

kit.case("gathered items are what they were when they were given", function()
  gb.catalog.register("total", { kernel = "total", item_count = 4, source = [==[
extern "C" __global__ void total(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[4 * i] + x[4 * i + 1] + x[4 * i + 2] + x[4 * i + 3];
}]==] })
  local b = gb.batch("total"):coalesce { max_delay = "20ms" }
  local item, futures = gb.array("float", 4), {}
  kit.eq(b:call(item:fill(1)), 4)
  for i = 1, 700 do -- more than a group has room for at first
    futures[i] = gb.spawn(function() return b:call(item:fill(i)) end)
    if i % 100 == 0 then futures[i + 700] = gb.spawn(function() return b:call { i, i, i } end) end
  end
  gb.sleep(0)
  item:fill(9)
  for i = 1, 700 do kit.eq(futures[i]:await(), 4 * i) end
  for i = 100, 700, 100 do
    local none, message, code = futures[i + 700]:await()
    kit.eq(none, nil)
    kit.eq(code, "EINVAL")
    kit.ok(message:find("an item has 3 elements, not 4", 1, true), message)
  end
end)

kit.case("a stream keeps the order, waits when it is full, and tells what fails", function()
  local out = {}
  local s = gb.batch("twice"):stream { size = 100, min = 100, max = 100, buffer = 250,
    delay = "1h", adaptive = true,
    out = function(value, message, code)
      out[#out + 1] = value or code
      kit.ok(value or message)
    end }
  for i = 1, 2000 do
    kit.ok(s:push(i == 700 and "bad" or i))
    kit.ok(s:stats().waiting <= 250)
  end
  kit.ok(s:stop())
  kit.eq(#out, 2000)
  for i = 1, 2000 do kit.eq(out[i], i == 700 and "EINVAL" or 2 * i + 1) end
  kit.eq(s:stats().failed, 1)
  kit.eq(s:stats().batches, 20)
  kit.eq(select(3, s:push(1)), "ECLOSED")
  local broken = gb.batch("twice"):stream { out = function() error("no room") end }
  kit.ok(broken:push(1))
  local ok, message, code = broken:stop()
  kit.eq(ok, nil)
  kit.eq(code, "EINVAL")
  kit.ok(message:find("stream: out raised", 1, true) and message:find("no room", 1, true), message)
end)

kit.case("what a kernel does wrong on another worker comes back with its items", function()
  gb.catalog.register("odd", { kernel = "odd", source = [==[
extern "C" __global__ void odd(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    if (x[i] == 7) __trap();
    y[i] = x[i];
}]==] })
  local items = {}
  for i = 1, 40 do items[i] = i end
  local out, message, code, more = gb.pipeline("odd"):batch_size(5):parallelism(4):execute(items)
  kit.eq(out, nil)
  kit.eq(code, "ETRAP")
  kit.ok(message:find("items 6 to 10", 1, true), message)
  kit.eq(#more.results, 7)
end)

kit.finish()
