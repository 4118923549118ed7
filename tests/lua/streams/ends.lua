-- Groups that are full or flushed do not wait for their delay; the script ends at once.
local gb = require "gb"

gb.catalog.register("plus", { kernel = "plus", source = [==[
extern "C" __global__ void plus(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] + 1;
}]==] })

local sum = 0
local s = gb.batch("plus"):stream { size = 10, delay = "1h", out = function(v) sum = sum + v end }
for i = 1, 15 do assert(s:push(i)) end
assert(s:flush())
assert(s:push(16))
assert(s:stop())
assert(sum == 16 * 17 / 2 + 16, sum)

local batch = gb.batch("plus"):coalesce { max_batch = 2, max_delay = "1h" }
local a, b = gb.spawn(batch.call, batch, 1), gb.spawn(batch.call, batch, 2)
assert(a:await() == 2 and b:await() == 3)
