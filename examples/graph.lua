-- Graphs: breadth first search, PageRank and shortest paths of gb.lib, on the packages of this
-- machine and on a large made graph, on every device and in plain Lua.
--
--   gbrun examples/graph.lua [FILE] [VERTICES]
--
-- FILE has the format of /var/lib/dpkg/status, which is also the default; where there is none,
-- data/packages.txt beside this script. An edge goes from a package to each one it needs, and costs
-- one more than that one has needs of its own. VERTICES of the made graph: 100000 when not given.
local gb = require "gb"
local beside = require "beside"
local packages_of = require "packages"
local lib = gb.lib

local DAMPING, TOLERANCE, EDGES_EACH = 0.85, 1e-9, 8

-- ---- graphs in compressed rows: the edges of vertex i are rows[i] .. rows[i + 1] - 1 ----

local function package_graph(packages, edges)
  local g = { n = #packages, rows = gb.array("int32", #packages + 1),
    columns = gb.array("int32", edges), weights = gb.array("float", edges) }
  local at = 0
  for i, package in ipairs(packages) do
    for _, to in ipairs(package.needs) do
      g.columns[at], g.weights[at] = to, 1 + #packages[to + 1].needs
      at = at + 1
    end
    g.rows[i] = at
  end
  return g
end

local function made_graph(n)
  local edges = n * EDGES_EACH
  local g = { n = n, rows = gb.array("int32", n + 1),
    columns = assert(lib.integers(gb.array("int32", edges), 0, n - 1, { seed = 4 })),
    weights = assert(lib.uniform(gb.array("float", edges), { seed = 5, low = 1, high = 9 })) }
  for i = 0, n do g.rows[i] = i * EDGES_EACH end
  return g
end

-- ---- in plain Lua ----

local plain = {}

function plain.bfs(g, source)
  local rows, columns = g.rows:pointer(), g.columns:pointer()
  local levels, queue = gb.array("int32", g.n):fill(-1), gb.array("int32", g.n)
  local level, q = levels:pointer(), queue:pointer()
  local first, last = 0, 1
  level[source], q[0] = 0, source
  while first < last do
    local from = q[first]
    first = first + 1
    for e = rows[from], rows[from + 1] - 1 do
      local to = columns[e]
      if level[to] < 0 then
        level[to], q[last] = level[from] + 1, to
        last = last + 1
      end
    end
  end
  return levels
end

-- Two ranks, by turns: what a vertex without edges has is shared by all.
function plain.pagerank(g)
  local n, rows, columns = g.n, g.rows:pointer(), g.columns:pointer()
  local old, new = gb.array("double", n):fill(1 / n), gb.array("double", n)
  repeat
    local p, q, lost, change = old:pointer(), new:pointer(), 0, 0
    new:fill(0)
    for i = 0, n - 1 do
      local degree = rows[i + 1] - rows[i]
      if degree == 0 then lost = lost + p[i] end
      for e = rows[i], rows[i + 1] - 1 do
        local to = columns[e]
        q[to] = q[to] + p[i] / degree
      end
    end
    for i = 0, n - 1 do
      q[i] = (1 - DAMPING) / n + DAMPING * (q[i] + lost / n)
      change = change + math.abs(q[i] - p[i])
    end
    old, new = new, old
  until change < TOLERANCE
  return old
end

-- A binary heap of vertices by their distance: sift moves the hole at `at` up or down.
local function push(heap, v, d)
  local at = heap.n + 1
  heap.n = at
  while at > 1 and heap.d[math.floor(at / 2)] > d do
    local above = math.floor(at / 2)
    heap.v[at], heap.d[at] = heap.v[above], heap.d[above]
    at = above
  end
  heap.v[at], heap.d[at] = v, d
end

