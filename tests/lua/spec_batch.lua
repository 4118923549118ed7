-- Batches and pipelines on devices of 64 MB, that work in host memory and that do not.
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"
local equal, list, raised = spec.equal, spec.list, spec.raised

local source = [==[
extern "C" __global__ void scale(const float *x, float *y, float a, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i];
}
extern "C" __global__ void total(const double *x, double *sum, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    double s = 0;
    for (int k = 0; k < 100; k++) s += x[i * 100 + k];
    sum[i] = s;
}
extern "C" __global__ void twice(int *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] *= 2;
}
extern "C" __global__ void picky(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    if (x[i] == 13) __trap();
    y[i] = x[i] + 1;
}
extern "C" __global__ void bump(int *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    if (x[i] == -13) __trap();
    x[i] += 1;
}
extern "C" __global__ void grind(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    if (x[i] == 13) __trap();
    unsigned v = x[i];
    for (int k = 0; k < 4000; k++) v = v * 1664525u + 1013904223u;
    y[i] = v & 0xffffff;
}
extern "C" __global__ void odd(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && x[i] % 2) y[i] = x[i];
}
extern "C" __global__ void pair(const float2 *x, float *length, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) length[i] = sqrtf(x[i].x * x[i].x + x[i].y * x[i].y);
}
extern "C" __global__ void wide(const char *x, char *y, int n) { if (n > 0) y[0] = x[0]; }
extern "C" __global__ void reads(const int *x, int n) {}
]==]
local function register(name, more)
  local options = { source = source, kernel = name }
  for key, value in pairs(more or {}) do options[key] = value end
  equal(gb.catalog.register("test/" .. name, options), true)
end
register("scale", { args = { a = 3 } })
register("total", { item_count = 100 })
register("twice")
register("picky")
register("grind")
register("odd")
register("bump")
register("pair")
register("wide", { item_count = 2 ^ 20, result_count = 2 ^ 20 })
register("reads")

-- ---- results in order, for every way to cut them ----

