-- Hot reload of an app's modules and of kernels from files. First every worker runs the new modules
-- aside and compiles the kernels; only when all of them could, each switches, between turns. An
-- activation takes the new version, its state kept, when its next turn begins and no other turn of
-- it is under way (a grain that never rests: at a bound); a turn that waits keeps its own.
local core = require "gb.core"
local grain = require "gb.grain"
local kernels = require "gb.kernels"
local loader = require "gb.loader"
local near = require "gb.near"

local M = {}

local LATE_MAX = 1000 -- calls that an activation that never rests still serves in the old version
local staged          -- what this worker will switch to
local under_way = false

local fixed = { "placement_code", "reentrant_code", "keep_alive", "idle_s", "max_queue",
  "stateless_max", "tenant" }
local shown = { placement_code = "placement", reentrant_code = "reentrant", idle_s = "idle",
  stateless_max = "max_activations" }

--- A type that is known, defined once more while a module is staged.
function M.stage_type(session, class, version, level)
  local old = grain.classes[grain.by_name[version.name]]
  if old.file ~= version.file then
    error(("the grain type '%s' is defined in %s and in %s"):format(version.name,
      old.file == "" and "the main script" or old.file, version.file), level)
  end
  for _, option in ipairs(fixed) do
    if old.options[option] ~= version.options[option] then
      error(("%s: %s cannot change while the host runs: open it anew"):format(version.name,
        shown[option] or option), level)
    end
  end
  session.types[#session.types + 1] = { class = class, version = version, id = old.type_id }
end

local function module_of(name)
  return (name:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

-- The names of what is to be run once more.
local function chosen(name)
  local names = {}
  for known in pairs(loader.of_name) do
    if package.loaded[known] ~= nil and (not name or known == module_of(name)) then
      names[#names + 1] = known
    end
  end
  table.sort(names)
  return names
end

--- Prepares everything and changes nothing. name: a module, a file of kernels ("x.cu"), or nil for
--- all. How many modules and kernel files there were; nil, message, code.
function M.stage(name)
  local of_kernels = name ~= nil and name:find("%.cuh?$") ~= nil
  local session = { set = {}, results = {}, running = {}, ready = {}, types = {}, switches = {} }
  local names = of_kernels and {} or chosen(name)
  for _, one in ipairs(names) do session.set[one] = true end
  for _, one in ipairs(names) do
    local ok, message = pcall(loader.stage, session, one)
    if not ok then return nil, tostring(message), "ERAISED" end
  end
  if of_kernels or name == nil then
    local switches, message, code = kernels.stage(name)
    if not switches then return nil, message, code end
    session.switches = switches
  end
  staged = session
  return #names + #session.switches
end

--- Makes what was prepared the version that runs. Nothing waits in here.
function M.switch()
  local session = staged
  staged = nil
  if not session then return nil, "nothing was prepared", "EINVAL" end
  for name, result in pairs(session.results) do package.loaded[name] = result end
  for _, one in ipairs(session.types) do
    local version = one.version
    version.type_id = one.id
    grain.classes[one.class] = version
    grain.by_name[version.name] = one.class
    core.redefine(one.id, version.methods, version.meta)
    core.ready(one.id)
  end
  for _, id in ipairs(session.ready) do core.ready(id) end
  for _, switch in ipairs(session.switches) do
    local ok, message, code = switch()
    if not ok then return nil, message, code end
  end
  return true
end

function M.drop() staged = nil end

--- On worker 0: all workers prepare, then all switch.
local function run(ask_all, name)
  local counts, message, code = ask_all("reload_stage", name)
  if not counts then
    ask_all("reload_drop")
    return nil, message, code
  end
  local most = 0
  for _, count in ipairs(counts) do most = math.max(most, count) end
  if name and most == 0 then
    ask_all("reload_drop")
    local names = near.keys(loader.of_name)
    return nil, near.unknown("module", name, names) .. " (only what is loaded can be loaded anew)",
      "ENOENT"
  end
  local ok
  ok, message, code = ask_all("reload_switch")
  if not ok then return nil, message, code end
  return most
end

function M.run(ask_all, name)
  if under_way then return nil, "another reload is under way", "EBUSY" end
  under_way = true
  local ok, count, message, code = pcall(run, ask_all, name)
  under_way = false
  if not ok then error(count, 0) end
  return count, message, code
end

--- The C half found an instance of an older version before a turn: the function for this method
--- (nil: there is none). busy: other turns of it are under way.
function core.stale(self, method, busy)
  local old = getmetatable(self)
  local meta = grain.classes[grain.by_name[old.__gb_name]].meta
  if busy then
    local late = (rawget(self, "__late") or 0) + 1
    rawset(self, "__late", late)
    if late < LATE_MAX then return method and rawget(old.__gb_methods, method) end
  end
  rawset(self, "__late", nil)
  setmetatable(self, meta)
  local methods = meta.__gb_methods
  local run_method, hook = method and rawget(methods, method), rawget(methods, "on_reload")
  if not run_method or not hook then return run_method end
  return function(...)
    hook(self, old.__gb_class)
    return run_method(...)
  end
end

return M
