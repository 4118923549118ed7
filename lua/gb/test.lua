-- gb.test: what specs under `gbrun test` can do to their silo. Its time is virtual, and it has one
-- worker.
local core = require "gb.core"
local fail = require "gb.fail"
local grain = require "gb.grain"
local near = require "gb.near"
local ref = require "gb.ref"
local units = require "gb.units"

local T = {}

-- ---- time ----

--- Lets so much time pass: timers fire in their order, and what they start runs to its end.
function T.advance(duration)
  local seconds = units.seconds(duration, "gb.test.advance", 2)
  core.sleep(seconds)
  core.idle()
  return true
end

--- Runs until nothing is left to do at this time.
function T.idle()
  core.idle()
  return true
end

--- What is random begins anew: math.random and the host's own choices.
function T.seed(number)
  if type(number) ~= "number" or number ~= math.floor(number) or number < 0 then
    error("gb.test.seed takes a whole number", 2)
  end
  math.randomseed(number)
  core.seed(number)
  return true
end

-- ---- grains ----

local changed = {} -- by type name: by method: { what the type had, or nil }

local function class_of(name)
  if not grain.by_name[name] and not core.type_id(name) then core.load_app() end
  return grain.by_name[name]
end

local function put(name, class, method, fn)
  local methods = changed[name] or {}
  changed[name] = methods
  if not methods[method] then
    methods[method] = { rawget(getmetatable(class).__index, method), class = class }
  end
  class[method] = fn
end

--- These methods (and hooks) instead of the type's own, until reset; the others stay. A type that
--- is not there is made.
function T.replace(type_or_name, methods)
  local name = grain.name_of(type_or_name, "gb.test.replace", 2)
  if type(methods) ~= "table" then
    error("gb.test.replace takes a type and its methods: replace(\"Mailer\", { send = fn })", 2)
  end
  for method, fn in pairs(methods) do
    if type(method) ~= "string" or type(fn) ~= "function" then
      error(("gb.test.replace: %s is a %s, not a function"):format(tostring(method), type(fn)), 2)
    end
    if grain.reserved[method] then
      error(("%s:%s is built in and cannot be replaced"):format(name, method), 2)
    end
  end
  local class = class_of(name) or grain.define(name, {}, 2)
  for method, fn in pairs(methods) do put(name, class, method, fn) end
  return true
end

--- Ends the activation behind a reference, with its hook: true when there was one.
function T.deactivate(target)
  if not ref.is(target) then error("gb.test.deactivate takes a reference (from gb.get)", 2) end
  local id = ref.type_id(getmetatable(target))
  local was = id and core.stop(id, target[1]) or false
  core.idle()
  return was
end

local function restore()
  for _, methods in pairs(changed) do
    for method, old in pairs(methods) do old.class[method] = old[1] end
  end
  changed = {}
end

--- As at the start: methods are the types' own again, nothing fails on purpose, no grain is active.
function T.reset()
  core.idle()
  restore()
  for _, name in ipairs(core.type_names()) do
    local id = core.type_id(name)
    for _, key in ipairs(core.keys(id)) do core.stop(id, key) end
  end
  core.idle()
  return true
end

-- ---- faults ----

-- Points of features that come later.
local later = {}
for _, point in ipairs { "store.load", "store.save", "store.clear", "stream.publish",
  "reminder.fire", "cluster.send", "kernel.compile", "kernel.launch", "buffer.open" } do
  later[point] = true
end

--- The next calls of a method ("Mailer.send") give their callers this code. nil, message, "ENOTYET"
--- for other points.
function T.fail(point, code, times)
  if type(point) ~= "string" or type(code) ~= "string" or code == "" then
    error("gb.test.fail takes a point and a code: fail(\"Mailer.send\", \"ETIMEDOUT\", 2)", 2)
  end
  local left = times == nil and 1 or times
  if type(left) ~= "number" or left < 0 then
    error("gb.test.fail: times is a number, 0 or more", 2)
  end
  if later[point] then
    return nil, ("gb.test.fail: the point '%s' is not in this version yet"):format(point), "ENOTYET"
  end
  local name, method = point:match("^([^.:]+)[.:]([^.:]+)$")
  local class = name and class_of(name)
  local original = class and class[method]
  if type(original) ~= "function" then
    local known = near.keys(later)
    for _, type_name in ipairs(core.type_names()) do
      local other = grain.by_name[type_name]
      for own, value in pairs(other and getmetatable(other).__index or {}) do
        local public = type(value) == "function" and not own:find("^_")
        known[#known + 1] = public and type_name .. "." .. own or nil
      end
    end
    error(near.unknown("point", point, known), 2)
  end
  put(name, class, method, function(self, ...)
    if left > 0 then
      left = left - 1
      fail.raise(code, "%s fails on purpose (gb.test.fail)", point)
    end
    return original(self, ...)
  end)
  return true
end

local function not_here(what)
  return function() return nil, what .. " of a silo in tests is not in this version yet",
    "ENOTYET" end
end

--- Handles of so many silos.
function T.silos(count)
  if type(count) ~= "number" or count < 1 or count ~= math.floor(count) then
    error("gb.test.silos takes a whole number, 1 or more", 2)
  end
  if count > 1 then
    return nil, "gb.test.silos: more than one silo is not in this version yet", "ENOTYET"
  end
  return { { name = core.place().silo or "local", kill = not_here("kill"),
    drain = not_here("drain"),
    partition = not_here("partition") } }
end

-- ---- numbers ----

local function numbers(value, what, level)
  if type(value) == "number" then return { value } end
  if type(value) == "table" and getmetatable(value) == nil then return value end
  local kind = require("gb").type(value)
  if kind == "array" then return value:totable { number = true } end
  error(("gb.test.near: the %s is an array or a list of numbers, got %s"):format(what, kind),
    level + 1)
end

--- Raises unless all elements are as near to the expected ones as the tolerance (default 1e-6).
function T.near(array, expected, tolerance)
  local a, b = numbers(array, "first argument", 2), numbers(expected, "second argument", 2)
  tolerance = tolerance or 1e-6
  if type(tolerance) ~= "number" then error("gb.test.near: the tolerance is a number", 2) end
  if #a ~= #b then error(("gb.test.near: %d elements, expected %d"):format(#a, #b), 2) end
  local first = type(array) == "cdata" and 1 or 0
  for i = 1, #a do
    local x, y = a[i], b[i]
    if type(x) ~= "number" or type(y) ~= "number" then
      error(("gb.test.near: element %d is no number"):format(i - first), 2)
    end
    local near_enough = math.abs(x - y) <= tolerance -- false for NaN
    if x ~= y and not near_enough then
      error(("element %d is %.9g, expected %.9g within %g (off by %.3g)"):format(i - first, x, y,
        tolerance,
        math.abs(x - y)), 2)
    end
  end
  return true
end

-- ---- outside of gbrun test ----

local known = near.keys(T)
local public = {}
for name, fn in pairs(T) do
  public[name] = core.place().virtual_time and fn or function()
    error(("gb.test.%s works only in specs that `gbrun test DIR` runs"):format(name), 2)
  end
end

return setmetatable(public, { __index = function(_, name)
  error(near.unknown("function of gb.test", tostring(name), known), 2)
end })
