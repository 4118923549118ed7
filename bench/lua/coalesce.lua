-- coalesce.lua [GRAINS [NAME]]: one item at a time from 1000 grains, gathered into launches,
-- against plain awaited calls from as many grains, and against a launch for each item.
-- $GB_BENCH_QUICK: few calls, for self-checks.
local gb = require "gb"
local GRAINS, NAME, SIZE = tonumber(arg[1]) or 1000, arg[2] or "coalesce", 100
local quick = (os.getenv "GB_BENCH_QUICK" or "") ~= ""
local COUNT = quick and 5e3 or 5e5

gb.catalog.register("bench/sum", { kernel = "total", item_count = SIZE, source = [[
extern "C" __global__ void total(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float sum = 0;
    for (int k = 0; k < 100; k++) sum += x[i * 100 + k];
    y[i] = sum;
}]] })

local Echo = gb.grain("Echo", {})
function Echo:ping(x) return x end

local Caller = gb.grain("Caller", {})
function Caller:plain(n, key)
  local echo = gb.get(Echo, key)
  for i = 1, n do echo:ping(i) end
  return true
end
function Caller:gathered(n)
  local batch, item = gb.batch("bench/sum"), gb.array("float", SIZE):fill(0.5)
  for _ = 1, n do assert(batch:call(item) == SIZE / 2) end
  return true
end
function Caller:single(n)
  local batch, item = gb.batch("bench/sum"), gb.array("float", SIZE):fill(0.5)
  for _ = 1, n do assert(batch:execute(item)[0] == SIZE / 2) end
  return true
end

local function rate(method, count)
  local fs, start = {}, gb.monotonic()
  for k = 1, GRAINS do
    fs[k] = gb.get(Caller, k):with { timeout = "5m" }:async(method, count / GRAINS, k)
  end
  assert(gb.all(fs))
  return count / (gb.monotonic() - start)
end

-- Both in each round, so that what else the machine does meets both.
local plain, gathered, ratios, single = {}, {}, {}, {}
for round = 0, 7 do -- the first is not counted
  plain[round], gathered[round] = rate("plain", COUNT), rate("gathered", COUNT)
  ratios[round] = gathered[round] / plain[round]
  single[round] = gathered[round] / rate("single", COUNT / 5)
end
for _, list in ipairs { plain, gathered, ratios, single } do table.sort(list) end
print(("R %s_plain %.0f"):format(NAME, plain[4]))
print(("R %s_gathered %.0f"):format(NAME, gathered[4]))
print(("R %s_of_plain %.3f"):format(NAME, ratios[4]))
print(("R %s_of_single %.3f"):format(NAME, single[4]))
