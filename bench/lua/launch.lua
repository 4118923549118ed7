-- What a launch from Lua costs beyond its work: a cached small kernel on a device buffer, in
-- microseconds; one of more threads than elements; and one that is not waited for.
-- $GB_BENCH_QUICK: few launches, for self-checks.
local gb = require "gb"

local K = assert(gb.kernels { name = "launch", source = [==[
extern "C" __global__ void touch(float *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = x[i] * 2.0f + 1.0f;
}
]==] })

local function launch_us(threads, count, n)
  n = n or threads
  local x = assert(gb.buffer("float", n))
  x:fill(1)
  for _ = 1, 1000 do assert(K.touch:run(threads, x, n)) end
  local start = gb.monotonic()
  for _ = 1, count do K.touch:run(threads, x, n) end
  local us = (gb.monotonic() - start) / count * 1e6
  x:free()
  return us
end

-- Futures of one queue end in order, so the last stands for all.
local function async_us(threads, count)
  local x = assert(gb.buffer("float", threads))
  local start, last = gb.monotonic(), nil
  for i = 1, count do
    last = K.touch:async(threads, x, threads)
    if i % 256 == 0 then assert(last:await()) end
  end
  assert(last:await())
  return (gb.monotonic() - start) / count * 1e6
end

local count = (os.getenv "GB_BENCH_QUICK" or "") ~= "" and 500 or 200000
print(("R launch_1_thread_us %.3f"):format(launch_us(1, count)))
print(("R launch_1000_threads_us %.3f"):format(launch_us(1000, count)))
print(("R launch_4096_threads_of_1000_us %.3f"):format(launch_us(4096, count, 1000)))
print(("R launch_async_us %.3f"):format(async_us(1000, count)))
