-- gb.plan: device work recorded once and run many times. The stages and the way in and out are
-- here; plan_build.lua makes a graph of them for each shape of what is bound (plan_infer.lua looks
-- at that), plan_source.lua writes the kernels of fused stages.
local core = require "gb.core"
local near = require "gb.near"
local types = require "gb.types"
local array = require "gb.array"
local kernels = require "gb.kernels"
local source = require "gb.plan_source"
local build = require "gb.plan_build"

local M = {}

local methods, meta = {}, { __gb = "plan" }
local states = setmetatable({}, { __mode = "k" })

local reductions = { sum = true, min = true, max = true, argmin = true, argmax = true }

local function state_of(plan, name)
  local state = states[plan]
  if not state then error(("call it as plan:%s(...), with a colon"):format(name), 3) end
  return state
end

-- ---- recording ----

local function slot_name(state, value, what, level)
  if type(value) ~= "string" then
    error(("%s is the name of a slot, got %s"):format(what, type(value)), level + 1)
  end
  if not source.is_name(value) then
    error(("%s: '%s' is no name for a slot: letters, digits and _, no word of C++"):format(what,
      value), level + 1)
  end
  if not state.known[value] then
    state.known[value] = true
    state.order[#state.order + 1] = value
  end
  return value
end

-- What a graph that is let go has counted stays in the plan's sums.
local function count_in(sums, graph)
  local own = core.graph_stats(graph.handle)
  for _, name in ipairs { "built", "replays", "fallbacks", "saved" } do
    sums[name] = (sums[name] or 0) + own[name]
  end
  sums.why = own.why or sums.why
end

local function drop_graphs(state)
  for _, graph in pairs(state.graphs) do count_in(state.gone, graph) end
  state.graphs, state.graph_count = {}, 0
end

local function add(state, stage, format, ...)
  stage.index = #state.stages + 1
  stage.text = ("stage %d (%s)"):format(stage.index, format:format(...))
  state.stages[stage.index] = stage
  drop_graphs(state)
  state.last = nil
end

-- Numbers of a shape that are slots make the shape: each value has a graph of its own.
local function check_shape(state, shape, level)
  local function number(value)
    if type(value) ~= "string" then return end
    state.exact[slot_name(state, value, "the shape", level + 1)] = true
  end
  number(shape)
  if type(shape) ~= "table" then
    if type(shape) ~= "number" and type(shape) ~= "string" then
      error(("launch: the shape is a number of threads, a slot or a table, got %s"):format(
        type(shape)), level + 1)
    end
    return
  end
  near.check_options("the shape of a stage", shape, { grid = true, block = true, threads = true,
    shared = true }, level + 1)
  for _, field in ipairs { "grid", "block", "threads", "shared" } do
    number(shape[field])
    if type(shape[field]) == "table" then
      for i = 1, 3 do number(shape[field][i]) end
    end
  end
end

--- A launch of a kernel of K (or its name, with gb.plan(K)); strings among the shape and the
--- arguments are slots.
function methods:launch(kernel, shape, ...)
  local state = state_of(self, "launch")
  if type(kernel) == "string" then
    if not state.K then error("launch: a kernel's name needs gb.plan(K)", 2) end
    local ok, found = pcall(function() return state.K:kernel(kernel) end)
    if not ok then error((found:gsub("^[^ ]+:%d+: ", "")), 2) end
    kernel = found
  end
  if not kernels.is_kernel(kernel) then
    error(("launch takes a kernel first (K.name), got %s"):format(type(kernel)), 2)
  end
  check_shape(state, shape, 2)
  local args = { n = select("#", ...) }
  for i = 1, args.n do
    local value = select(i, ...)
    if type(value) == "string" then
      args[i] = { slot = slot_name(state, value, ("argument %d"):format(i + 2), 2) }
    elseif array.is_array(value) or core.is_buffer(value) then
      local name = ("argument %d of stage %d"):format(i + 2, #state.stages + 1)
      state.constants[name] = value
      state.order[#state.order + 1] = name
      args[i] = { slot = name }
    else
      args[i] = { value = value }
    end
  end
  add(state, { what = "launch", kernel = kernel, shape = shape, args = args }, "launch %s",
    kernel.name)
  return self
end

--- Element-wise: slot = expression, in CUDA C++ over slots. A slot that is not there is made, with
--- the type of the option or the widest type among the arrays of the expression.
function methods:map(slot, expression, options)
  local state = state_of(self, "map")
  slot_name(state, slot, "map", 2)
  if type(expression) ~= "string" or not expression:find "%S" then
    error(("map: the expression is text over slots, \"a * x + 1.0f\", got %s"):format(
      type(expression)), 2)
  end
  if expression:find "[;{}#\n]" then
    error("map: one expression, without ; { } # or line breaks", 2)
  end
  near.check_options("map", options, { type = true }, 2)
  local kind = options and options.type and types.check(options.type, 2)
  if kind and not source.c_name(kind) then
    error(("map works on numbers and vectors, not on %s"):format(kind.name), 2)
  end
  local names = source.names(expression)
  for _, one in ipairs(names) do
    if not one.upper then slot_name(state, one.name, "map", 2) end
  end
  add(state, { what = "map", slot = slot, expression = expression, names = names, kind = kind },
    "map %s", slot)
  return self
end

--- One number of a slot: "sum", "min", "max", "argmin", "argmax". The result is a slot for later
--- stages and a number in what run gives.
function methods:reduce(slot, op, into)
  local state = state_of(self, "reduce")
  slot_name(state, slot, "reduce", 2)
  if not reductions[op] then
    error(near.unknown("reduction", tostring(op), near.keys(reductions)), 2)
  end
  slot_name(state, into, "reduce: the result", 2)
  add(state, { what = "reduce", slot = slot, op = op, into = into }, "reduce %s", slot)
  return self
end

--- The slot's elements at this place of the plan are among what run gives.
function methods:download(slot)
  local state = state_of(self, "download")
  slot_name(state, slot, "download", 2)
  add(state, { what = "download", slot = slot }, "download %s", slot)
  return self
end

--- A slot of `count` elements (a number, or a slot with one), zero at first in each graph and what
--- the last run left after that.
function methods:make(slot, type_name, count)
  local state = state_of(self, "make")
  slot_name(state, slot, "make", 2)
  local kind = types.check(type_name, 2)
  if type(count) == "string" then
    state.exact[slot_name(state, count, "make: the count", 2)] = true
  elseif type(count) ~= "number" or count % 1 ~= 0 or count < 0 then
    error("make: the count is an integer from 0, or a slot", 2)
  end
  add(state, { what = "make", slot = slot, kind = kind, count = count }, "make %s", slot)
  return self
end

--- Sets every element of a slot.
function methods:fill(slot, value)
  local state = state_of(self, "fill")
  slot_name(state, slot, "fill", 2)
  if value == nil then error("fill needs a value", 2) end
  add(state, { what = "fill", slot = slot, value = value }, "fill %s", slot)
  return self
end

--- Copies a slot to another, which is made where it is not there.
function methods:copy(from, to)
  local state = state_of(self, "copy")
  slot_name(state, from, "copy", 2)
  slot_name(state, to, "copy", 2)
  add(state, { what = "copy", slot = from, to = to }, "copy %s to %s", from, to)
  return self
end

-- ---- running ----

-- What a value is for the graph: two runs with equal texts share one.
local function shape_of(state, name, value)
  local kind = type(value)
  if kind == "number" then return state.exact[name] and "=" .. value or "n" end
  if kind == "boolean" then return "b" end
  if kind == "cdata" and source.wide(value) then return source.wide(value) end
  if array.is_array(value) then
    if value.gb_block == nil then return nil, "was freed or moved" end
    return ("a%d:%d"):format(value.gb_type, #value)
  end
  local count, type_id, device, _, _, dead = core.buffer_info(value)
  if dead then return nil, "was " .. dead end
  if count then return ("d%d:%.0f@%d"):format(type_id, count, device) end
  return nil, ("is an array, a buffer or a number, got %s"):format(kind)
end

local function check_given(state, given, level)
  if type(given) ~= "table" then
    error(("run takes a table of slots: run{ x = x }, got %s"):format(type(given)), level + 1)
  end
  for name in pairs(given) do
    if not state.known[name] then
      local known = {}
      for _, one in ipairs(state.order) do
        if state.known[one] then known[#known + 1] = one end
      end
      error(near.unknown("slot", tostring(name), known), level + 1)
    end
  end
end

-- The graph for what is given, made when this is its first use: graph, or nil, message, code, or
-- false, message (misuse).
local function graph_for(state, given, level)
  check_given(state, given, level + 1)
  local key, device = {}, nil
  for i, name in ipairs(state.order) do
    local value = given[name]
    if value == nil then value = state.constants[name] end
    local text, why
    if value == nil then
      text = ""
    else
      text, why = shape_of(state, name, value)
    end
    if not text then error(("run: '%s' %s"):format(name, why), level + 1) end
    if core.is_buffer(value) then device = device or select(3, core.buffer_info(value)) end
    key[i] = text
  end
  device = device or core.device_here()
  local lane, message, code = core.graph_lane(device)
  if not lane then return nil, message, code end
  key[#key + 1] = device .. "/" .. lane .. "/" .. core.tenant()
  key = table.concat(key, ";")
  local graph = state.graphs[key]
  if graph and not core.graph_stale(graph.handle) then return graph end
  if graph then
    count_in(state.gone, graph)
    state.graphs[key], state.graph_count = nil, state.graph_count - 1
  end
  if state.graph_count >= M.graphs_max then drop_graphs(state) end
  local start = core.monotonic()
  graph, message, code = build.graph(state, given, device, lane)
  if not graph then return graph, message, code end
  state.graphs[key], state.graph_count = graph, state.graph_count + 1
  graph.seconds = core.monotonic() - start
  state.built = state.built + 1
  return graph
end

local results_of, outcome = build.results, build.outcome

-- Until what was bound is what the graph was made for: a turn that waited may find another lane.
local function run_slowly(state, given, level)
  for _ = 1, 10 do
    local graph, message, code = graph_for(state, given, level + 1)
    if graph == false then error(message, level + 1) end
    if not graph then return nil, message, code end
    local results
    results, message, code = results_of(graph)
    if not results then return nil, message, code end
    local ok
    ok, message, code = core.graph_run(graph.handle, graph.names, given, results)
    if ok then
      state.last, state.runs = graph, state.runs + 1
      return outcome(graph, given, results)
    elseif ok == nil then
      return nil, message, code
    end
  end
  return nil, "the plan's kernels were reloaded again and again while it started", "EBUSY"
end

M.graphs_max = 64 -- kept per plan; then all are made anew

--- Runs the plan and waits: a table of what it downloaded and reduced, or nil, message, code.
function methods:run(given)
  local state = state_of(self, "run")
  local graph = state.last
  if graph and type(given) == "table" then
    local results = results_of(graph)
    if results then
      local ok, message, code = core.graph_run(graph.handle, graph.names, given, results)
      if ok then
        state.runs, state.saved = state.runs + 1, state.saved + graph.seconds
        return outcome(graph, given, results)
      elseif ok == nil then
        return nil, message, code
      end
    end
  end
  if #state.stages == 0 then error("run: the plan has no stages", 2) end
  local out, message, code = run_slowly(state, given, 2)
  return out, message, code
end

--- Counts and times: docs/plans.md says what each is.
function methods:stats()
  local state = state_of(self, "stats")
  local sums, last = {}, state.last and core.graph_stats(state.last.handle) or {}
  for name, value in pairs(state.gone) do sums[name] = value end
  for _, graph in pairs(state.graphs) do count_in(sums, graph) end
  local replayed = sums.saved or 0
  return { stages = #state.stages, nodes = state.last and state.last.nodes or 0,
    edges = last.edges or 0, queues = last.queues or 0, executions = state.runs,
    graphs = state.built, driver_graphs = sums.built or 0, replays = sums.replays or 0,
    fallbacks = sums.fallbacks or 0, fallback = sums.why, replay_seconds_saved = replayed,
    seconds_saved = state.saved + replayed }
end

meta.__index = setmetatable(methods, {
  __index = function(_, name)
    error(near.unknown("plan method", name, near.keys(methods)), 2)
  end,
})

function meta.__newindex() error("a plan is read-only: record stages with its methods", 2) end

function meta.__tostring(plan)
  return ("plan of %d stages"):format(#states[plan].stages)
end

--- gb.plan([K]): an empty plan. With K, launch also takes the names of its kernels.
function M.plan(K)
  if K ~= nil and not kernels.is_kernels(K) then
    error(("gb.plan takes the kernels of gb.kernels, got %s"):format(type(K)), 2)
  end
  local plan = setmetatable({}, meta)
  states[plan] = { K = K, stages = {}, known = {}, order = {}, exact = {}, constants = {},
    graphs = {}, gone = {}, graph_count = 0, modules = {}, runs = 0, built = 0, saved = 0 }
  return plan
end

return M
