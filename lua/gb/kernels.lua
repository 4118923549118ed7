-- Kernels as users see them: gb.kernels{...} gives K, K.name:run(...) launches. Compiling and the
-- choice of a device are here; the walk over the arguments and the launch itself are one C function
-- (src/lua/launch.c).
local core = require "gb.core"
local near = require "gb.near"
local types = require "gb.types"
local units = require "gb.units"
local buffer = require "gb.buffer"
local faults = require "gb.faults"

local M = {}

-- What K and its kernels share: { spec =, modules = by device, kernels = by name, types =,
-- struct_ids = }
local states = setmetatable({}, { __mode = "k" })

core.launch_seconds(units.seconds)
core.launch_setter(function(id, value) return types.by_id[id].set(value) end)

-- ---- compiling ----

local function open(state, device)
  local spec = state.spec
  return core.module_open(device, spec.name, spec.source, spec.options, spec.include,
    spec.instances)
end

-- The structs of a module as types. A struct's text is preceded by those of the structs it holds.
local function define_types(state, wires)
  local by_name = {}
  for _, wire in ipairs(wires) do by_name[wire:match("^struct %d+ %d+ ([^\n]+)\n")] = wire end
  local function full(name, seen)
    if seen[name] then return "" end
    seen[name] = true
    local before = {}
    for inner in by_name[name]:gmatch("\n%d+ %d+ %S+ ([^\n]+)") do
      if by_name[inner] then before[#before + 1] = full(inner, seen) end
    end
    return table.concat(before) .. by_name[name]
  end
  state.types, state.struct_ids, state.type_errors = {}, {}, {}
  for name in pairs(by_name) do
    local kind, why = types.from_wire(full(name, {}))
    if kind then
      state.types[name], state.struct_ids[name] = kind, kind.id
    else
      state.type_errors[name] = why
    end
  end
end

local kernel_methods, kernel_meta = {}, { __gb = "kernel" }

local function bind(state, kernel, module)
  local signature, info = core.kernel_bind(kernel.gb_handle, module, kernel.name, state.struct_ids)
  if not signature then return nil, info end
  rawset(kernel, "signature", signature)
  rawset(kernel, "info", info)
  return true
end

-- Makes the kernels of a module those of its device. fresh: the source is a new one, and what was
-- loaded before is gone.
local function install(state, module, fresh)
  local info = core.module_info(module)
  if fresh or not state.types then define_types(state, info.structs) end
  if fresh then
    for _, kernel in pairs(state.kernels) do core.kernel_clear(kernel.gb_handle) end
    state.modules, state.known = {}, {}
  end
  state.log = info.log
  state.modules[info.device] = module
  for _, name in ipairs(info.kernels) do
    local kernel = state.kernels[name]
    if not kernel then
      local number = faults.number_of(state.spec, name)
      kernel = setmetatable({ gb_handle = core.kernel_new(number), gb_number = number,
        gb_state = state, name = name }, kernel_meta)
      state.kernels[name] = kernel
    end
    state.known[name] = kernel
    local ok, message = bind(state, kernel, module)
    if not ok then return nil, message, "EINVAL" end
  end
  return true
end

-- The module of a device, compiled when this is its first use there; nil, message, code.
local function ensure(state, device)
  local module = state.modules[device]
  if module and not core.module_lost(module) then return module end
  local version = state.version
  local message, code
  module, message, code = open(state, device)
  if not module then return nil, message, code end
  if state.version ~= version then return ensure(state, device) end -- reloaded while this compiled
  local ok
  ok, message, code = install(state, module)
  if not ok then return nil, message, code end
  return module
end

-- ---- launching ----

local shape_options = { grid = true, block = true, threads = true, shared = true, queue = true,
  timeout = true, bound = true }

-- Loads the kernel on the device where this launch runs, if it is not there yet: true, or nil,
-- message, code.
local function load_on(kernel, device)
  local module, message, code = ensure(kernel.gb_state, device)
  if not module then return nil, message, code end
  if kernel.gb_state.known[kernel.name] ~= kernel then
    return nil, ("kernel '%s' is no longer in %s"):format(kernel.name, kernel.gb_state.spec.name),
      "ENOENT"
  end
  return true
end

local function check_shape(shape)
  near.check_options("the shape of a launch", shape, shape_options, 3)
  if shape.timeout == nil then return nil end
  local ok, value = pcall(units.seconds, shape.timeout, "timeout")
  if not ok then error((value:gsub("^[^ ]+:%d+: ", "")), 3) end
  return value
end

local function check_self(kernel, name)
  if getmetatable(kernel) ~= kernel_meta then
    error(("call it as K.kernel:%s(...), with a colon"):format(name), 3)
  end
end

-- The end of what launch_start gave: true; nil, message, code.
local function await(kernel, timeout, future, message, code)
  if future == true then return true end
  if not future then return nil, message, code end
  local ok
  ok, message, code = core.await(future, timeout)
  if ok then return true end
  if code == "ETIMEDOUT" and not future:done() then
    message = ("kernel '%s' did not end within its timeout; it runs on"):format(kernel.name)
  end
  return nil, message, code
end

-- launch_start after it found no memory for host arrays on the device: state of resident grains
-- goes until there is some.
local function start_with_room(handle, bytes, device, ...)
  local function again(...)
    core.launch_on(device, handle)
    local future, message, code = core.launch_start(handle, ...)
    local lacking, _, capped = core.launch_lacking()
    -- it was tried: not once more, whatever it was
    if future == nil and not lacking then future = false end
    return future, message, code, capped
  end
  return require("gb.resident").with_room(device, bytes, 0, again, ...)
end

-- Does what launch_device asked for: nil, message, code; or does the launch take device memory for
-- its host arrays.
local function prepare(kernel, device, shape, ...)
  if device == -2 then return true end
  local ok, message, code
  if device == -1 then -- something is out of order
    ok, message, code = faults.admit(kernel, load_on, shape, ...)
  else
    ok, message, code = load_on(kernel, device)
  end
  if not ok then return nil, message, code end
  return core.launch_stages(kernel.gb_handle, shape, ...)
end

--- Runs the kernel and waits: true, or nil, message, code. The shape is a number of threads (in
--- blocks of 256), or { threads = n | { w, h, d }, block = } or { grid =, block = } with shared
--- (bytes), queue, timeout (the caller is free then; the kernel runs on, unless it holds the
--- worker) and bound (a kernel that runs longer is a runaway, and is ended).
function kernel_methods.run(kernel, shape, ...)
  check_self(kernel, "run")
  local timeout
  if type(shape) == "table" then timeout = check_shape(shape) end
  local handle = kernel.gb_handle
  local device = core.launch_device(handle, shape, ...)
  if device then
    local stages, message, code = prepare(kernel, device, shape, ...)
    if stages == nil then return nil, message, code end
    if stages then
      local future
      future, message, code = core.launch_start(handle, shape, ...)
      local bytes, where = core.launch_lacking()
      if bytes then future, message, code = start_with_room(handle, bytes, where, shape, ...) end
      return await(kernel, timeout, future, message, code)
    end
  end
  if timeout then return await(kernel, timeout, core.launch_start(handle, shape, ...)) end
  return core.launch(handle, shape, ...)
end

--- kernel:run({ threads = n, timeout = }, unpack(args, 1, count)); nothing when the kernel is to be
--- loaded first or something is out of order. Compiles.
function M.run_list(kernel, n, args, count, timeout)
  return await(kernel, timeout, core.launch_list(kernel.gb_handle, n, args, count, timeout))
end

--- Starts the kernel: a future.
function kernel_methods.async(kernel, shape, ...)
  check_self(kernel, "async")
  if type(shape) == "table" and check_shape(shape) then
    error("timeout belongs to run: give it to future:await(timeout)", 2)
  end
  local handle = kernel.gb_handle
  local device = core.launch_device(handle, shape, ...)
  if device then
    local stages, message, code = prepare(kernel, device, shape, ...)
    if stages == nil then return require("gb.future").failed(message, code) end
    if stages then
      local started
      started, message, code = core.launch_start(handle, shape, ...)
      local bytes, where = core.launch_lacking()
      if bytes then started, message, code = start_with_room(handle, bytes, where, shape, ...) end
      if started == true then return require("gb.future").ready(true) end
      return started or require("gb.future").failed(message, code)
    end
  end
  return core.launch_async(handle, shape, ...)
end

--- What its launches took since the host was opened, on all devices, in seconds; those of other
--- kernels of that name too. nil, message, code without the setting profiling.
function kernel_methods.stats(kernel)
  check_self(kernel, "stats")
  local times = core.kernel_times(kernel.name)
  if times then return times end
  return nil, "what launches take is not noted: the setting profiling is off (GB_PROFILING, "
    .. "--profiling)", "EDENIED"
end

function M.is_kernel(value) return getmetatable(value) == kernel_meta end

--- The handle of a kernel, loaded on a device: handle, or nil, message, code.
function M.handle(kernel, device)
  local ok, message, code = load_on(kernel, device)
  if not ok then return nil, message, code end
  return kernel.gb_handle
end

kernel_meta.__index = setmetatable(kernel_methods, {
  __index = function(_, name)
    error(near.unknown("kernel method", name, { "run", "async", "stats", "signature", "name",
      "info" }), 2)
  end,
})
function kernel_meta.__newindex() error("a kernel is read-only", 2) end

function kernel_meta.__tostring(kernel)
  local parts = {}
  for i, param in ipairs(kernel.signature) do
    parts[i] = (param.const and "const " or "") .. param.type .. (param.pointer and " *" or " ")
      .. param.name
  end
  return ("kernel %s(%s)"):format(kernel.name, table.concat(parts, ", "))
end

-- ---- K ----

local K_methods, K_meta = {}, { __gb = "kernels" }

function M.is_kernels(value) return states[value] ~= nil end

local function state_of(K, name)
  local state = states[K]
  if not state then error(("call it as K:%s(...), with a colon"):format(name), 3) end
  return state
end

-- K's own fields are its kernels: by their names, and by the last part of a qualified name that is
-- the only one.
local function publish(K, state)
  for name in pairs(K) do rawset(K, name, nil) end
  local short, count = {}, {}
  for name, kernel in pairs(state.known) do
    local last = name:match("::([%w_]+)$")
    if last then
      short[last] = kernel
      count[last] = (count[last] or 0) + 1
    end
  end
  for name, kernel in pairs(short) do
    if count[name] == 1 and not K_methods[name] and name ~= "types" then rawset(K, name, kernel) end
  end
  for name, kernel in pairs(state.known) do
    if not K_methods[name] and name ~= "types" then rawset(K, name, kernel) end
  end
  state.shown.types = setmetatable({}, {
    __index = function(_, name)
      local kind = state.types[name]
      if kind then return kind end
      if state.type_errors[name] then error(state.type_errors[name], 2) end
      error(near.unknown("struct", name, near.keys(state.types)) .. " (" .. state.spec.name .. ")",
        2)
    end,
    __newindex = function() error("K.types is read-only", 2) end,
  })
end

function K_meta.__index(K, name)
  local method = K_methods[name]
  if method then return method end
  local state = states[K]
  if name == "types" then return state.shown.types end
  if name == "log" then return state.log end
  if type(name) ~= "string" then
    error(("the name of a kernel is a string, got %s"):format(type(name)), 2)
  end
  local spaceless = name:gsub("%s+", "")
  for known, kernel in pairs(state.known) do
    if known:gsub("%s+", "") == spaceless then return kernel end
  end
  error(near.unknown("kernel", name, near.keys(state.known)) .. " (" .. state.spec.name .. ")", 2)
end

function K_meta.__newindex()
  error("K is read-only: its fields are the kernels of the source", 2)
end

function K_meta.__tostring(K)
  local state = states[K]
  return ("kernels of %s: %s"):format(state.spec.name, table.concat(near.keys(state.known), ", "))
end

--- A kernel by name, also one that is called like a method of K.
function K_methods.kernel(K, name)
  local state = state_of(K, "kernel")
  local kernel = state.known[name]
  if not kernel then error(near.unknown("kernel", name, near.keys(state.known)), 2) end
  return kernel
end

--- A __device__ or __constant__ variable as a buffer: upload, download, fill. Shared by all users
--- of the same source.
function K_methods.global(K, name, options)
  local state = state_of(K, "global")
  near.check_options("K:global", options, { device = true }, 2)
  if type(name) ~= "string" then
    error(("the name of a variable is a string, got %s"):format(type(name)), 2)
  end
  local device = buffer.device_index(options and options.device, 2) or core.device_here()
  local module, message, code = ensure(state, device)
  if not module then return nil, message, code end
  local found
  found, message, code = core.module_global(module, name, state.struct_ids)
  if not found and code == "ENOENT" then error(message, 2) end
  return found, message, code
end

local read_source

-- Compiles anew wherever it was loaded and changes nothing: the new spec and its modules, or nil,
-- message, code.
local function compile_anew(state)
  local old = state.spec
  local source, message, code = read_source(old.options_given)
  if not source then return nil, message, code end
  local trial = { spec = { name = old.name, source = source, options = old.options,
    include = old.include,
    instances = old.instances, options_given = old.options_given } }
  local modules = {}
  for device in pairs(state.modules) do
    local module
    module, message, code = open(trial, device)
    if not module then return nil, message, code end
    modules[#modules + 1] = module
  end
  return trial.spec, modules
end

-- From here on the kernels are those: true, or nil, message, code.
local function switch(K, state, spec, modules)
  state.spec, state.version = spec, state.version + 1
  for i, module in ipairs(modules) do
    local ok, message, code = install(state, module, i == 1)
    if not ok then return nil, message, code end
  end
  publish(K, state)
  return true
end

--- Compiles anew (a file is read again) wherever it was loaded: true, or nil, message, code and the
--- old kernels stay.
function K_methods.reload(K)
  local state = state_of(K, "reload")
  local spec, modules, code = compile_anew(state)
  if not spec then return nil, modules, code end
  return switch(K, state, spec, modules)
end

--- For a reload of the host: compiles what came from files (from that one, when it is named), and
--- gives functions that make the switch; nil, message, code.
function M.stage(file)
  local all, switches = {}, {}
  local path = file and require("gb.loader").find_file(file) -- as the catalog names it
  for K, state in pairs(states) do -- compiling waits, and others may open kernels meanwhile
    local from = state.spec.options_given.file
    if from and (not file or from == file or from == path) then
      all[#all + 1] = { K = K, state = state }
    end
  end
  for i, one in ipairs(all) do
    local spec, modules, code = compile_anew(one.state)
    if not spec then return nil, modules, code end
    switches[i] = function() return switch(one.K, one.state, spec, modules) end
  end
  return switches
end

-- ---- gb.kernels ----

local known_options = { file = true, name = true, source = true, options = true, include = true,
  instances = true }

function read_source(options)
  if options.source then return options.source end
  local path = require("gb.loader").find_file(options.file)
  if not path then
    return nil, ("cannot open %s: not in the app, beside the script, or here"):format(options.file),
      "ENOENT"
  end
  local file, message = io.open(path, "rb")
  if not file then return nil, ("cannot open %s: %s"):format(options.file, message), "ENOENT" end
  local text
  text, message = file:read("*a")
  file:close()
  if not text then
    return nil, ("cannot read %s: %s"):format(options.file, message or "no text"), "ENOENT"
  end
  return text, path
end

local function strings(options, name, level)
  local list = options[name]
  if list == nil then return nil end
  if type(list) == "string" then return { list } end
  if type(list) ~= "table" then
    error(("%s is a list of strings, got %s"):format(name, type(list)), level + 1)
  end
  local out = {}
  for i, one in ipairs(list) do
    if type(one) ~= "string" then
      error(("%s[%d] is a string, got %s"):format(name, i, type(one)), level + 1)
    end
    out[i] = one
  end
  return out
end

local function check_kernels_options(options, level)
  if type(options) == "string" then options = { file = options } end
  if type(options) ~= "table" then
    error(("gb.kernels takes a table: { file = \"kernels/mine.cu\" }, got %s"):format(
      type(options)), level + 1)
  end
  near.check_options("gb.kernels", options, known_options, level + 1)
  for _, name in ipairs { "file", "name", "source" } do
    local value = options[name]
    if value ~= nil and type(value) ~= "string" then
      error(("%s is a string, got %s"):format(name, type(value)), level + 1)
    end
  end
  if (options.file == nil) == (options.source == nil) then
    error(options.file and "gb.kernels takes file or source, not both"
      or "gb.kernels needs file or source", level + 1)
  end
  return options
end

--- gb.kernels{ file = | name =, source =, options =, include =, instances = }: K, or nil, message,
--- code ("ECOMPILE" with the compiler's own lines, "ENOENT" when there is no such file).
function M.kernels(options)
  options = check_kernels_options(options, 2)
  local lists = {}
  for _, name in ipairs { "options", "include", "instances" } do lists[name] = strings(options,
    name, 2) end
  local source, path, code = read_source(options)
  if not source then return nil, path, code end
  local include = {}
  for i, folder in ipairs(lists.include
    or {}) do include[i] = require("gb.loader").find_file(folder) or folder end
  if options.file then include[#include + 1] = path:match("^(.*)/[^/]*$") or "." end
  local given = { file = options.file, source = options.source }
  local state = { modules = {}, kernels = {}, known = {}, version = 0, shown = {} }
  state.spec = { name = options.name or options.file or "source", source = source,
    options = lists.options,
    include = include, instances = lists.instances, options_given = given }
  local module, message
  local home, tried = faults.home(), {}
  local at = home
  repeat -- K belongs to no device: any tells what is in it
    module, message, code = ensure(state, at)
    tried[at] = true
    at = (code == "ELOST" or code == "EDEVICE") and faults.elsewhere(home, tried)
  until not at
  if not module then return nil, message, code end
  local K = setmetatable({}, K_meta)
  states[K] = state
  publish(K, state)
  return K
end

M.open = M.kernels
M.queue, M.device, M.devices = buffer.queue, buffer.device, buffer.devices

return M
