-- What a small launch costs from Lua. Printed, not asserted: the machine may be busy.
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"

local K = assert(gb.kernels { name = "cost", source = [==[
extern "C" __global__ void nothing() {}
extern "C" __global__ void saxpy(float a, const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}
]==] })

local function cost(name, fn)
  for _ = 1, 200 do fn() end
  local least = math.huge
  for _ = 1, 10 do
    local start = gb.monotonic()
    for _ = 1, 200 do fn() end
    least = math.min(least, (gb.monotonic() - start) / 200)
  end
  print(("%-34s %.2f us"):format(name, least * 1e6))
end

local n = 256
local x, y = gb.array("float", n), gb.array("float", n)
local dx, dy = assert(gb.buffer("float", n)), assert(gb.buffer("float", n))
cost("no argument, 256 threads", function() K.nothing:run(256) end)
cost("saxpy 256, device buffers", function() K.saxpy:run(n, 2, dx, dy, n) end)
cost("saxpy 256, host arrays", function() K.saxpy:run(n, 2, x, y, n) end)
core.device_in_place(gb.device().index, false)
cost("saxpy 256, host arrays, copied", function() K.saxpy:run(n, 2, x, y, n) end)
core.device_in_place(gb.device().index, true)
cost("the same async and await", function() K.saxpy:async(n, 2, x, y, n):await() end)
spec.equal(y[0], 0)
spec.done()
