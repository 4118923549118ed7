-- plan.lua: what a plan costs against its launches one by one (waited for each, and only at the
-- end), and fused maps against unfused ones and, on the cpu, against a loop by hand with threads
-- (bench/peers/plan.cc). Over a software driver nothing is reported: that is a check of this file.
-- $GB_BENCH_QUICK: small counts, for self-checks.
local gb = require "gb"
local quick = (os.getenv "GB_BENCH_QUICK" or "") ~= ""
local backend = gb.device().backend
local report = backend == "software" and function() end or function(name, value, digits)
  print(("R %s %." .. digits .. "f"):format(name, value))
end
print("F backend " .. backend)
local K = assert(gb.kernels { name = "bench", source = [[
extern "C" __global__ void scale(float *x, float a, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] *= a;
}]] })

-- Seconds of each work: medians, measured in turns.
local function measure(rounds, times, works)
  local all = {}
  for i in ipairs(works) do all[i] = {} end
  for round = 1, rounds do
    for i, work in ipairs(works) do
      local start = gb.monotonic()
      for _ = 1, times do work() end
      all[i][round] = (gb.monotonic() - start) / times
    end
  end
  local out = {}
  for i, list in ipairs(all) do
    table.sort(list)
    out[i] = list[math.floor(rounds / 2) + 1]
  end
  return unpack(out)
end

local n, stages = 1000, 10
local small, ten = gb.buffer("float", n), gb.plan(K)
for _ = 1, stages do ten:launch("scale", n, "x", "a", n) end
local one_by_one, queued, planned = measure(9, quick and 20 or 5000, {
  function() for _ = 1, stages do K.scale:run(n, small, 1, n) end end,
  function()
    local last
    for _ = 1, stages do last = K.scale:async(n, small, 1, n) end
    last:await()
  end,
  function() ten:run { x = small, a = 1 } end,
})
report("plan_launches_us", one_by_one * 1e6, 3)
report("plan_queued_us", queued * 1e6, 3)
report("plan_us", planned * 1e6, 3)
local stats = ten:stats()
if backend ~= "cpu" then
  report("plan_replays", stats.replays, 0)
  report("plan_fallbacks", stats.fallbacks, 0)
  report("plan_replay_saved_us", stats.replay_seconds_saved / stats.replays * 1e6, 3)
  assert(stats.replays > 0 and stats.fallbacks == 0, stats.fallback or "the plan was not replayed")
end

local count = quick and 100000 or 10000000
local x, y = gb.buffer("float", count), gb.buffer("float", count)
x:fill(0.5)
local maps = { "x * a + 1.0f", "y * y - 0.5f", "y > 0.0f ? y : -y", "y * 0.25f + x" }
local given = { { x = x, y = y, a = 2 }, { y = y }, { y = y }, { x = x, y = y } }
local fused, single = gb.plan(), {}
for i, map in ipairs(maps) do
  fused:map("y", map)
  single[i] = gb.plan():map("y", map)
end
local one, four = measure(15, 1, {
  function() assert(fused:run(given[1])) end,
  function() for i, plan in ipairs(single) do assert(plan:run(given[i])) end end,
})
report("plan_fused_ms", one * 1e3, 4)
report("plan_unfused_ms", four * 1e3, 4)
if backend ~= "cpu" or quick then return end

local folder = debug.getinfo(1, "S").source:match("^@(.*)lua/[^/]*$") or "bench/"
local program = os.tmpname()
local built = os.execute(("%s -O3 -march=native -std=c++17 -pthread -o %s %speers/plan.cc"):format(
  os.getenv("CXX") or "c++", program, folder))
if built == 0 or built == true then
  local pipe = io.popen(program)
  local seconds = tonumber(pipe:read("*a"):match "R peer_maps (%S+)")
  pipe:close()
  report("plan_by_hand_ms", seconds * 1e3, 4)
end
os.remove(program)
