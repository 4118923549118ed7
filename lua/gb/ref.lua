-- References: a table { key, handle of the activation, options } with the metatable of its type.
-- Methods are closures in C, made once per name and type (call.c); the short path never runs a line
-- of this file.
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"

local M = {}

local KEY, OPTIONS = 1, 3
local TIMEOUT_NS, PRIORITY, BAG = 1, 2, 3

local syms = setmetatable({}, { __index = function(t, name)
  local id = core.sym(name)
  t[name] = id
  return id
end })


-- The text of an integer key has no exponent: 1e15 is "1000000000000000".
local function key_text(key)
  return type(key) == "number" and ("%.0f"):format(key) or key
end

local function equal(a, b)
  return getmetatable(a).__type == getmetatable(b).__type and a[KEY] == b[KEY]
end

-- ---- finding the type ----

local not_loaded -- what is wrong with files of the app folder

local function unknown_type(name)
  local text = near.unknown("grain type", name, core.type_names())
  if not_loaded then text = ("%s (not loaded: %s)"):format(text, not_loaded) end
  return nil, text, "ENOTYPE"
end

-- The number of a type by name, or nil; the app folder is asked for types that nobody defined yet.
local function find_type(name)
  local id = core.type_id(name)
  if not id and core.load_app then
    not_loaded = core.load_app()
    id = core.type_id(name) or core.foreign_type(name)
  end
  return id
end

-- The number of the type of a reference; types may come later than references to them.
local function type_id(meta)
  local id = meta.type_id or find_type(meta.__type)
  meta.type_id = id
  return id
end

-- ---- what every reference can do ----

local base = {}

function M.is(value)
  if type(value) ~= "table" then return false end
  local meta = getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__gb") == "ref"
end
local is = M.is

-- level 3: who called the method
local function check_colon(self, what)
  if not is(self) then
    error(("call '%s' on a reference with a colon: ref:%s(...)"):format(what, what), 3)
  end
end

function base:id()
  check_colon(self, "id")
  return getmetatable(self).__type .. "/" .. key_text(self[KEY])
end

local private = "%s:%s is private (names with _ or on_ cannot be called from outside)"

local function check_method(self, method, what)
  local meta = type(self) == "table" and getmetatable(self)
  if not meta or meta.__gb ~= "ref" then
    error(("call '%s' on a reference with a colon: ref:%s(\"name\", ...)"):format(what, what), 3)
  end
  if type(method) ~= "string" then
    error(("%s takes the name of a method: ref:%s(\"name\", ...)"):format(what, what), 3)
  end
  if method:find("^_") or method:find("^on_") then
    return nil, private:format(getmetatable(self).__type, method), "ENOMETHOD"
  end
  return true
end

function base:tell(method, ...)
  local ok, message, code = check_method(self, method, "tell")
  if not ok then return nil, message, code end
  local id = type_id(getmetatable(self))
  if not id then return unknown_type(getmetatable(self).__type) end
  return core.tell(self, id, syms[method], ...)
end

function base:async(method, ...)
  local ok, message, code = check_method(self, method, "async")
  if not ok then return require("gb.future").failed(message, code) end
  local id = type_id(getmetatable(self))
  if not id then
    local _, text, name = unknown_type(getmetatable(self).__type)
    return require("gb.future").failed(text, name)
  end
  return core.async(self, id, syms[method], ...)
end

local known_options = { timeout = true, priority = true, raise = true, bag = true }
local make_meta

function base:with(options)
  check_colon(self, "with")
  near.check_options("with", options, known_options, true)
  local meta, old, merged = getmetatable(self), self[OPTIONS], {}
  if old then
    for i = 1, 3 do merged[i] = old[i] end
  end
  if options.timeout ~= nil then
    merged[TIMEOUT_NS] = units.seconds(options.timeout, "timeout", 2) * 1e9
  end
  if options.priority ~= nil then
    local p = options.priority
    if type(p) ~= "number" or p ~= math.floor(p) or p < -128 or p > 127 then
      error("priority must be an integer from -128 to 127", 2)
    end
    merged[PRIORITY] = p
  end
  if options.bag ~= nil then
    if type(options.bag) ~= "table" then error("bag must be a table", 2) end
    local bytes, message = core.encode(options.bag)
    if not bytes then error("bag: " .. message, 2) end
    merged[BAG] = bytes
  end
  local raise = options.raise
  if raise == nil then raise = meta.raise or false end
  if type(raise) ~= "boolean" then error("raise is true or false, got " .. type(raise), 2) end
  return setmetatable({ self[KEY], false, merged }, make_meta(meta.__type, raise))