local function pop(heap)
  local v, d = heap.v[1], heap.d[1]
  local last_v, last_d, n, at = heap.v[heap.n], heap.d[heap.n], heap.n - 1, 1
  heap.n = n
  while 2 * at <= n do
    local below = 2 * at
    if below < n and heap.d[below + 1] < heap.d[below] then below = below + 1 end
    if heap.d[below] >= last_d then break end
    heap.v[at], heap.d[at] = heap.v[below], heap.d[below]
    at = below
  end
  heap.v[at], heap.d[at] = last_v, last_d
  return v, d
end

-- Dijkstra 1959.
function plain.sssp(g, source)
  local rows, columns, weights = g.rows:pointer(), g.columns:pointer(), g.weights:pointer()
  local distances, heap = gb.array("float", g.n):fill(1 / 0), { n = 0, v = {}, d = {} }
  local distance = distances:pointer()
  distance[source] = 0
  push(heap, source, 0)
  while heap.n > 0 do
    local from, d = pop(heap)
    if d == distance[from] then -- else a shorter way was found since
      for e = rows[from], rows[from + 1] - 1 do
        local to = columns[e]
        if d + weights[e] < distance[to] then
          distance[to] = d + weights[e]
          push(heap, to, distance[to])
        end
      end
    end
  end
  return distances
end

-- ---- on devices ----

local function study(g, source)
  local on = {}
  for _, device in ipairs(gb.devices()) do
    on[device.index] = { rows = beside.put(device, g.rows), columns = beside.put(device, g.columns),
      weights = beside.put(device, g.weights) }
  end
  local levels = beside.work { name = "breadth first search", limit = 0,
    lua = function() return plain.bfs(g, source) end,
    on = function(device)
      local d = on[device.index]
      return function() return (assert(lib.bfs(d.rows, d.columns, source))) end
    end }
  local ranks = beside.work { name = "PageRank", limit = 1e-7,
    lua = function() return plain.pagerank(g) end,
    on = function(device)
      local d = on[device.index]
      local options = { damping = DAMPING, tolerance = TOLERANCE, rounds = 1000 }
      return function() return (assert(lib.pagerank(d.rows, d.columns, options))) end
    end }
  local distances = beside.work { name = "shortest paths", limit = 1e-3,
    lua = function() return plain.sssp(g, source) end,
    on = function(device)
      local d = on[device.index]
      return function() return assert(lib.sssp(d.rows, d.columns, d.weights, source)) end
    end }
  return levels, ranks, distances
end

-- ---- the job ----

local path = arg[1] or packages_of.default_path()
local vertices = arg[2] == nil and 100000 or tonumber(arg[2])
if not vertices or vertices < 1 or vertices > 1e7 or vertices % 1 ~= 0 then
  error(("VERTICES is a whole number from 1 to 1e7, got %s; usage: graph.lua [FILE] [VERTICES]")
    :format(arg[2]), 0)
end

local packages, edges = packages_of.read(path)
local source = 0 -- the package with the most needs
for i, package in ipairs(packages) do
  if #package.needs > #packages[source + 1].needs then source = i - 1 end
end
beside.begin(("%s: %d packages, %d dependencies"):format(path, #packages, edges))
local levels, ranks, distances = study(package_graph(packages, edges), source)

local reached, deepest, farthest, foremost = 0, source, source, 0
for i = 0, #packages - 1 do
  if levels[i] >= 0 then
    reached = reached + 1
    if levels[i] > levels[deepest] then deepest = i end
    if distances[i] > distances[farthest] then farthest = i end
  end
  if ranks[i] > ranks[foremost] then foremost = i end
end
local function name(node) return packages[node + 1].name end
print(("%s needs %d packages, %s at the end of a chain of %d"):format(name(source), reached - 1,
  name(deepest), levels[deepest]))
print(("the dearest of them is %s, at %g; most depends on %s"):format(name(farthest),
  distances[farthest], name(foremost)))
print ""
beside.begin(("a made graph: %d vertices, %d edges"):format(vertices, vertices * EDGES_EACH))
study(made_graph(vertices), 0)

beside.finish()
