-- gb.catalog: kernels by name, with how items become their parameters. An entry is plain data:
-- other workers ask for it or get it with the work, and each compiles it at its first use.
local near = require "gb.near"
local types = require "gb.types"
local kernels = require "gb.kernels"
local faults = require "gb.faults"
local loader = require "gb.loader"
local lib = require "gb.lib_core"

local M = {}

local entries = {}
local opened = {} -- { K, kernel, layout } by the entry's key

local known = { file = true, source = true, name = true, options = true, include = true,
  instances = true, kernel = true, args = true, item_count = true, result_count = true }

local no_values = { ["function"] = true, thread = true } -- nor do they reach other workers

local function count_option(options, name)
  local value = options[name]
  if value == nil then return 1 end
  if type(value) ~= "number" or value % 1 ~= 0 or value < 1 or value > 2 ^ 20 then
    error(("catalog: %s is an integer from 1 to 1048576, got %s"):format(name, tostring(value)), 3)
  end
  return value
end

local function check_texts(options)
  for _, name in ipairs { "file", "source", "name" } do
    local value = options[name]
    if value ~= nil and type(value) ~= "string" then
      error(("catalog: %s is a string, got %s"):format(name, type(value)), 3)
    end
  end
  for _, name in ipairs { "options", "include", "instances" } do
    local list = options[name]
    if list ~= nil and type(list) ~= "table" then
      error(("catalog: %s is a list of strings, got %s"):format(name, type(list)), 3)
    end
    for i, one in ipairs(list or {}) do
      if type(one) ~= "string" then
        error(("catalog: %s[%d] is a string, got %s"):format(name, i, type(one)), 3)
      end
    end
  end
end

