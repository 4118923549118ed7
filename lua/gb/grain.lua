-- gb.grain: defining a grain type, and what `self` can do.
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"
local ref = require "gb.ref"
local loader = require "gb.loader"
local placement_of = require "gb.placement"
local fail = require "gb.fail"
local util = require "jit.util"

local M = { classes = {}, by_name = {}, tenants = false } -- tenants: has any type one

local placements = { random = 0, hash = 1, ["local"] = 2, least = 3, stateless = 4 }
local reentrancies = { [false] = 0, [true] = 1, chain = 2 }
local hooks = { on_activate = true, on_deactivate = true, on_reload = true, on_lost = true }
local known_options = {
  placement = true, storage = true, save = true, kernels = true, reentrant = true,
  keep_alive = true, idle = true, max_queue = true, max_activations = true, resident = true,
  tenant = true,
}

--- Names that no grain can define or assign: on references and on self.
M.reserved = {
  tell = true, async = true, with = true, id = true, key = true, ref = true, timer = true,
  reminder = true, save_state = true, load_state = true, clear_state = true,
  deactivate = true, publish = true, device = true, kernels = true, state = true,
  _gb_deliver = true,
}

-- ---- self ----

local Base = {}

function Base:id()
  local key, name = core.self_key(self)
  return name .. "/" .. ref.key_text(key)
end

function Base:key() return (core.self_key(self)) end

function Base:ref()
  local key, name = core.self_key(self)
  return ref.make(name, key)
end

function Base:deactivate() return core.self_deactivate(self) end

local timer_meta = { __gb = "timer" }
local timer_methods = {}
timer_meta.__index = near.methods("timer", timer_methods)

--- No more ticks: true when there were some to come.
function timer_methods:stop()
  if getmetatable(self) ~= timer_meta then error("call it as timer:stop(), with a colon", 2) end
  return core.self_timer_stop({ __act = self.act }, self.id)
end

local timer_options = { after = true, every = true, call = true, args = true }

function Base:timer(options)
  near.check_options("self:timer", options, timer_options, true)
  local _, type_name = core.self_key(self)
  if type(options.call) ~= "string" then error("self:timer needs call = \"method\"", 2) end
  local every = options.every and units.seconds(options.every, "every", 2) or 0
  local after = options.after and units.seconds(options.after, "after", 2) or every
  if not options.every and not options.after then
    error("self:timer needs after, every or both", 2)
  end
  if options.every and every < 1e-3 then error("self:timer: every is at least 1ms", 2) end
  local args = options.args or {}
  local count = type(args) == "table" and table.maxn(args)
  if not count or (count == 0 and next(args) ~= nil) then
    error("self:timer: args is the list of the method's arguments: args = { 1, 2 }", 2)
  end
  M.check_own(self, type_name, options.call, 2)
  local id, message, code = core.self_timer(self, options.call, after, every,
    unpack(args, 1, count))
  if not id then return nil, message, code end
  return setmetatable({ id = id, act = self.__act }, timer_meta)
end

local function not_yet(what)
  return function() return nil, what .. " is not in this version yet", "ENOTYET" end
end

Base.reminder = not_yet("self:reminder (durable reminders)")
Base.save_state = not_yet("self:save_state (stores)")
Base.load_state = not_yet("self:load_state (stores)")
Base.clear_state = not_yet("self:clear_state (stores)")

function Base:publish(topic, ...)
  return require("gb.subscribe").publish(self, topic, ...)
end

-- ---- definitions ----

-- self.state lies in the instance itself, so that reading it costs nothing; hence no metatable
-- hears of an assignment, and methods are looked through for one when they are defined: an
-- instruction TSETS of the field "state" to the first argument. What one looks like tells a sample.
local function store(t) t.state = 1 end
local TSETS = bit.band(util.funcbc(store, 2), 0xff)

local function check_state(fn, name)
  local info = util.funcinfo(fn)
  if not info.bytecodes or info.params == 0 then return end
  for pc = 1, info.bytecodes - 1 do
    local ins = util.funcbc(fn, pc)
    if bit.band(ins, 0xff) == TSETS and bit.rshift(ins, 24) == 0 and
      util.funck(fn, -1 - bit.band(bit.rshift(ins, 16), 0xff)) == "state" then
      local place = util.funcinfo(fn, pc)
      error(("%s: self.state of %s is built in and cannot be assigned; set its fields"):format(
        place.loc, name), 0)
    end
  end