end

-- ---- metatables ----

local function raise_or_return(...)
  local first, message, code = ...
  if first == nil and type(code) == "string" then
    error(("%s (%s)"):format(tostring(message), code), 2)
  end
  return ... -- as many as there were
end

local function raising(fn)
  return function(...)
    return raise_or_return(fn(...)) -- a tail call: level 2 there is who called the method
  end
end

local function closure(meta, methods, name)
  if type(name) ~= "string" then return nil end
  if name:find("^_") or name:find("^on_") then
    return function(self)
      return nil, private:format(meta.__type, name),
        "ENOMETHOD"
    end
  end
  local id = core.type_id(meta.__type)
  if not id then -- unknown so far: each call looks again
    return function(self, ...)
      local found = type_id(meta)
      if not found then return unknown_type(meta.__type) end
      return core.method(found, name)(self, ...)
    end
  end
  meta.type_id = id
  local fn = core.method(id, name)
  methods[name] = fn
  return fn
end

local metas = { [false] = {}, [true] = {} }
-- Those of types that nobody has defined: messages may bring any number of such names.
local loose = { [false] = setmetatable({}, { __mode = "v" }),
  [true] = setmetatable({}, { __mode = "v" }) }

function make_meta(type_name, raise)
  local meta = metas[raise][type_name] or loose[raise][type_name]
  if meta then return meta end
  meta = { __gb = "ref", __type = type_name, __eq = equal, __tostring = base.id, raise = raise }
  local methods = {}
  for name, fn in pairs(base) do methods[name] = fn end
  if raise then
    methods.tell = raising(base.tell)
    local plain = make_meta(type_name, false)
    meta.__index = setmetatable(methods, { __index = function(t, name)
      local fn = plain.__index[name]
      if type(fn) ~= "function" then return nil end
      local wrapped = raising(fn)
      if rawget(plain.__index, name) then t[name] = wrapped end
      return wrapped
    end })
  else
    meta.__index = setmetatable(methods, {
      __index = function(t, name) return closure(meta, t, name) end,
    })
  end
  meta.__newindex = function(_, name)
    error(("a reference cannot be changed (field '%s'); call its methods"):format(tostring(name)),
      2)
  end
  local kept = core.type_id(type_name) and metas or loose
  kept[raise][type_name] = meta
  return meta
end

-- ---- making them ----

local INTEGER_MAX = 2 ^ 53

-- A key as references keep it: integers that a double holds are numbers, other texts are texts.
local function canonical(key, level)
  local kind = type(key)
  if kind == "number" then
    if key ~= math.floor(key) or key >= INTEGER_MAX or key <= -INTEGER_MAX then
      error(("a grain's key is a string or an integer below 2^53, got %s"):format(tostring(key)),
        level + 1)
    end
    return key + 0 -- no negative zero
  elseif kind == "string" then
    if key == "" then error("a grain's key must not be empty", level + 1) end
    if #key > 1024 then
      error(("a grain's key is at most 1024 bytes, got %d"):format(#key), level + 1)
    end
    if key:find("^%-?[1-9]%d*$") or key == "0" then
      local number = tonumber(key)
      if number < INTEGER_MAX and number > -INTEGER_MAX then return number end
    end
    return key
  elseif kind == "cdata" and core.classify(key) ~= nil and core.classify(key):find("int64") then
    return canonical(tostring(key):gsub("U?LL$", ""), level + 1)
  end
  error(("a grain's key is a string or an integer, got %s"):format(kind), level + 1)
end

function M.make(type_name, key)
  return setmetatable({ key, false }, make_meta(type_name, false)) -- room for the handle
end

--- A reference: no I/O. Raises at `level` for a wrong type name or key.
function M.get(type_name, key, level)
  if key == nil then
    error("gb.get takes a type and a key: gb.get(\"Counter\", \"basket-7\")", level + 1)
  end
  return setmetatable({ canonical(key, level + 1), false }, make_meta(type_name, false))
end

M.key_text, M.syms, M.type_id, M.unknown_type = key_text, syms, type_id, unknown_type
M.find_type = find_type

return M