local function orders()
  local scale = gb.batch("test/scale")
  for _, n in ipairs { 0, 1, 7, 100, 1001 } do
    for _, most in ipairs { 1000, 64, 7 } do
      local items = {}
      for i = 1, n do items[i] = i end
      local out = assert(scale:execute(items, { max_micro_batch = most }))
      equal(#out, n)
      for i = 1, n do assert(out[i] == 3 * i, i) end
      local a = gb.array("float", items)
      out = assert(scale:execute(a, { max_micro_batch = most, persistent = true }))
      equal(gb.type(out), "array") equal(#out, n)
      for i = 1, n do assert(out[i - 1] == 3 * i and a[i - 1] == i) end
    end
  end
  local stats = scale:stats()
  equal(stats.batches, 30) equal(stats.items, 2 * 3 * (1 + 7 + 100 + 1001))
  -- by the size of a micro-batch: 1000, then 64, then 7
  equal(stats.micro_batches, 2 * (1 + 1 + 1 + 2 + 1 + 1 + 2 + 16 + 1 + 1 + 15 + 143))

  local vectors = {}
  for i = 1, 20 do
    vectors[i] = i % 2 == 0 and gb.array("double", 100):fill(i) or {}
    if i % 2 == 1 then for k = 1, 100 do vectors[i][k] = i end end
  end
  local sums = assert(gb.batch("test/total"):execute(vectors))
  for i = 1, 20 do equal(sums[i], 100 * i) end

  local x = gb.array("int32", { 1, 2, 3 })
  list(assert(gb.batch("test/twice"):execute(x)):totable(), { 2, 4, 6 })
  list(x:totable(), { 1, 2, 3 }, "what was given stays as it is")
  list(assert(gb.batch("test/twice"):execute { 5, 6 }), { 10, 12 })
  equal(gb.batch("test/pair"):execute({ { 3, 4 } })[1], 5)
end

-- Long enough, once that is known, to be cut finer than into blocks and to be worked at by whoever
-- waits for it.
local function long_ones()
  local n, bit, want = 1000, require "bit", {}
  local items = gb.array("int32", n)
  for i = 0, n - 1 do
    items[i] = i + 100
    local v = items[i]
    for _ = 1, 4000 do -- in halves: a product of 32 bits each is no double
      local low, high = v % 65536, math.floor(v / 65536)
      v = (low * 1664525 + (high * 1664525 % 65536) * 65536 + 1013904223) % 2 ^ 32
    end
    want[i] = bit.band(v, 0xffffff)
  end
  local batch = gb.batch("test/grind")
  for _ = 1, 30 do
    local out = assert(batch:execute(items))
    for i = 0, n - 1 do assert(out[i] == want[i], i) end
  end
  items[501] = 13
  local ok, message, code, all = batch:execute(items)
  equal(ok, nil) equal(code, "ETRAP")
  assert(message:find("item 502: ", 1, true), message)
  equal(#all.failed, 1)
  for i = 0, n - 1 do assert(i == 501 or all.results[i] == want[i], i) end
end

-- Sizes that are measured: what they are is another spec's, here only that nothing is lost.
local function measured()
  local scale = gb.batch("test/scale")
  for _, n in ipairs { 9000, 10001, 45000 } do
    local items = gb.array("float", n)
    for i = 0, n - 1 do items[i] = i % 1000 end
    for _, persistent in ipairs { false, true, true } do
      local out = assert(scale:execute(items,
        { max_micro_batch = "auto", persistent = persistent }))
      for i = 0, n - 1 do assert(out[i] == 3 * (i % 1000), i) end
    end
  end
  assert(scale:stats().sizes[0] >= 64)
  equal(gb.batch("test/total"):stats().sizes, nil)
end

-- Arrays of lists are used again: nothing of the last list is in the next one.
local function clean()
  local odd, items = gb.batch("test/odd"), {}
  for i = 1, 300 do items[i] = 7 end
  for _, n in ipairs { 300, 100, 299, 300 } do
    local part = {}
    for i = 1, n do part[i] = n == 100 and 8 or items[i] end
    local out = assert(odd:execute(part))
    equal(#out, n)
    for i = 1, n do equal(out[i], n == 100 and 0 or 7) end
  end
  local all = {}
  for k = 1, 4 do
    all[k] = gb.spawn(function()
      local mine = {}
      for i = 1, 200 do mine[i] = 2 * k + 1 end
      for _ = 1, 5 do
        for i, v in ipairs(assert(odd:execute(mine, { max_micro_batch = 50 }))) do
          assert(v == 2 * k + 1, i)
        end
      end
      return true
    end)
  end
  for k = 1, 4 do assert(all[k]:await()) end
end

-- ---- items that fail take no others with them ----

local function failures()
  local picky = gb.batch("test/picky")
  local items = {}
  for i = 1, 100 do items[i] = i end
  local out, message, code, more = picky:execute(items, { max_micro_batch = 30 })
  equal(out, nil) equal(code, "ETRAP")
  assert(message:find("item 13: ", 1, true) and message:find("(1 of 100 items failed)", 1, true),
    message)
  equal(#more.failed, 1) equal(more.failed[1].first, 13) equal(more.failed[1].last, 13)
  for i = 1, 100 do equal(more.results[i], i ~= 13 and i + 1) end
  items[50], items[51] = "fifty", 1.5
  out, message, code, more = picky:execute(items)
  equal(out, nil) equal(code, "ETRAP") equal(#more.failed, 3)
  assert(message:find("(3 of 100 items failed)", 1, true), message)
  assert(more.failed[2].message:find("takes a number, got string", 1, true))
  equal(more.failed[3].first, 51) equal(more.results[52], 53)
  -- in their place: nothing is done to an item twice
  for i = 1, 1000 do items[i] = i ~= 700 and i or -13 end
  for _, given in ipairs { items, gb.array("int32", items) } do
    for _, most in ipairs { 5000, 300 } do
      code, more = select(3,
        gb.batch("test/bump"):execute(given, { max_micro_batch = most }))
      equal(code, "ETRAP") equal(#more.failed, 1) equal(more.failed[1].first, 700)
      for i = 1, 1000 do
        local got = more.results[given == items and i or i - 1]
        if i ~= 700 then equal(got, i + 1) elseif given ~= items then equal(got, -13) end
      end
    end
  end
  message = select(2, gb.batch("test/total"):execute({ { 1, 2 } }))
  assert(message:find("item 1: an item has 2 elements, not 100", 1, true), message)
end

-- ---- pipelines ----

local function pipelines()
  local items, seen, steps = {}, 0, {}
  for i = 1, 95 do items[i] = i end
  local out = assert(gb.pipeline("test/scale"):batch_size(10):parallelism(4)
    :filter(function(v) return v % 2 == 1 end):map(function(v) return v + 0.5 end)
    :tap(function() seen = seen + 1 end)
    :progress(function(done, all) steps[#steps + 1] = done .. "/" .. all end):execute(items))
  equal(#out, 48) equal(seen, 48) equal(out[1], 3.5) equal(out[48], 95 * 3 + 0.5)
  equal(#steps, 10) equal(steps[1], "10/95") equal(steps[10], "95/95")
  list(assert(gb.pipeline():map(function(v) return v * 2 end):kernel("test/twice")
    :execute { 1, 2 }), { 4, 8 })
  local arrays = assert(gb.pipeline("test/total"):batch_size(3)
    :execute(gb.array("double", 1000):fill(1)))
  equal(#arrays, 10) equal(arrays[10], 100)

  local message, code, more
  out, message, code, more = gb.pipeline("test/picky"):batch_size(10):execute(items)
  equal(out, nil) equal(code, "ETRAP")
  assert(message:find("items 11 to 20: ", 1, true), message)
  equal(#more.failed, 1) equal(more.failed[1].first, 11)
  equal(#more.results, 9) equal(more.results[2].first, 21) equal(more.results[2].results[1], 22)
  out, message = gb.pipeline():map(function() return nil end):execute { 1 }
  assert(out == nil and message:find("leave items out with filter", 1, true), message)
end

-- ---- a small batch is compiled ----

-- Its way through Lua holds nothing that ends a trace: no closure made, no varargs.
local function compiled()
  local ok, vmdef = pcall(require, "jit.vmdef")
  local funcinfo = require("jit.util").funcinfo
  if not ok or not jit.status() then return end
  local scale, items, x = gb.batch("test/scale"), { 1, 2, 3 }, gb.array("float", 3)
  assert(scale:execute(items) and scale:execute(x))
  local aborts = {}
  local function see(what, _, func, pc, code)
    local why = what == "abort" and vmdef.traceerr[code]
    if why and why:find("^NYI: bytecode") then
      aborts[#aborts + 1] = funcinfo(func, pc).loc
    end
  end
  jit.flush()
  jit.attach(see, "trace")
  for _ = 1, 1000 do assert(scale:execute(items) and scale:execute(x)) end
  jit.attach(see)
  equal(table.concat(aborts, " "), "")
end

for _, in_place in ipairs { true, false } do
  core.device_in_place(0, in_place)
  orders() long_ones() measured() failures() pipelines()
  if in_place then clean() compiled() end
end

-- ---- memory: micro-batches that fit, and an item that does not ----

local free = gb.device().memory_free
local wide = gb.batch("test/wide")
local out = assert(wide:execute(gb.array("int8", 70 * 2 ^ 20)))
equal(#out, 70 * 2 ^ 20)
assert(wide:stats().micro_batches >= 3, "70 MB of items do not fit 64 MB")
equal(gb.device().memory_free, free, "all is given back")
local hog = assert(gb.buffer("int8", 63 * 2 ^ 20))
local none, message, code = wide:execute(gb.array("int8", 2 ^ 20))
equal(none, nil) equal(code, "ENOMEM")
assert(message:find("one item needs 2097152 bytes", 1, true), message)
hog:free()

-- four at most, and together not more than 80 % of what was free when it began
local queue_new, queues, least = core.queue_new, 0, free
core.queue_new = function(...) queues = queues + 1 return queue_new(...) end
local long = gb.spawn(wide.execute, wide, gb.array("int8", 70 * 2 ^ 20), { max_micro_batch = 100 })
while not long:done() do
  gb.sleep(0)
  least = math.min(least, gb.device().memory_free)
end
assert(long:await())
core.queue_new = queue_new
equal(queues, 4)
assert(least < free and least >= 0.2 * free, least)

-- each micro-batch ends at once, and all of them together do not in their time
out, message, code = gb.batch("test/scale"):execute(gb.array("float", 100000),
  { max_micro_batch = 10, timeout = "1us" })
equal(out, nil) equal(code, "ETIMEDOUT")
assert(message:find("items were not begun", 1, true), message)

-- buffers that stay for the next batch; what is reserved by others is theirs
local big = gb.array("int8", 4 * 2 ^ 20)
free = gb.device().memory_free
assert(wide:execute(big, { persistent = true }))
local left = gb.device().memory_free
equal(free - left, 8 * 2 ^ 20, "items and results of four")
assert(wide:execute(big, { persistent = true }))
equal(gb.device().memory_free, left)
local both = { gb.spawn(function() return (wide:execute(gb.array("int8", 40 * 2 ^ 20))) end),
  gb.spawn(function() return (wide:execute(gb.array("int8", 40 * 2 ^ 20))) end) }
for _, one in ipairs(both) do equal(#assert(one:await()), 40 * 2 ^ 20) end
equal(gb.device().memory_free, left)
local others = assert(core.reserve(0, left - 3 * 2 ^ 20))
local before = wide:stats().micro_batches
assert(wide:execute(gb.array("int8", 2 * 2 ^ 20)))
equal(wide:stats().micro_batches - before, 2, "one at a time in what is left")
core.reserve_end(others)
core.device_in_place(0, true)

-- ---- misuse ----

raised("the id of a kernel is a string", function() gb.catalog.register(1, {}) end)
raised("catalog: file or source, one of them", function()
  gb.catalog.register("x", { kernel = "a" })
end)
for name, value in pairs { file = 1, name = {} } do
  local options = { kernel = "a", source = name ~= "file" and "" or nil, [name] = value }
  raised("catalog: " .. name .. " is a string, got " .. type(value), function()
    gb.catalog.register("x", options)
  end)
end
for _, name in ipairs { "options", "include", "instances" } do
  raised("catalog: " .. name .. " is a list of strings, got string", function()
    gb.catalog.register("x", { source = "", kernel = "a", [name] = "-DN=4" })
  end)
  raised("catalog: " .. name .. "[2] is a string, got number", function()
    gb.catalog.register("x", { source = "", kernel = "a", [name] = { "-DN=4", 5 } })
  end)
end
raised("unknown option 'kernal'", function()
  gb.catalog.register("x", { source = "", kernal = "a" })
end)
raised("unknown kernel of the catalog 'test/scal'; did you mean 'test/scale'?", function()
  gb.batch("test/scal")
end)
raised("unknown option 'max_batch'", function()
  gb.batch("test/scale"):execute({}, { max_batch = 1 })
end)
for _, most in ipairs { 0, 1.5, "all" } do
  raised(('max_micro_batch is an integer from 1 or "auto", got %s'):format(most), function()
    gb.batch("test/scale"):execute({}, { max_micro_batch = most })
  end)
end
raised("there is no device inf: valid 0", function()
  gb.batch("test/scale"):execute({}, { device = math.huge })
end)
raised("stream: adaptive is true or false, got string", function()
  gb.batch("test/scale"):stream { out = print, adaptive = "no" }
end)
raised("there is no device 9", function() gb.batch("test/scale"):execute({}, { device = 9 }) end)
raised("the items are a list or an array, got number", function()
  gb.batch("test/scale"):execute(7)
end)
raised("the items are of type double, the kernel takes float", function()
  gb.batch("test/scale"):execute(gb.array("double", 1))
end)
raised("150 elements are no whole number of items of 100", function()
  gb.batch("test/total"):execute(gb.array("double", 150))
end)
raised("stream: out is a function for the results, got nil", function()
  gb.batch("test/scale"):stream {}
end)
raised("stream: a buffer of 5 is less than one batch of 128", function()
  gb.batch("test/scale"):stream { out = print, buffer = 5 }
end)
raised("unknown option 'sise'", function()
  gb.batch("test/scale"):stream { out = print, sise = 5 }
end)
raised("coalesce: max_batch is an integer from 1, got 0", function()
  gb.batch("test/scale"):coalesce { max_batch = 0 }
end)
raised("call takes an item", function() gb.batch("test/scale"):call() end)
raised("call it as gb.batch(id):call(...), with a colon", function()
  gb.batch("test/scale").call(1)
end)
raised("batch_size is an integer from 1", function() gb.pipeline():batch_size(0) end)
raised("map takes a function, got string", function() gb.pipeline():map "x" end)
raised("the pipeline has no stages", function() gb.pipeline():execute {} end)
local freed = gb.array("float", 3)
freed:free()
raised("execute: the items were freed or moved", function()
  gb.pipeline("test/scale"):execute(freed)
end)
raised("catalog: args.a: a kernel takes no function", function()
  gb.catalog.register("test/no", { source = source, kernel = "scale", args = { a = print } })
end)
local function refused(text, want, id, ...)
  local ok, own, got = gb.batch(id):execute(...)
  equal(ok, nil) equal(got, want)
  assert(own:find(text, 1, true) or not spec.compiled(own), own)
end
refused("writes no results", "EINVAL", "test/reads", { 1 })
refused("a GPU is required", "ENOGPU", "test/scale", { 1 }, { required = true })
refused("device 0 is none", "ENOGPU", "test/scale", { 1 }, { required = true, device = 0 })
gb.catalog.register("bad/kernel", { source = source, kernel = "scall" })
refused("unknown kernel 'scall'", "ENOENT", "bad/kernel", { 1 })
gb.catalog.register("bad/args", { source = source, kernel = "scale" })
refused("nothing for parameter 'a' of scale: name it in args", "EINVAL", "bad/args", { 1 })
gb.catalog.register("bad/name", { source = source, kernel = "scale", args = { a = 1, b = 2 } })
refused("scale has no parameter 'b'", "EINVAL", "bad/name", { 1 })
gb.catalog.register("bad/value", { source = source, kernel = "scale", args = { a = "x" } })
for _, most in ipairs { 1, 10 } do
  raised("execute: argument 4 'a': expected float", function()
    gb.batch("bad/value"):execute({ 1, 2 }, { max_micro_batch = most })
  end)
end
gb.catalog.register("bad/source", { source = "nonsense", kernel = "scale" })
refused("bad/source", "ECOMPILE", "bad/source", { 1 })
gb.catalog.register("bad/file", { file = "no/such.cu", kernel = "scale" })
refused("no/such.cu", "ENOENT", "bad/file", { 1 })
spec.done()