end

-- Names with on_ are the user's own, but one that is a slip of the pen away from a hook would never
-- be called.
local function check_name(key, value, name)
  if type(key) ~= "string" then
    error(("the name of a method of %s is a string, got %s"):format(name, type(key)), 3)
  end
  if hooks[key] and value ~= nil and type(value) ~= "function" then
    error(("%s:%s is a function, got %s"):format(name, key, type(value)), 3)
  end
  if key:find("^on_") and not hooks[key] and type(value) == "function" then
    local near_one = near.nearest(key, near.keys(hooks), 1)
    if near_one then
      error(("%s:%s is no hook; did you mean '%s'?"):format(name, key, near_one), 3)
    end
  end
end

local function check_methods_guard(methods, name, options)
  return {
    __index = methods,
    __newindex = function(class, key, value)
      if M.reserved[key] or key == "resident" and options.resident then
        error(("%s:%s is built in and cannot be redefined"):format(name, tostring(key)), 2)
      end
      check_name(key, value, name)
      if type(value) == "function" then check_state(value, name) end
      methods[key] = value
      local own = M.classes[class]
      if own and own.type_id then core.changed(own.type_id) end
    end,
    __tostring = function() return "grain " .. name end,
    __gb = "grain",
  }
end

local function instance_meta(methods, name)
  local meta = { __index = methods, __gb = "self" }
  function meta.__newindex(self, key, value)
    if M.reserved[key] then
      error(("self.%s of %s is built in and cannot be assigned"):format(tostring(key), name), 2)
    end
    rawset(self, key, value)
  end
  return meta
end

