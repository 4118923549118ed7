-- Plans: from the stages and what a run binds to a graph: where every slot lies, then the nodes.
-- Maps that follow one another become one kernel, and so does a reduction behind them.
local core = require "gb.core"
local array = require "gb.array"
local buffer = require "gb.buffer"
local kernels = require "gb.kernels"
local lib = require "gb.lib_core"
local source = require "gb.plan_source"
local plan_infer = require "gb.plan_infer"

local M = {}

local misuse, check, resolve = plan_infer.misuse, plan_infer.check, plan_infer.resolve

local TO, FROM = -1, -2 -- sides of a copy, as src/lua/plan.c knows them
local SLOTS_MAX = 64 -- that a run binds, results included: GBL_ARGS_MAX

-- Calls what may raise at the user's values, in the stage's name.
local function try(stage, fn, ...)
  local ok, result, more = pcall(fn, ...)
  if not ok then
    misuse(stage, "%s", type(result) == "string" and result:gsub("^[^ ]+%.lua:%d+: ", "")
      or tostring(result))
  end
  return result, more
end

-- ---- where they lie ----

local function last_write(slot)
  for i = #slot.accesses, 1, -1 do
    if slot.accesses[i].write then return slot.accesses[i].stage end
  end
  return 0
end

-- A device buffer of the graph's own.
local function temp(b, kind, n)
  local own = check(buffer.buffer(kind.id >= 64 and kind or kind.name, n, { device = b.device }))
  b.keep[#b.keep + 1] = own
  return { value = own }
end

-- What a run brings under a name: { index = } tells the nodes.
local function bring(b, name, kind, slot, written, exact)
  local index = b.count
  if index == SLOTS_MAX then
    misuse({ text = "run" }, "at most %d slots are bound, results included", SLOTS_MAX)
  end
  b.count = index + 1
  b.names[name] = index
  local type_id = slot.kind and slot.kind.id or 0
  core.graph_slot(b.handle, index, kind, type_id, slot.n or 0, written, exact)
  return { index = index, value = slot.value }
end

local function given_kind(slot)
  if slot.array then return "array" end
  if slot.buffer then return "buffer" end
  return type(slot.value) == "boolean" and "boolean" or source.wide(slot.value) or "number"
end

-- slot.memory: what kernels work on (nil: nothing yet); slot.host: the array that is copied to or
-- from; slot.result: what run gives for a download.
local function place(b, slot)
  local written = last_write(slot)
  -- kernels work on the array itself, unless a fill or copy writes it: those need device memory
  local direct = b.in_place and slot.downloaded and written < slot.downloaded and not slot.moved
  if slot.given then
    local target = slot.array and slot.downloaded
    local own = bring(b, slot.name, given_kind(slot), slot,
      written > 0 and (not slot.array or target ~= nil), b.state.exact[slot.name] and slot.value)
    if slot.scalar then
      slot.memory = own
    elseif slot.buffer then
      slot.memory = own
    elseif b.in_place and (written == 0 or direct) then
      slot.memory = own
    else
      slot.host = own
    end
    if slot.array and slot.downloaded then
      if written > 0 and slot.value.gb_block.frozen ~= 0 then
        misuse(b.state.stages[slot.downloaded], "the array '%s' is frozen: it cannot be a target",
          slot.name)
      end
      slot.result = own
      b.results_given[#b.results_given + 1] = slot.name
      return
    end
    if slot.buffer and written > 0 and select(5, core.buffer_info(slot.value)) then
      misuse(b.state.stages[written], "the buffer '%s' is shared read-only", slot.name)
    end
  end
  if slot.downloaded then
    slot.result = bring(b, "result " .. slot.name, "array", { kind = slot.kind, n = slot.n }, true)
    b.results[#b.results + 1] = { key = "result " .. slot.name, name = slot.name, kind = slot.kind,
      n = slot.n }
    if direct and not slot.given then slot.memory = slot.result end
  end
end

-- ---- nodes ----

local function attach(b, node, what, mem)
  if mem.index then
    core.graph_use(b.handle, mem.index, node, what)
  else
    core.graph_bind(b.handle, node, what, mem.value)
  end
end

local function copy(b, from, to, bytes)
  if bytes == 0 then return end
  local node = core.graph_copy(b.handle, bytes)
  b.nodes = b.nodes + 1
  attach(b, node, TO, to)
  attach(b, node, FROM, from)
end

-- Memory of a slot for kernels. all: the next access writes every element, so nothing is uploaded.
local function resident(b, slot, all)
  if not slot.memory then
    slot.memory = temp(b, slot.kind, slot.n)
    if slot.host and not all then copy(b, slot.host, slot.memory, slot.n * slot.kind.size) end
  end
  return slot.memory
end

local function launch(b, stage, kernel, shape, params)
  local handle = check(kernels.handle(kernel, b.device))
  b.keep[#b.keep + 1] = kernel
  local node = try(stage, core.graph_launch, handle, shape, b.handle)
  if not node then return end
  b.nodes = b.nodes + 1
  for i, mem in ipairs(params) do
    if mem.check ~= false then
      try(stage, core.graph_check, b.handle, node, i - 1, mem.value)
    end
    attach(b, node, i - 1, mem)
  end
end

local emit = {}

local function resolve_list(b, stage, value)
  if type(value) ~= "table" then return resolve(b, stage, value) end
  local out = {}
  for i = 1, 3 do out[i] = resolve(b, stage, value[i]) end
  return out
end

function emit.launch(b, stage)
  local shape = resolve(b, stage, type(stage.shape) == "string" and stage.shape or nil)
    or stage.shape
  if type(shape) == "table" then
    local given = shape
    shape = {}
    for field, value in pairs(given) do shape[field] = resolve_list(b, stage, value) end
  end
  local params = {}
  for i = 1, stage.args.n do
    local arg = stage.args[i]
    params[i] = arg.slot and resident(b, b.slots[arg.slot]) or arg
    -- what is written into a result array that run makes cannot be looked at yet
    if params[i].index and params[i].value == nil then params[i].check = false end
  end
  launch(b, stage, stage.kernel, shape, params)
end

-- A module of the library or of a generated source, kept by the plan.
local function module(b, spec)
  local key = spec.source .. table.concat(spec.instances or {}, ";")
  if not b.state.modules[key] then b.state.modules[key] = check(kernels.kernels(spec)) end
  return b.state.modules[key]
end

local function tiles_shape(b, tiles)
  return { grid = tiles, block = b.serial and 1 or lib.lanes }
end

-- Passes over partial results until one is left in `last`.
local function fold(b, stage, template, kind, partial, tiles, last)
  local c = source.c_name(kind)
  local name = ("gb::%s<%s>"):format(template, c)
  while tiles > 1 do
    local K = module(b, { name = "gb.plan.reduce", source = '#include "gb/reduce.cuh"\n',
      instances = { name } })
    local n = tiles
    tiles = lib.tiles(n)
    local out = tiles == 1 and last or temp(b, kind, tiles)
    launch(b, stage, K[name], tiles_shape(b, tiles), { partial, out, { value = n } })
    partial = out
  end
end

-- Where a reduction's number ends: on the device, and in an array of one that each run brings.
local function result_of(b, stage)
  local slot = b.slots[stage.into]
  slot.memory = temp(b, slot.kind, 1)
  return slot
end

local function give_result(b, slot)
  local key = "result " .. slot.name
  local own = bring(b, key, "array", { kind = slot.kind, n = 1 }, true)
  b.results[#b.results + 1] = { key = key, name = slot.name, kind = slot.kind, n = 1,
    number = true }
  copy(b, slot.memory, own, slot.kind.size)
end

function emit.reduce(b, stage)
  local slot, result = b.slots[stage.slot], result_of(b, stage)
  if slot.n > 0 then
    local c, n, tiles = source.c_name(slot.kind), slot.n, lib.tiles(slot.n)
    local extreme = stage.op:gsub("^arg", "")
    local template, arg = extreme .. "_tiles", extreme ~= stage.op
    local name, find = ("gb::%s<%s>"):format(template, c), ("gb::find_first<%s>"):format(c)
    local K = module(b, { name = "gb.plan.reduce", source = '#include "gb/reduce.cuh"\n',
      instances = { name, arg and find or nil } })
    local x = resident(b, slot)
    local one = arg and temp(b, slot.kind, 1) or result.memory
    local kind = arg and slot.kind or result.kind
    local first = (tiles > 1 or arg) and temp(b, kind, tiles) or one
    launch(b, stage, K[name], tiles_shape(b, tiles), { x, first, { value = n } })
    if arg and tiles == 1 then one = first end
    fold(b, stage, template, kind, first, tiles, one)
    if arg then
      launch(b, stage, K[find], tiles_shape(b, 1),
        { x, first, one, result.memory, { value = tiles }, { value = n } })
    end
  end
  give_result(b, result)
end

function emit.download(b, stage)
  local slot = b.slots[stage.slot]
  if slot.memory == slot.result or (not slot.memory and slot.host) then return end
  if slot.downloaded ~= stage.index then return end -- a later one wins
  copy(b, resident(b, slot), slot.result, slot.n * slot.kind.size)
end

function emit.make() end -- memory comes with its first use

function emit.fill(b, stage)
  local slot = b.slots[stage.slot]
  if slot.n == 0 then return end
  local to, one = resident(b, slot, true), check(array.make(slot.kind, 1))
  one[0] = slot.kind.set(stage.value)
  local node = core.graph_fill(b.handle, one, slot.n)
  b.nodes = b.nodes + 1
  attach(b, node, TO, to)
end

function emit.copy(b, stage)
  local from, to = b.slots[stage.slot], b.slots[stage.to]
  copy(b, resident(b, from), resident(b, to, true), from.n * from.kind.size)
end

-- ---- fused maps ----

-- Is a slot's value of use after the stage `last`: read there, or seen by who bound it?
local function lives_on(slot, last)
  if slot.buffer then return true end
  for _, access in ipairs(slot.accesses) do
    if access.stage > last and access.read then return true end
    if access.stage > last and access.write then return false end
  end
  return false
end

local function scalar_type(slot, maps, b)
  if type(slot.value) == "boolean" then return "bool" end
  local wide = source.wide(slot.value)
  if wide then return lib.c_names[wide] end
  local float
  for _, map in ipairs(maps) do
    for _, one in ipairs(map.names) do
      local other = b.slots[one.name]
      local name = other and other.kind and other.kind.name
      if name == "double" and not other.single then return "double" end
      if name and name:find "^float" then float = true end
    end
    local name = map.slot.kind.name
    if name == "double" then return "double" end
    if name:find "^float" then float = true end
  end
  return float and "float" or "double"
end

-- The kernel parameters of a group in the order of first use, and what a map needs of each slot.
local function group_params(b, maps, last)
  local params, by_name = {}, {}
  local function touch(slot, write)
    local one = by_name[slot]
    if not one then
      one = { slot = slot, scalar = slot.scalar and scalar_type(slot, maps, b),
        single = slot.single }
      by_name[slot] = one
      params[#params + 1] = one
      one.load = not write and not slot.scalar
    end
    one.written = one.written or write
  end
  for _, map in ipairs(maps) do
    for _, one in ipairs(map.names) do
      if b.slots[one.name] then touch(b.slots[one.name], false) end
    end
    touch(map.slot, true)
  end
  local used = {}
  for _, one in ipairs(params) do
    one.store = one.written and lives_on(one.slot, last)
    if one.scalar or one.load or one.store then used[#used + 1] = one end
  end
  return used
end

-- Emits the maps from a stage on and a reduction behind them: the index of the last stage done.
local function emit_maps(b, first)
  local stages, n = b.state.stages, b.map_n[first]
  local maps, last = {}, first - 1
  while stages[last + 1] and stages[last + 1].what == "map" and b.map_n[last + 1] == n do
    last = last + 1
    local stage = stages[last]
    maps[#maps + 1] = { slot = b.slots[stage.slot], expression = stage.expression,
      names = stage.names }
  end
  local group, result = { maps = maps }, nil
  local reduce = stages[last + 1]
  if reduce and reduce.what == "reduce" and not reduce.op:find "^arg" and n > 0
    and b.slots[reduce.slot].n == n and last_write(b.slots[reduce.slot]) <= last then
    for _, map in ipairs(maps) do
      if map.slot.name == reduce.slot then group.reduce = reduce end
    end
  end
  if group.reduce then
    last, result = last + 1, result_of(b, reduce)
    group.reduce = { op = reduce.op, slot = b.slots[reduce.slot], wide = result.kind.name }
  end
  group.params = group_params(b, maps, last)
  local stage, params = stages[first], {}
  for i, one in ipairs(group.params) do
    params[i] = one.scalar and one.slot.memory or resident(b, one.slot, not one.load)
    params[i] = { index = params[i].index, value = params[i].value, check = false }
  end
  params[#params + 1] = { value = n }
  if n > 0 and (#params > 1 or group.reduce) then
    local names = {}
    for i, map in ipairs(maps) do names[i] = map.slot.name end
    local K = module(b, { name = ("plan: map %s"):format(table.concat(names, ", ")),
      source = source.kernel(group) })
    if group.reduce then
      local tiles = lib.tiles(n)
      local partial = tiles > 1 and temp(b, result.kind, tiles) or result.memory
      params[#params + 1] = partial
      launch(b, stage, K.map, tiles_shape(b, tiles), params)
      fold(b, reduce, reduce.op .. "_tiles", result.kind, partial, tiles, result.memory)
      give_result(b, result)
    elseif #params > 1 then
      launch(b, stage, K.map, n, params)
    end
  end
  return last
end

-- ---- the graph ----

local function fill_graph(b)
  plan_infer.slots(b)
  for _, name in ipairs(b.state.order) do
    local slot = b.slots[name]
    if slot and not slot.single then place(b, slot) end
  end
  local i = 1
  while i <= #b.state.stages do
    local stage = b.state.stages[i]
    if stage.what == "map" then
      i = emit_maps(b, i)
    else
      emit[stage.what](b, stage)
    end
    i = i + 1
  end
end

--- The graph of a plan for what is given, on a device and a lane: graph; nil, message, code; or
--- false, message.
function M.graph(state, given, device, lane)
  local handle, why, code = core.graph_new(device, lane)
  if not handle then return nil, why, code end
  local b = { state = state, given = given, device = device, handle = handle, slots = {},
    map_n = {}, names = {}, count = 0, results = {}, results_given = {}, keep = {}, nodes = 0,
    in_place = core.device_in_place(device) }
  b.serial = buffer.cpus()[device]
  local ok
  ok, why, code = plan_infer.protect(fill_graph, b)
  if not ok then return ok, why, code end
  return { handle = handle, names = b.names, results = b.results, constants = state.constants,
    results_given = b.results_given, keep = b.keep, nodes = b.nodes }
end

--- Fresh arrays for what a run gives, and the constants, by the names of the graph.
function M.results(graph)
  local out = {}
  for name, value in pairs(graph.constants) do out[name] = value end
  for _, one in ipairs(graph.results) do
    local made_array, message, code = array.make(one.kind, one.n)
    if not made_array then return nil, message, code end
    out[one.key] = made_array
  end
  return out
end

--- What run gives after a graph has run.
function M.outcome(graph, given, results)
  local out = {}
  for _, name in ipairs(graph.results_given) do out[name] = given[name] end
  for _, one in ipairs(graph.results) do
    local value = results[one.key]
    if one.number then value = value[0] end
    out[one.name] = value
  end
  return out
end

return M