local function key_of(entry)
  local parts = { entry.id, entry.path or "", entry.source or "", entry.kernel, entry.item_count,
    entry.result_count }
  for _, field in ipairs { "options", "include", "instances" } do
    for _, one in ipairs(entry[field] or {}) do parts[#parts + 1] = field .. one end
  end
  local args = near.keys(entry.args)
  for _, name in ipairs(args) do
    parts[#parts + 1] = name .. "=" .. tostring(entry.args[name])
  end
  return table.concat(parts, "\0")
end

--- gb.catalog.register(id, { file = | source =, kernel =, args = { name = value }, item_count = 1,
--- result_count = 1, and the options of gb.kernels }). The kernel's first const pointer takes the
--- items, its first other pointer the results (or the items in place), an integer parameter `n` or
--- `count` their number, all others the values of args.
function M.register(id, options)
  if type(id) ~= "string" or id == "" then
    error(("catalog: the id of a kernel is a string, \"vector/add\", got %s"):format(
      id == "" and "an empty one" or type(id)), 2)
  end
  if type(options) ~= "table" then
    error(("catalog: register(id, { file =, kernel = }), got %s"):format(type(options)), 2)
  end
  near.check_options("gb.catalog.register", options, known, 2)
  if type(options.kernel) ~= "string" then
    error("catalog: kernel is the name of a kernel in the source", 2)
  end
  if (options.file == nil) == (options.source == nil) then
    error("catalog: file or source, one of them", 2)
  end
  if options.args ~= nil and type(options.args) ~= "table" then
    error("catalog: args is a table of parameters by name", 2)
  end
  for name, value in pairs(options.args or {}) do
    if no_values[type(value)] then
      error(("catalog: args.%s: a kernel takes no %s"):format(tostring(name), type(value)), 2)
    end
  end
  check_texts(options)
  local entry = { id = id, kernel = options.kernel, source = options.source,
    name = options.name, options = options.options, include = options.include,
    instances = options.instances, args = options.args or {},
    item_count = count_option(options, "item_count"),
    result_count = count_option(options, "result_count") }
  if options.file then
    -- other workers look from the same place, whatever script runs there
    entry.path = loader.find_file(options.file) or options.file
  end
  entry.key = key_of(entry)
  entries[id] = entry
  return true
end

--- What this worker knows of an id: { entry, ids }.
function M.own(id) return { entry = entries[id], ids = near.keys(entries) } end

--- The entry of an id, which another worker may have registered; raises at a level.
function M.find(id, level)
  if type(id) ~= "string" then
    error(("the id of a kernel is a string, \"vector/add\", got %s"):format(type(id)), level + 1)
  end
  if not entries[id] then
    local answers, message = require("gb.worker").ask_all("catalog", id)
    if not answers then error(message, level + 1) end
    local known_ids = {}
    for _, answer in ipairs(answers) do
      entries[id] = entries[id] or answer.entry
      for _, one in ipairs(answer.ids) do known_ids[one] = true end
    end
    if not entries[id] then
      error(near.unknown("kernel of the catalog", id, near.keys(known_ids)), level + 1)
    end
  end
  return entries[id]
end

--- The ids that this worker knows.
function M.list() return near.keys(entries) end

-- ---- how items become parameters ----

local counts = { n = true, count = true }

-- Element types by what the compiler calls them.
local named = { char = "int8", bool = "uint8", long = "int64", ["unsigned long"] = "uint64" }
for name, c in pairs(lib.c_names) do named[c] = name end

local function element_of(K, entry, param)
  local name = named[param.type] or param.type
  local ok, kind = pcall(types.check, name, 1)
  if ok then return kind end
  ok, kind = pcall(function() return K.types[name] end)
  if ok and kind then return kind end
  return nil, ("catalog: %s: parameter '%s' points at %s, which is no element type"):format(
    entry.id, param.name, name)
end

local function layout_of(K, kernel, entry)
  local layout, used = { args = {}, n = #kernel.signature }, {}
  for i, param in ipairs(kernel.signature) do
    if entry.args[param.name] ~= nil then
      layout.args[i] = entry.args[param.name]
      used[param.name] = true
    elseif param.pointer and param.const and not layout.item then
      layout.item = { at = i, param = param }
    elseif param.pointer and not param.const and not layout.result then
      layout.result = { at = i, param = param }
    elseif counts[param.name] and not param.pointer and not layout.count then
      layout.count = i
    else
      return nil, ("catalog: %s: nothing for parameter '%s' of %s: name it in args"):format(
        entry.id, param.name, entry.kernel), "EINVAL"
    end
  end
  for name in pairs(entry.args) do
    if not used[name] then
      return nil, ("catalog: %s: %s has no parameter '%s'"):format(entry.id, entry.kernel, name),
        "EINVAL"
    end
  end
  if not layout.result then
    return nil, ("catalog: %s: %s writes no results: it has no pointer that is not const"):format(
      entry.id, entry.kernel), "EINVAL"
  end
  layout.in_place = layout.item == nil
  layout.item = layout.item or layout.result
  if layout.in_place and entry.item_count ~= entry.result_count then
    return nil, ("catalog: %s works in place: item_count and result_count are the same"):format(
      entry.id), "EINVAL"
  end
  for _, side in ipairs { "item", "result" } do
    local kind, why = element_of(K, entry, layout[side].param)
    if not kind then return nil, why, "EINVAL" end
    layout[side].kind = kind
    layout[side].count = entry[side .. "_count"]
  end
  local item, result = layout.item, layout.result
  layout.bytes = item.count * item.kind.size
    + (layout.in_place and 0 or result.count * result.kind.size)
  -- in a list of numbers nothing of the array of results is left
  layout.lends = result.count == 1 and not result.kind.fields
  return layout
end

-- K: of before, when a reload has changed the kernel's parameters.
local function open(entry, K)
  local message, code
  if not K then
    K, message, code = kernels.kernels { file = entry.path, source = entry.source,
      name = entry.source and (entry.name or entry.id) or nil, options = entry.options,
      include = entry.include, instances = entry.instances }
    if not K then return nil, message, code end
  end
  local ok, kernel = pcall(function() return K:kernel(entry.kernel) end)
  if not ok then
    return nil, ("catalog: %s: %s"):format(entry.id, (kernel:gsub("^[^ ]+:%d+: ", ""))), "ENOENT"
  end
  local layout
  layout, message, code = layout_of(K, kernel, entry)
  if not layout then return nil, message, code end
  faults.only_batches(kernel)
  opened[entry.key] = { K = K, kernel = kernel, layout = layout, signature = kernel.signature }
  return opened[entry.key]
end

--- The kernel of an entry and how its parameters are filled: { kernel =, layout = }; nil, message,
--- code. Compiles, which a function that makes closures does not.
function M.open(entry)
  local found = opened[entry.key]
  if found and found.signature == found.kernel.signature then return found end
  return open(entry, found and found.K)
end

return M
