-- require and dofile as Lua functions, so that a module may wait at its top (LuaJIT cannot yield
-- across the C ones).
local core = require "gb.core"

local M = { current = {}, of_source = {} }

local place = core.place()
local loaded, in_progress, main_of = package.loaded, {}, setmetatable({}, { __mode = "k" })
local running = coroutine.running

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
        M.of_source["@" .. candidate] = { name = name, file = candidate }
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

local function finish(name, state, ok, result, ...)
  in_progress[name] = nil
  if not ok then error(result, 0) end
  if result ~= nil then loaded[name] = result end
  if loaded[name] == nil then loaded[name] = true end
  for _, ready in ipairs(state.types) do ready() end
  return loaded[name]
end

function require(name)
  if type(name) ~= "string" then error("require takes the name of a module", 2) end
  local module = loaded[name]
  if module ~= nil then return module end
  local other = in_progress[name]
  if other then
    if other.thread == running() then error(("loop while loading module '%s'"):format(name), 2) end
    while in_progress[name] do core.sleep(0.001) end
    return require(name)
  end
  local state = { thread = running(), types = {} }
  in_progress[name] = state
  local ok, loader = pcall(find_loader, name)
  if not ok then
    in_progress[name] = nil
    error(loader, 2)
  end
  main_of[loader] = name
  return finish(name, state, pcall(loader, name))
end

function dofile(path)
  local chunk, message = core.load_file(path, "@" .. path)
  if not chunk then error(message, 2) end
  return chunk()
end

--- The module whose chunk has this source, with the types it defines while it loads; nil for the
--- main script.
function M.module_of(source)
  local module = M.of_source[source]
  return module, module and in_progress[module.name]
end

--- For types that other workers defined: makes them known here. nil, message, code when that fails.
function core.load_module(file, type_name)
  if file == "" then
    local text = "the grain type '%s' is defined in the main script and hosted by its worker only"
    return nil, text:format(type_name),
      "ENOTYPE"
  end
  local name = file:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  local ok, message = pcall(require, name)
  if not ok then return nil, message, "ERAISED" end
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

--- Loads every file of the app folder: the types of the silo.
function core.load_app()
  if not place.app_dir then return true end
  for _, file in ipairs(list_dir(place.app_dir)) do require((file:gsub("%.lua$", ""))) end
  return true
end

return M
