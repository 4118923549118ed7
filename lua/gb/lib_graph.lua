-- gb.lib: graphs in compressed rows (kernels/graph.cuh).
local M = require "gb.lib_core"
local vector = require "gb.lib_vector"
require "gb.lib_sort"

local lib = {}
local int32, float = { int32 = true }, { float = true }
local RUN = 256 -- what one thread of the cpu backend takes: see kernels/graph.cuh

local kernel_types = { graph_check = "int", graph_check_sorted = "int",
  graph_check_weights = "float", bfs_step = "int", sssp_relax = "float", sssp_split = "float",
  graph_sources = "int", graph_rows = "int", pagerank_share = "double",
  pagerank_gather = "double", components_link = "int", components_root = "int",
  triangles_count = "long long" }

local function kernels(job)
  return job:kernels("graph", "graph", function()
    local out = {}
    for name, type_name in pairs(kernel_types) do out[#out + 1] = { name, name, type_name } end
    table.sort(out, function(a, b) return a[1] < b[1] end)
    return out
  end)
end

local problems = { "rows must begin with 0, never fall, and end with the number of edges",
  "columns must be vertices", "columns must ascend within each row",
  "weights must not be negative" }

-- The operands of a graph, checked on the device: kernels would read outside. sorted: each row is.
local function graph(job, rows, columns, weights, sorted)
  local g = { rows = job:input(rows, "rows", int32), columns = job:input(columns, "columns",
    int32) }
  if weights ~= nil then
    g.weights = job:input(weights, "weights", float)
    if g.weights.n ~= g.columns.n then
      job:misuse("columns has %d elements, weights has %d", g.columns.n, g.weights.n)
    end
  end
  if g.rows.n == 0 then job:misuse("rows has one element more than there are vertices, got 0") end
  g.n, g.edges, g.K = g.rows.n - 1, g.columns.n, kernels(job)
  job:bind(g.rows, g.columns)
  local bad = job:scratch("int32", 1)
  job:check(bad:fill(0))
  local most = math.max(g.n, g.edges, 1)
  job:each(g.K.graph_check, most, g.rows.memory, g.columns.memory, bad, g.n, g.edges)
  local found = job:read(bad, "int32")
  if found == 0 and weights ~= nil then
    job:bind(g.weights)
    job:each(g.K.graph_check_weights, g.edges, g.weights.memory, bad, g.edges)
    found = job:read(bad, "int32")
  end
  if found == 0 and sorted then
    job:each(g.K.graph_check_sorted, g.n, g.rows.memory, g.columns.memory, bad, g.n)
    found = job:read(bad, "int32")
  end
  if found ~= 0 then job:fail(problems[found], "EINVAL") end
  return g
end

local function set(job, memory, place, value)
  job:check(memory:fill(value, { offset = place, count = 1 }))
end

local function fill(job, memory, value, count)
  if count > 0 then job:check(memory:fill(value, { count = count })) end
end

-- Fills a result, which is an array or a buffer.
local function fill_output(job, op, value)
  if op.n == 0 then return end
  if op.memory == op.value and not op.device then
    op.value:fill(value)
  else
    job:check(op.memory:fill(value, { count = op.n }))
  end
end

local function write(job, op, place, value)
  if op.memory == op.value and not op.device then
    op.value[place] = value
  else
    set(job, op.memory, place, value)
  end
end

lib.bfs = M.entry("bfs", function(job, rows, columns, source, options)
  options = job:options(options, { out = true })
  local g = graph(job, rows, columns)
  source = job:whole(source, "source", 0, g.n - 1)
  local level = job:output(options.out, g.rows, "int32", g.n)
  fill_output(job, level, -1)
  write(job, level, source, 0)
  local queue, following = job:scratch("int32", g.n), job:scratch("int32", g.n)
  local counter, count, depth = job:scratch("int32", 1), 1, 0
  set(job, queue, 0, source)
  while count > 0 do
    depth = depth + 1
    set(job, counter, 0, 0)
    job:runs(g.K.bfs_step, count, math.ceil(count / RUN), g.rows.memory, g.columns.memory,
      queue, count, level.memory, depth, following, counter)
    count = job:read(counter, "int32")
    queue, following = following, queue
  end
  return level.value, depth - 1
end)

local INFINITY_BITS = 0x7f800000

lib.sssp = M.entry("sssp", function(job, rows, columns, weights, source, options)
  options = job:options(options, { out = true, delta = true })
  if weights == nil then job:misuse("weights is an array or a buffer, got nil") end
  local g = graph(job, rows, columns, weights)
  source = job:whole(source, "source", 0, g.n - 1)
  local delta = options.delta and job:number(options.delta, "delta")
  if delta and not (delta > 0) then job:misuse("delta must be greater than 0, got %g", delta) end
  if not delta then
    delta = g.edges > 0 and job:check(vector.mean(g.weights.value)) or 1
    delta = math.max(delta, 1e-30)
  end
  local distance = job:output(options.out, g.rows, "float", g.n)
  fill_output(job, distance, 1 / 0)
  write(job, distance, source, 0)
  local near, near_next = job:scratch("int32", g.n), job:scratch("int32", g.n)
  local far, far_next = job:scratch("int32", g.n), job:scratch("int32", g.n)
  local mark, waits = job:scratch("int32", g.n), job:scratch("int32", g.n)
  local counts = job:scratch("int32", 3)
  fill(job, mark, 0, g.n)
  fill(job, waits, 0, g.n)
  set(job, near, 0, source)
  local near_count, far_count, limit, round = 1, 0, delta, 0
  while near_count > 0 or far_count > 0 do
    round = round + 1
    set(job, counts, 0, 0)
    if near_count > 0 then
      set(job, counts, 1, far_count)
      job:runs(g.K.sssp_relax, near_count, math.ceil(near_count / RUN), g.rows.memory,
        g.columns.memory, g.weights.memory, near, near_count, distance.memory, limit, mark, waits,
        round, near_next, far, counts)
    else
      local done = limit
      limit = limit + delta
      set(job, counts, 1, 0)
      set(job, counts, 2, INFINITY_BITS)
      job:runs(g.K.sssp_split, far_count, math.ceil(far_count / RUN), far, far_count,
        distance.memory, done, limit, mark, waits, round, near_next, far_next, counts)
      far, far_next = far_next, far
    end
    local now = job:check(counts:download(nil, { count = 3 }))
    if near_count == 0 and now[0] == 0 and now[1] > 0 then -- nothing this near: go to the nearest
      local bits = require("ffi").new("union { int i; float f; }", now[2])
      limit = math.max(limit, bits.f)
    end
    near_count, far_count = now[0], now[1]
    near, near_next = near_next, near
  end
  return distance.value
end)

-- rows and sources of the edges that come in.
local function transposed(job, g)
  local sorted, source = job:scratch("int32", g.edges), job:scratch("int32", g.edges)
  local in_rows = job:scratch("int32", g.n + 1)
  job:each(M.copy_kernel(job, "int32"), g.edges, g.columns.memory, sorted, g.edges)
  job:each(g.K.graph_sources, g.n, g.rows.memory, source, g.n)
  local bits = 1
  while 2 ^ bits < g.n do bits = bits + 1 end
  sorted, source = M.sort(job, { type = "int32", memory = sorted }, { type = "int32",
    memory = source }, g.edges, false, bits)
  job:each(g.K.graph_rows, g.edges + 1, sorted, in_rows, g.n, g.edges)
  return in_rows, source
end

lib.pagerank = M.entry("pagerank", function(job, rows, columns, options)
  options = job:options(options, { out = true, damping = true, tolerance = true, rounds = true })
  local damping = job:number(options.damping or 0.85, "damping")
  local tolerance = job:number(options.tolerance or 1e-6, "tolerance")
  local rounds = job:whole(options.rounds or 100, "rounds", 1)
  if not (damping >= 0 and damping <= 1) then
    job:misuse("damping is from 0 to 1, got %g", damping)
  end
  local g = graph(job, rows, columns)
  local rank = job:output(options.out, g.rows, "double", g.n)
  if g.n == 0 then return rank.value, 0 end
  local in_rows, source = transposed(job, g)
  local share, lost = job:scratch("double", g.n), job:scratch("double", g.n)
  fill_output(job, rank, 1 / g.n)
  local round = 0
  repeat
    round = round + 1
    job:each(g.K.pagerank_share, g.n, rank.memory, g.rows.memory, share, lost, g.n)
    local all = M.total(job, "double", lost, g.n)
    if all == lost then -- one vertex: gather overwrites what it reads
      all = job:scratch("double", 1)
      job:check(all:copy_from(lost, { count = 1 }))
    end
    job:each(g.K.pagerank_gather, g.n, in_rows, source, share, all, damping, rank.memory, lost,
      g.n)
    local change = job:read(M.total(job, "double", lost, g.n), "double")
  until change < tolerance or round == rounds
  return rank.value, round
end)

lib.components = M.entry("components", function(job, rows, columns, options)
  options = job:options(options, { out = true })
  local g = graph(job, rows, columns)
  local label = job:output(options.out, g.rows, "int32", g.n)
  local parents = job:scratch("int32", g.n)
  local places = job:kernels("sort", "sort places", { { "places", "sort_places", "int" } }).places
  job:each(places, g.n, parents, g.n)
  job:each(g.K.components_link, g.n, g.rows.memory, g.columns.memory, parents, g.n)
  job:each(g.K.components_root, g.n, parents, label.memory, g.n)
  return label.value
end)

lib.triangles = M.entry("triangles", function(job, rows, columns)
  local g = graph(job, rows, columns, nil, true)
  if g.n == 0 then return 0 end
  local found = job:scratch("int64", g.n)
  job:each(g.K.triangles_count, g.n, g.rows.memory, g.columns.memory, found, g.n)
  return tonumber(job:read(M.total(job, "int64", found, g.n), "int64"))
end)

return lib
