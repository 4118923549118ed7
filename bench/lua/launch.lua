-- What a launch from Lua costs beyond its work: a cached small kernel on a device buffer, in
-- microseconds.
local gb = require "gb"

local K = assert(gb.kernels { name = "launch", source = [==[
extern "C" __global__ void touch(float *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = x[i] * 2.0f + 1.0f;
}
]==] })

local function launch_us(threads, count)
  local x = assert(gb.buffer("float", threads))
  x:fill(1)
  for _ = 1, 1000 do assert(K.touch:run(threads, x, threads)) end
  local start = gb.monotonic()
  for _ = 1, count do K.touch:run(threads, x, threads) end
  local us = (gb.monotonic() - start) / count * 1e6
  x:free()
  return us
end

print(("R launch_1_thread_us %.3f"):format(launch_us(1, 200000)))
print(("R launch_1000_threads_us %.3f"):format(launch_us(1000, 200000)))
