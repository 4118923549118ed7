-- lib.lua: how fast is gb.lib on the cpu backend against the same work written by hand in C++ with
-- threads (bench/peers/lib.cc)? One line each: ours, the peer's, peer / ours (bar 0.8; sort 0.5).
local gb = require "gb"
local lib = gb.lib
local n, sort_n, rounds = 2 ^ 24, 2 ^ 22, 7

local x, y, z = gb.array("float", n), gb.array("float", n):fill(1), gb.array("float", n)
local p, state = x:pointer(), 1
for i = 0, n - 1 do
  state = (state * 1664525 + 1013904223) % 2 ^ 32
  p[i] = math.floor(state / 256) / 2 ^ 24
end

local keys = gb.array("float", sort_n)
local works = {
  { "add", 0.8, function() return lib.add(x, y, { out = z }) end },
  { "sum", 0.8, function() return lib.sum(x) end },
  { "scan", 0.8, function() return lib.scan(x, { out = z }) end },
  { "histogram", 0.8, function() return lib.histogram(x, 256, 0, 1) end },
  { "select", 0.8, function() return lib.select(x, ">", 0.5, { out = z }) end },
  { "sort", 0.5, function() return lib.sort(keys) end,
    function() require("ffi").copy(keys:pointer(), p, sort_n * 4) end },
}

local function measure(work)
  local times = {}
  for i = 1, rounds do
    if work[4] then work[4]() end
    local start = gb.monotonic()
    assert(work[3]())
    times[i] = gb.monotonic() - start
  end
  table.sort(times)
  return times[math.floor(rounds / 2) + 1]
end

-- $GB_BENCH_PEER: the peers, built already.
local folder = debug.getinfo(1, "S").source:match("^@(.*)lua/[^/]*$") or "bench/"
local ready = os.getenv "GB_BENCH_PEER"
local program = ready or os.tmpname()
local compile = "%s -O3 -march=native -std=c++17 -pthread -o %s %speers/lib.cc"
local built = ready and 0
  or os.execute(compile:format(os.getenv("CXX") or "c++", program, folder))
local peers = {}
if built == 0 or built == true then
  local pipe = io.popen(program)
  for line in pipe:lines() do
    local name, seconds = line:match("^R peer_(%S+) (%S+)$")
    if name then peers[name] = tonumber(seconds) end
  end
  pipe:close()
end
if not ready then os.remove(program) end
for _, work in ipairs(works) do
  local ours, peer = measure(work), peers[work[1]]
  print(("lib %-10s %8.2f ms  by hand %8s ms  ratio %s (bar %.1f)"):format(work[1], ours * 1e3,
    peer and ("%.2f"):format(peer * 1e3) or "not run",
    peer and ("%.2f"):format(peer / ours) or "-", work[2]))
end
