-- lib.lua: how fast is gb.lib on the cpu backend against the same work written by hand in C++ with
-- threads (bench/peers/lib*.cc)? One line each: ours, the peer's, peer / ours (bar 0.8; sort 0.5).
-- lib.lua [NAME]: one work alone.
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
  for i = 0, rounds do -- the first is not counted: it compiles
    if work[4] then work[4]() end
    local start = gb.monotonic()
    assert(work[3]())
    times[i] = gb.monotonic() - start
  end
  table.sort(times)
  return times[math.ceil(rounds / 2)]
end

-- Matrices, graphs, images and random numbers, of the peers' sizes (bench/peers/lib_work.cc).

local function random(type_name, count, make)
  local out = gb.array(type_name, count)
  local q = out:pointer()
  for i = 0, count - 1 do q[i] = make(p[i % n]) end
  return out
end
local function same(value) return value end
local function byte(value) return math.floor(value * 256) end

local side, large, small = 768, 4096, 384
local a, b = random("float", side * side, same), random("float", side * side, same)
local c, d = gb.array("float", side * side), random("double", small * small, same)
local square, turned = gb.array("float", large * large), gb.array("float", large * large)
local vertices, degree = 2 ^ 18, 8
local rows = gb.array("int32", vertices + 1)
for i = 0, vertices do rows[i] = i * degree end
local columns = random("int32", vertices * degree,
  function(value) return math.floor(value * vertices) end)
local lengths = random("float", vertices * degree, same)
local width, height = 2048, 1536
local rgb, more = random("uint8", width * height * 3, byte), gb.array("uint8", width * height * 3)
local plane, other = random("float", width * height, same), gb.array("float", width * height)
local grey, halved = gb.array("uint8", width * height), rgb:view(0, width * height * 3 / 4)
local edges, weights = gb.array("uint8", width * height), gb.array("float", 25):fill(1 / 25)

for _, work in ipairs {
  { "matmul", 0.8, function() return lib.matmul(a, b, side, side, side, { out = c }) end },
  { "transpose", 0.8, function() return lib.transpose(square, large, large, { out = turned }) end },
  { "inverse", 0.8, function() return lib.inverse(d, small) end },
  { "bfs", 0.8, function() return lib.bfs(rows, columns, 0) end },
  { "sssp", 0.8, function() return lib.sssp(rows, columns, lengths, 0) end },
  { "pagerank", 0.8, function()
    return lib.pagerank(rows, columns, { rounds = 20, tolerance = 0 })
  end },
  { "convolve", 0.8, function()
    return lib.convolve(rgb, width, height, 3, weights, 5, 5, { out = more })
  end },
  { "convolvef", 0.8, function()
    return lib.convolve(plane, width, height, 1, weights, 5, 5, { out = other })
  end },
  { "resize", 0.8, function()
    return lib.resize(halved, width / 2, height / 2, 3, width, height, { out = more })
  end },
  { "grayscale", 0.8, function() return lib.grayscale(rgb, width, height, 3, { out = grey }) end },
  { "sobel", 0.8, function() return lib.sobel(grey, width, height, { out = edges }) end },
  { "uniform", 0.8, function() return lib.uniform(z, { seed = 1 }) end },
  { "normal", 0.8, function() return lib.normal(z, { seed = 1 }) end },
} do works[#works + 1] = work end

-- $GB_BENCH_PEER: the peers, built already.
local folder = debug.getinfo(1, "S").source:match("^@(.*)lua/[^/]*$") or "bench/"
local ready = os.getenv "GB_BENCH_PEER"
local program = ready or os.tmpname()
local compile = "%s -O3 -march=native -std=c++17 -pthread -o %s %speers/lib*.cc"
local built = ready and 0
  or os.execute(compile:format(os.getenv("CXX") or "c++", program, folder))

local function run_peer(name)
  local pipe = io.popen(("%s %s"):format(program, name))
  local seconds = tonumber(pipe:read("*a"):match("^R peer_%S+ (%S+)"))
  pipe:close()
  return seconds
end

-- Peer, ours, peer, ours: both see the same machine. The better one of each counts.
local is_built = built == 0 or built == true
for _, work in ipairs(works) do
  if not arg[1] or arg[1] == work[1] then
    local ours, peer
    for _ = 1, 2 do
      local by_hand, own = is_built and run_peer(work[1]), measure(work)
      if by_hand and not (peer and peer < by_hand) then peer = by_hand end
      if not (ours and ours < own) then ours = own end
    end
    print(("lib %-10s %8.2f ms  by hand %8s ms  ratio %s (bar %.1f)"):format(work[1], ours * 1e3,
      peer and ("%.2f"):format(peer * 1e3) or "not run",
      peer and ("%.2f"):format(peer / ours) or "-", work[2]))
  end
end
if not ready then os.remove(program) end
