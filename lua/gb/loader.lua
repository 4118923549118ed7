-- require and dofile as Lua functions, so that a module may wait at its top (LuaJIT cannot yield
-- across the C ones).
local core = require "gb.core"

local M = { of_source = {}, of_name = {} }

local place = core.place()
local loaded = package.loaded
local in_progress = {} -- by name: the turn that loads it, and the types it defines
local innermost = {}   -- by turn: the module that it loads now
local waits_for = {}   -- by turn: the name of the module, loaded by another, that it waits for

-- Folders where modules are looked for, before the ones of LuaJIT.
local roots = {}
local function add_root(dir) if dir and dir ~= "" then roots[#roots + 1] = dir end end
add_root(place.app_dir)
add_root(place.script_dir)
if place.script_dir then add_root(place.script_dir .. "/app") end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

--- A file of the app or the script: the path to open and the short path for messages, or nil.
function M.find_file(name)
  if name:sub(1, 1) == "/" then
    if exists(name) then return name, name end
    return nil
  end
  for _, root in ipairs(roots) do
    if exists(root .. "/" .. name) then return root .. "/" .. name, name end
  end
  if exists(name) then return name, name end
end

local function search_roots(name)
  local file = name:gsub("%.", "/")
  local tried = {}
  for _, candidate in ipairs { file .. ".lua", file .. "/init.lua" } do
    for _, root in ipairs(roots) do
      local path = root .. "/" .. candidate
      if exists(path) then
        local chunk, message = core.load_file(path, "@" .. candidate)
        if not chunk then return nil, message end
        M.of_name[name] = { name = name, file = candidate }
        M.of_source["@" .. candidate] = M.of_name[name]
        return chunk
      end
      tried[#tried + 1] = "\n\tno file '" .. path .. "'"
    end
  end
  return table.concat(tried)
end

local function find_loader(name)
  local preload = package.preload[name]
  if preload then return preload end
  local found, message = search_roots(name)
  if type(found) == "function" then return found end
  if found == nil then error(message, 0) end
  local tried = { found }
  for i = 2, #package.loaders do
    local loader = package.loaders[i](name)
    if type(loader) == "function" then return loader end
    if type(loader) == "string" then tried[#tried + 1] = loader end
  end
  error(("module '%s' not found:%s"):format(name, table.concat(tried)), 0)
end

local function finish(name, state, ok, result)
  in_progress[name], innermost[state.turn] = nil, state.outer
  for _, id in ipairs(state.types) do core.ready(id, ok) end
  if not ok then error(result, 0) end
  if result ~= nil then loaded[name] = result end
  if loaded[name] == nil then loaded[name] = true end
  return loaded[name]
end

-- Would a turn that waits for a module wait for itself? Follows who loads and waits for what.
local function is_loop(name, turn)
  while name and in_progress[name] do
    local other = in_progress[name].turn
    if other == turn then return true end
    name = waits_for[other]
  end
end

--- Runs a module once more, for a reload, and keeps what it returns and the types it defines in the
--- session; modules of the same session that it requires are run first. Raises what it raises.
function M.stage(session, name)
  if session.results[name] ~= nil then return session.results[name] end
  if session.running[name] then error(("loop while loading module '%s'"):format(name), 0) end
  local turn = core.turn() or false
  local state = { name = name, turn = turn, outer = innermost[turn], session = session,
    types = session.ready }
  session.running[name], innermost[turn] = true, state
  local ok, result = pcall(find_loader, name)
  if ok then ok, result = pcall(result, name) end
  innermost[turn] = state.outer
  if not ok then error(result, 0) end
  session.results[name] = result == nil and true or result
  return session.results[name]
end

function require(name)
  if type(name) ~= "string" then error("require takes the name of a module", 2) end
  local module, turn = loaded[name], core.turn() or false
  local session = innermost[turn] and innermost[turn].session
  if session and session.set[name] then return M.stage(session, name) end
  if module ~= nil then return module end
  if in_progress[name] then
    if is_loop(name, turn) then error(("loop while loading module '%s'"):format(name), 2) end
    waits_for[turn] = name
    while in_progress[name] do core.sleep(0.001) end
    waits_for[turn] = nil
    return require(name)
  end
  local state = { name = name, turn = turn, outer = innermost[turn], types = {} }
  in_progress[name], innermost[turn] = state, state
  local ok, loader = pcall(find_loader, name)
  if not ok then
    in_progress[name], innermost[turn] = nil, state.outer
    error(loader, 2)
  end
  return finish(name, state, pcall(loader, name))
end

function dofile(path)
  local chunk, message = core.load_file(path, "@" .. path)
  if not chunk then error(message, 2) end
  return chunk()
end

--- The module whose chunk has this source, with the types it defines while it loads; nil for the
--- main script. While a reload runs it: with the session. A chunk that ends with
--- `return gb.grain(...)` has left its frame: it is the one that the running turn loads.
function M.module_of(source)
  local module, loading = M.of_source[source], innermost[core.turn() or false]
  if loading and loading.session then return M.of_name[loading.name], loading end
  if not module and loading and not source:find("^@") then module = M.of_name[loading.name] end
  return module, module and in_progress[module.name]
end

--- For types that other workers defined: makes them known here. nil, message, code when that fails.
function core.load_module(file, type_name)
  if file == "" then
    local text = "the grain type '%s' is defined in the main script and hosted by its worker only"
    return nil, text:format(type_name), "ENOTYPE"
  end
  local name = file:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  local ok, message = pcall(require, name)
  if not ok then return nil, message, "ERAISED" end
  if not core.is_ready(type_name) then
    local text = "the grain type '%s' is not defined when %s is loaded "
      .. "(it must be, on every worker)"
    return nil, text:format(type_name, file), "ENOTYPE"
  end
  return true
end

local function list_dir(dir)
  local names = {}
  for _, name in ipairs(core.list_dir(dir) or {}) do
    if name:match("%.lua$") then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- Loads every file of the app folder: the types of the silo. What is wrong with files that cannot
--- be loaded, or nil.
function core.load_app()
  if not place.app_dir then return nil end
  local wrong = {}
  for _, file in ipairs(list_dir(place.app_dir)) do
    local ok, message = pcall(require, (file:gsub("%.lua$", "")))
    if not ok then wrong[#wrong + 1] = tostring(message) end
  end
  return #wrong > 0 and table.concat(wrong, "; ") or nil
end

--- For a silo that others call: all of it, or an error.
function core.load_all()
  local wrong = core.load_app()
  if wrong then error(wrong, 0) end
end

return M
