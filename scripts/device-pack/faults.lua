-- faults.lua trap|item|bound: a kernel that traps, an item of a batch that makes it trap, a kernel
-- that does not end. On a GPU each costs the device, and work goes on elsewhere; on the CPU they
-- cost nothing.
local gb = require "gb"
local core = require "gb.core"

local K = assert(gb.kernels { name = "faults", source = [=[
extern "C" __global__ void add(int *x, int by) { x[threadIdx.x] += by; }
extern "C" __global__ void trap(int *x) { if (x[0] >= 0) __trap(); }
extern "C" __global__ void endless(volatile int *x) { while (x[0] == 0) { } }
]=] })
gb.catalog.register("twice", { kernel = "twice", source = [=[
extern "C" __global__ void twice(const int *x, int *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n && x[i] < 0) __trap();
  if (i < n) y[i] = 2 * x[i];
}]=] })
local one, is_cpu = { grid = 1, block = 4 }, core.device_info().backend == "cpu"

local function equal(got, want, what)
  if got ~= want then
    error(("%s: %s, not %s"):format(what, tostring(got), tostring(want)), 2)
  end
end

local function lost() return gb.devices()[1].lost or "-" end

local function works_on()
  for by = 1, 3 do
    local x = gb.array("int32", 4)
    assert(K.add:run(one, x, by))
    equal(x[3], by, "a launch afterwards")
  end
end

local cases = {}

function cases.trap()
  works_on()
  local value, message, code = K.trap:run(one, gb.array("int32", 4))
  equal(value, nil, "a trap") equal(code, is_cpu and "ETRAP" or "ELOST", message)
  equal(lost(), is_cpu and "-" or "kernel", "device 0")
  if not is_cpu then assert(gb.device().index ~= 0, "work stays on the lost device") end
  works_on()
end

function cases.item()
  local items = {}
  for i = 1, 100 do items[i] = i == 42 and -1 or i end
  local out, message, code, partial = gb.batch("twice"):execute(items)
  equal(out, nil, "a bad item") equal(code, "ETRAP", message)
  equal(#partial.failed, 1, "failed items")
  equal(partial.failed[1].first, 42, "the first") equal(partial.failed[1].last, 42, "the last")
  equal(partial.results[41], 82, "item 41") equal(partial.results[100], 200, "item 100")
  equal(lost(), is_cpu and "-" or "kernel", "device 0")
  works_on()
end

function cases.bound()
  local start = gb.monotonic()
  local value, message, code = K.endless:run({ grid = 1, block = 1, bound = "200ms" },
    gb.array("int32", 1))
  equal(value, nil, "a kernel past its bound") equal(code, "ETIMEDOUT", message)
  print(("R past_its_bound_ms %.1f"):format((gb.monotonic() - start) * 1e3))
  equal(lost(), is_cpu and "-" or "bound", "device 0")
  works_on()
end

assert(cases[arg[1]], "usage: faults.lua trap|item|bound")()
