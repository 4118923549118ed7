-- Which packages of this machine do the others stand on? PageRank over the dependencies that dpkg
-- knows of, as a CUDA C++ kernel inside a grain.
--
--   gbrun examples/pagerank.lua [FILE] [--check]
--
-- FILE is in the format of /var/lib/dpkg/status, which is also the default; where there is none,
-- data/packages.txt beside this script. --check compares with plain Lua and fails past 1e-6.
local gb = require "gb"
local packages_of = require "packages"

local DAMPING, TOLERANCE, ITERATIONS_MAX = 0.85, 1e-12, 1000

-- ---- the grain ----

local PageRank = gb.grain("PageRank", { kernels = "kernels/pagerank.cu" })

--- The rank of every node, how many iterations it took, the device and the seconds.
function PageRank:rank(graph)
  local K, n = self.kernels, graph.n
  local start = gb.monotonic()
  local row = assert(gb.buffer("int32", graph.row))
  local source = assert(gb.buffer("int32", graph.source))
  local out_degree = assert(gb.buffer("int32", graph.out_degree))
  local rank, share = assert(gb.buffer("double", n)), assert(gb.buffer("double", n))
  local blocks = math.ceil(n / 256)
  local lost, change = assert(gb.buffer("double", blocks)), assert(gb.buffer("double", blocks))
  local changes = gb.array("double", blocks)
  assert(rank:fill(1 / n))
  local iterations, total = 0, math.huge
  while total > TOLERANCE and iterations < ITERATIONS_MAX do
    assert(K.spread:run(n, rank, out_degree, share, lost, n))
    assert(K.gather:run(n, row, source, share, lost, DAMPING, rank, change, n))
    assert(change:download(changes))
    total, iterations = 0, iterations + 1
    for _, value in ipairs(changes) do total = total + value end
  end
  return assert(rank:download()), iterations, gb.device(), gb.monotonic() - start
end

-- ---- the graph ----

-- The edges that come into each node, in compressed rows.
local function build_graph(packages, edges)
  local n, into, out_degree = #packages, {}, gb.array("int32", #packages)
  for i = 0, n - 1 do into[i] = {} end
  for i, package in ipairs(packages) do
    out_degree[i - 1] = #package.needs
    for _, to in ipairs(package.needs) do table.insert(into[to], i - 1) end
  end
  local row, source, at = gb.array("int32", n + 1), gb.array("int32", edges), 0
  for i = 0, n - 1 do
    for _, from in ipairs(into[i]) do
      source[at] = from
      at = at + 1
    end
    row[i + 1] = at
  end
  return { n = n, edges = edges, row = row:freeze(), source = source:freeze(),
    out_degree = out_degree:freeze() }
end

-- ---- the same in plain Lua ----

local function rank_in_lua(graph)
  local n, row, source, out_degree = graph.n, graph.row, graph.source, graph.out_degree
  local rank = {}
  for i = 0, n - 1 do rank[i] = 1 / n end
  for _ = 1, ITERATIONS_MAX do
    local lost, change, fresh = 0, 0, {}
    for i = 0, n - 1 do lost = lost + (out_degree[i] == 0 and rank[i] or 0) end
    for i = 0, n - 1 do
      local sum = lost / n
      for e = row[i], row[i + 1] - 1 do sum = sum + rank[source[e]] / out_degree[source[e]] end
      fresh[i] = (1 - DAMPING) / n + DAMPING * sum
      change = change + math.abs(fresh[i] - rank[i])
    end
    rank = fresh
    if change <= TOLERANCE then break end
  end
  return rank
end

-- ---- the job ----

local function arguments(...)
  local path, check
  for _, one in ipairs { ... } do
    if one == "--check" then
      check = true
    elseif one:sub(1, 1) == "-" then
      error(("unknown option %s; usage: pagerank.lua [FILE] [--check]"):format(one), 0)
    elseif path then
      error(("one file at most, got %s and %s; usage: pagerank.lua [FILE] [--check]"):format(
        path, one), 0)
    else
      path = one
    end
  end
  return path or packages_of.default_path(), check
end

local path, check = arguments(...)
local packages, edges = packages_of.read(path)
local graph = build_graph(packages, edges)
local grain = gb.get("PageRank", path):with { timeout = "5m" }
local ranks, iterations, device, seconds = assert(grain:rank(graph))

local order = {}
for i = 1, graph.n do order[i] = i end
table.sort(order, function(a, b)
  if ranks[a - 1] ~= ranks[b - 1] then return ranks[a - 1] > ranks[b - 1] end
  return packages[a].name < packages[b].name
end)
print(("%s: %d packages, %d dependencies"):format(path, graph.n, graph.edges))
print(("%d iterations in %.2f ms on device %d, %s (%s)"):format(iterations, seconds * 1e3,
  device.index, device.backend, device.name))
for place = 1, math.min(10, graph.n) do
  local i = order[place]
  print(("%3d  %-32s %.6f"):format(place, packages[i].name, ranks[i - 1]))
end

if check then
  local expected, worst = rank_in_lua(graph), 0
  for i = 0, graph.n - 1 do
    local difference = math.abs(ranks[i] - expected[i])
    if difference > worst or difference ~= difference then worst = difference end
  end
  if worst > 1e-6 or worst ~= worst then
    error(("check failed: a rank differs by %.3g from plain Lua"):format(worst), 0)
  end
  print(("check passed: no rank differs by more than %.3g from plain Lua"):format(worst))
end
