-- Which packages of this machine do the others stand on? PageRank over the dependencies that dpkg
-- knows of, as a CUDA C++ kernel inside a grain.
--
--   gbrun examples/pagerank.lua [FILE] [--check]
--
-- FILE is in the format of /var/lib/dpkg/status, which is also the default; where there is none,
-- data/packages.txt beside this script. --check compares with plain Lua and fails past 1e-6.
--
-- An edge goes from a package to each one it needs: Depends and Pre-Depends, of alternatives
-- ("a | b") the first that is there, of virtual packages (Provides) the first provider.
local gb = require "gb"

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

-- Packages in the order of the file: { name, needs = { { alternatives }, ... } }, and who provides
-- what.
local function read_packages(path)
  local file, message = io.open(path, "rb")
  if not file then error(("cannot open the package list: %s"):format(message), 0) end
  local text = file:read("*a")
  file:close()
  if not text then error(("%s cannot be read: is it a file?"):format(path), 0) end
  local packages, providers, known = {}, {}, {}
  for stanza in (text .. "\n\n"):gmatch("(.-)\n\n+") do
    local fields = {}
    for name, value in ("\n" .. stanza):gmatch("\n([%w-]+):[ \t]*([^\n]*)") do
      fields[name] = value
    end
    local installed = not fields.Status or fields.Status:find(" installed$")
    if fields.Package and installed and not known[fields.Package] then -- one per architecture
      known[fields.Package] = true
      local needs = {}
      for _, field in ipairs { "Pre-Depends", "Depends" } do
        for clause in (fields[field] or ""):gmatch("[^,]+") do
          local alternatives = {}
          for one in clause:gmatch("[^|]+") do
            alternatives[#alternatives + 1] = one:match("^%s*([%w.+-]+)")
          end
          needs[#needs + 1] = alternatives
        end
      end
      packages[#packages + 1] = { name = fields.Package, needs = needs }
      for one in (fields.Provides or ""):gmatch("[^,]+") do
        local virtual = one:match("^%s*([%w.+-]+)")
        if virtual and not providers[virtual] then providers[virtual] = fields.Package end
      end
    end
  end
  if #packages == 0 then error(("%s names no installed packages"):format(path), 0) end
  return packages, providers
end

-- Which node a list of alternatives means, or nil when none is installed.
local function resolve(alternatives, node_of, providers)
  for _, name in ipairs(alternatives) do
    local node = node_of[name] or node_of[providers[name]]
    if node then return node end
  end
end

local function build_graph(packages, providers)
  local n, node_of = #packages, {}
  for i, package in ipairs(packages) do node_of[package.name] = i - 1 end
  local into, out_degree, edges = {}, gb.array("int32", n), 0
  for i = 0, n - 1 do into[i] = {} end
  for i, package in ipairs(packages) do
    local from, seen = i - 1, {}
    for _, alternatives in ipairs(package.needs) do
      local to = resolve(alternatives, node_of, providers)
      if to and to ~= from and not seen[to] then
        seen[to] = true
        table.insert(into[to], from)
        out_degree[from] = out_degree[from] + 1
        edges = edges + 1
      end
    end
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

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

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
  if path then return path, check end
  if exists("/var/lib/dpkg/status") then return "/var/lib/dpkg/status", check end
  return (arg[0]:match("^(.*)/") or ".") .. "/data/packages.txt", check
end

local path, check = arguments(...)
local packages, providers = read_packages(path)
local graph = build_graph(packages, providers)
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