-- The options as numbers for the C half; raises at the line of gb.grain.
local function digest(name, options, level)
  near.check_options("gb.grain", options, known_options)
  local placement = options.placement
  if placement == nil then placement = "random" end
  local site = {}
  if placement_of.is(placement) then
    site = placement_of.site(placement)
    placement = "random" -- among the workers; the device is chosen at activation
  elseif not placements[placement] then
    local known = near.keys(placements)
    known[#known + 1] = "gb.gpu{ ... }"
    known[#known + 1] = "gb.label{ ... }"
    error(near.unknown("placement", placement, known), level + 1)
  end
  if options.kernels ~= nil and type(options.kernels) ~= "string" then
    error(("kernels is the name of a file: \"kernels/mine.cu\", got %s"):format(
      type(options.kernels)), level + 1)
  end
  if options.keep_alive ~= nil and type(options.keep_alive) ~= "boolean" then
    error("keep_alive is true or false, got " .. type(options.keep_alive), level + 1)
  end
  local reentrant = options.reentrant
  if reentrant == nil then reentrant = false end
  if not reentrancies[reentrant] then error("reentrant is false, true or \"chain\"", level + 1) end
  if options.storage ~= nil or options.save ~= nil then
    error(("%s: storage and save are not in this version yet (ENOTYET: stores)"):format(name),
      level + 1)
  end
  local queue = options.max_queue or 1024
  if type(queue) ~= "number" or queue < 1 or queue > 1e6 or queue ~= math.floor(queue) then
    error("max_queue is an integer from 1 to 1000000, got " .. tostring(queue), level + 1)
  end
  local most = options.max_activations or 16
  if type(most) ~= "number" or most < 1 or most > 1024 or most ~= math.floor(most) then
    error("max_activations is an integer from 1 to 1024, got " .. tostring(most), level + 1)
  end
  if options.resident ~= nil and placement == "stateless" then
    error("resident: the activations of a stateless grain share no state", level + 1)
  end
  if options.tenant ~= nil and type(options.tenant) ~= "string" then
    error("tenant is the name of a tenant: \"acme\", got " .. type(options.tenant), level + 1)
  end
  if options.tenant then M.tenants = true end
  local idle = units.seconds(options.idle or "10m", "idle", level + 1)
  site.placement_code, site.reentrant_code = placements[placement], reentrancies[reentrant]
  site.keep_alive, site.idle_s = options.keep_alive or false, idle
  site.max_queue, site.stateless_max, site.tenant = queue, most, options.tenant
  return site
end

local NAME_MAX = 200

local function is_name(name) return name:find("^%a[%w_.%-]*$") ~= nil end

--- gb.grain(name, options): a class to put methods on.
function M.define(name, options, level)
  level = level or 2
  if options == nil then options = {} end
  if type(name) ~= "string" or not is_name(name) then
    local text = "gb.grain takes a name of letters, digits and _ . - that begins with a letter: "
      .. "gb.grain(\"Counter\", { ... }), got %s"
    error(text:format(type(name) == "string" and ("%q"):format(name) or type(name)), level)
  end
  if #name > NAME_MAX then
    error(("the name of a grain type is at most %d bytes, got %d"):format(NAME_MAX, #name), level)
  end
  local digested = digest(name, options, level)
  local resident = options.resident ~= nil
    and require("gb.resident").check(options.resident, level)
  local methods = setmetatable({}, { __index = Base })
  local class = setmetatable({}, check_methods_guard(methods, name, options))
  local source = debug.getinfo(level, "S").source
  local module, loading = loader.module_of(source)
  local meta = instance_meta(methods, name)
  meta.__gb_options, meta.__gb_methods, meta.__gb_name, meta.__gb_class = options, methods, name,
    class
  local file = module and module.file or ""
  methods._gb_deliver = require("gb.subscribe").deliver
  meta.__gb_resident = resident or nil
  if resident then methods._gb_resident_idle = require("gb.resident").idle end
  local version = { name = name, file = file, options = digested, methods = methods, meta = meta }
  if loading and loading.session and M.by_name[name] then
    require("gb.reload").stage_type(loading.session, class, version, level + 1)
    return class
  end
  local id, message = core.define(name, file, not module, digested, methods, meta)
  if not id then error(message, level) end
  version.type_id = id
  M.classes[class] = version
  M.by_name[name] = class
  if loading then
    loading.types[#loading.types + 1] = id
  else
    core.ready(id)
  end
  return class
end

--- The name behind a class or a name; raises at `level`.
function M.name_of(type_or_name, what, level)
  if type(type_or_name) == "string" then
    if type_or_name:find("^[^%c$]") and not type_or_name:find("%c") then return type_or_name end
    error(("%s takes a grain type, and none can be called %q"):format(what, type_or_name),
      level + 1)
  end
  local own = type(type_or_name) == "table" and M.classes[type_or_name]
  if own then return own.name end
  error(("%s takes a grain type: its name or what gb.grain returned, got %s"):format(what,
    ref.is(type_or_name) and "reference" or type(type_or_name)), level + 1)
end

--- Raises at `level` unless a grain has a method of its own of that name: what timers and
--- subscriptions call.
function M.check_own(self, type_name, method, level)
  local methods = getmetatable(self).__gb_methods
  if type(rawget(methods, method)) ~= "function" then
    error(core.no_method(type_name, method, methods), level + 1)
  end
end

-- The hooks of a complete class and the function that makes its instances, asked for once by the C
-- half when its first activation is made. A table constructor costs less than the same steps from
-- C.
function core.complete(meta)
  local methods, options = meta.__gb_methods, meta.__gb_options
  local activate, deactivate = rawget(methods, "on_activate"), rawget(methods, "on_deactivate")
  local resident = meta.__gb_resident
  if options.kernels or resident or placement_of.has_device(options.placement) then
    local user, leave = activate, deactivate
    local function prepare(self)
      if options.kernels then
        local kernels, message, code = require("gb").kernels { file = options.kernels }
        if not kernels then fail.raise(code, "%s", message) end
        rawset(self, "kernels", kernels)
      end
      if resident then
        return require("gb.resident").activate(self, resident, options.placement, user)
      end
      if user then return user(self) end
    end
    function activate(self)
      rawset(self, "device", placement_of.choose(self, options.placement))
      local ok, why = pcall(prepare, self)
      if ok then return end
      placement_of.release(self)
      error(why, 0)
    end
    if placement_of.has_device(options.placement) then
      function deactivate(self, reason)
        placement_of.release(self)
        if leave then return leave(self, reason) end
      end
    end
  end
  if resident then
    local user = deactivate
    function deactivate(self, reason)
      return require("gb.resident").deactivate(self, reason, user)
    end
  end
  return activate, deactivate, function(handle)
    return setmetatable({ state = {}, __act = handle }, meta)
  end
end

return M
