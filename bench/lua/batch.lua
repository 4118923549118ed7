-- Does the time of a batch grow with its items: from 1,000 to 1,000,000, as a list of numbers and
-- as an array of items of 100 numbers. time(n) / n beside that of a million in the same round; 1 is
-- a straight line. And what a batch of one item costs: the part that does not grow.
-- $GB_BENCH_QUICK: few items, for self-checks.
local gb = require "gb"

gb.catalog.register("bench/scale", { kernel = "scale", source = [==[
extern "C" __global__ void scale(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = 2 * x[i] + 1;
}]==] })
gb.catalog.register("bench/energy", { kernel = "energy", item_count = 100, source = [==[
extern "C" __global__ void energy(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float s = 0;
    for (int k = 0; k < 100; k++) s += sqrtf(fabsf(x[i * 100 + k])) * expf(-x[i * 100 + k]);
    y[i] = s;
}]==] })

local quick = (os.getenv "GB_BENCH_QUICK" or "") ~= ""
local most = quick and 10000 or 1000000
local rounds = quick and 1 or 7

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

-- The sizes take turns, so that what else the machine does meets all of them.
local function measure(name, id, make)
  local sizes, items, times, ratios = {}, {}, {}, {}
  local n = 1000
  while n <= most do
    sizes[#sizes + 1], items[n], times[n], ratios[n] = n, make(n), {}, {}
    n = n * 10
  end
  local batch = gb.batch(id)
  for round = 0, rounds do -- the first compiles, and is not counted
    local now = {}
    for _, size in ipairs(sizes) do
      local repeats = most / size -- as many items for every size; collected before and after
      collectgarbage()
      collectgarbage "stop"
      local start = gb.monotonic()
      for _ = 1, repeats do assert(batch:execute(items[size])) end
      now[size] = (gb.monotonic() - start) / repeats / size * 1e9
      collectgarbage "restart"
    end
    for _, size in ipairs(round > 0 and sizes or {}) do
      table.insert(times[size], now[size])
      table.insert(ratios[size], now[size] / now[sizes[#sizes]])
    end
  end
  for _, size in ipairs(sizes) do
    print(("R batch_%s_%d_ns_per_item %.2f"):format(name, size, median(times[size])))
    print(("R batch_%s_%d_of_linear %.3f"):format(name, size, median(ratios[size])))
  end
  local one, each = make(1), {}
  for round = 1, quick and 3 or 200 do
    local start = gb.monotonic()
    for _ = 1, 200 do assert(batch:execute(one)) end
    each[round] = (gb.monotonic() - start) / 200 * 1e6
  end
  print(("R batch_%s_1_us %.3f"):format(name, median(each)))
end

measure("list", "bench/scale", function(n)
  local out = {}
  for i = 1, n do out[i] = i end
  return out
end)
measure("array", "bench/energy", function(n)
  local out = gb.array("float", n * 100)
  for i = 0, n * 100 - 1 do out[i] = i % 7 end
  return out
end)
