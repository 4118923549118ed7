-- gb.lib: graphs against plain loops in Lua.
local kit = require "lib_kit"
local gb = require "gb"
local lib = gb.lib
local equal, near, raised, returned = kit.equal, kit.near, kit.raised, kit.returned

-- A random graph: lists of neighbours (from 0), and rows, columns, weights.
local function make(n, edges, both_ways)
  local lists, seen = {}, {}
  for i = 0, n - 1 do lists[i] = {} end
  local function put(u, v)
    if seen[u * n + v] then return end
    seen[u * n + v] = true
    table.insert(lists[u], v)
  end
  for _ = 1, edges do
    local u, v = kit.whole(0, n - 1), kit.whole(0, n - 1)
    if u ~= v then
      put(u, v)
      if both_ways then put(v, u) end
    end
  end
  local rows, columns = { 0 }, {}
  for i = 0, n - 1 do
    table.sort(lists[i])
    for _, v in ipairs(lists[i]) do columns[#columns + 1] = v end
    rows[i + 2] = #columns
  end
  return { n = n, lists = lists, rows = gb.array("int32", rows),
    columns = gb.array("int32", columns), weights = kit.random("float", #columns, 0, 3) }
end

-- Bellman and Ford; every weight 1 without weights.
local function distances(g, source, weighted)
  local d, changed = {}, true
  for i = 0, g.n - 1 do d[i] = 1 / 0 end
  d[source] = 0
  while changed do
    changed = false
    for u = 0, g.n - 1 do
      for k, v in ipairs(g.lists[u]) do
        local found = d[u] + (weighted and g.weights[g.rows[u] + k - 1] or 1)
        if found < d[v] then d[v], changed = found, true end
      end
    end
  end
  return d
end

local function ranks(g)
  local rank = {}
  for i = 0, g.n - 1 do rank[i] = 1 / g.n end
  for _ = 1, 60 do
    local fresh, lost = {}, 0
    for i = 0, g.n - 1 do fresh[i] = 0 end
    for u = 0, g.n - 1 do
      local out = g.lists[u]
      if #out == 0 then lost = lost + rank[u] end
      for _, v in ipairs(out) do fresh[v] = fresh[v] + rank[u] / #out end
    end
    for i = 0, g.n - 1 do rank[i] = 0.15 / g.n + 0.85 * (fresh[i] + lost / g.n) end
  end
  return rank
end

local function labels(g)
  local label, changed = {}, true
  for i = 0, g.n - 1 do label[i] = i end
  while changed do
    changed = false
    for u = 0, g.n - 1 do
      for _, v in ipairs(g.lists[u]) do
        local least = math.min(label[u], label[v])
        if label[u] ~= least or label[v] ~= least then
          label[u], label[v], changed = least, least, true
        end
      end
    end
  end
  return label
end

local function triangles(g)
  local count, has = 0, {}
  for u = 0, g.n - 1 do for _, v in ipairs(g.lists[u]) do has[u * g.n + v] = true end end
  for u = 0, g.n - 1 do
    for _, v in ipairs(g.lists[u]) do
      for _, w in ipairs(g.lists[v]) do
        if u < v and v < w and has[u * g.n + w] then count = count + 1 end
      end
    end
  end
  return count
end

kit.both(function(_, put)
  for _, shape in ipairs { { 1, 0 }, { 33, 20 }, { 256, 900 }, { 257, 900 }, { 3000, 4000 } } do
    local g = make(shape[1], shape[2])
    local rows, columns, weights = put(g.rows), put(g.columns), put(g.weights)
    local source = kit.whole(0, g.n - 1)
    local steps = distances(g, source)
    local level = kit.host(lib.bfs(rows, columns, source))
    kit.all(level, function(i) return steps[i] < 1 / 0 and steps[i] or -1 end, g.n, nil, "bfs")
    local want = distances(g, source, true)
    for _, delta in ipairs { false, 0.01, 100 } do
      local far = kit.host(lib.sssp(rows, columns, weights, source, { delta = delta or nil }))
      kit.all(far, want, g.n, 1e-4, "sssp")
    end
    local rank = kit.host(lib.pagerank(rows, columns, { tolerance = 1e-9 }))
    kit.all(rank, ranks(g), g.n, 1e-4, "pagerank")
    near(lib.sum(rank), 1, 1e-9, "sum of ranks")
    kit.all(kit.host(lib.components(rows, columns)), labels(g), g.n, nil, "components")
    local h = make(shape[1], shape[2], true)
    equal(lib.triangles(put(h.rows), put(h.columns)), triangles(h), "triangles")
  end
end)
-- A star, then from each ray to the first of them: more is found at once than a run holds.
kit.both(function(_, put)
  local n = 2500
  local rows, columns = gb.array("int32", n + 1), gb.array("int32", 2 * (n - 1))
  for i = 1, n - 1 do columns[i - 1], columns[n - 2 + i], rows[i] = i, 1, n - 2 + i end
  rows[n] = 2 * (n - 1)
  local level, deepest = lib.bfs(put(rows), put(columns), 0)
  kit.all(kit.host(level), function(i) return i == 0 and 0 or 1 end, n, nil, "bfs of a star")
  equal(deepest, 1)
end)
equal(#lib.components(gb.array("int32", 1), gb.array("int32", 0)), 0)

local rows, columns = gb.array("int32", { 0, 2, 3 }), gb.array("int32", { 1, 0, 0 })
raised("gb.lib.bfs: source is an integer from 0 to 1, got 2",
  function() lib.bfs(rows, columns, 2) end)
raised("gb.lib.bfs: rows has elements of float; possible: int32",
  function() lib.bfs(gb.array("float", 3), columns, 0) end)
raised("gb.lib.sssp: weights is an array or a buffer, got nil",
  function() lib.sssp(rows, columns) end)
raised("gb.lib.pagerank: damping is from 0 to 1, got 2",
  function() lib.pagerank(rows, columns, { damping = 2 }) end)
returned("EINVAL", "columns must be vertices", lib.bfs(rows, gb.array("int32", { 1, 2, 0 }), 0))
returned("EINVAL", "rows must begin with 0", lib.bfs(rows, gb.array("int32", 2), 0))
returned("EINVAL", "columns must ascend within each row", lib.triangles(rows, columns))
returned("EINVAL", "weights must not be negative",
  lib.sssp(rows, columns, gb.array("float", { 1, -1, 1 }), 0))
kit.spec.done()
