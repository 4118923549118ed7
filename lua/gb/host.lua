-- gb.host: functions of the program that embeds us, looked up when they are used. And what calls
-- from C ask of the Lua half.
local core = require "gb.core"
local near = require "gb.near"
local ref = require "gb.ref"

--- Makes a grain type known, loading the app if need be: true, or nil, message, "ENOTYPE".
function core.find_type(name)
  if ref.find_type(name) then return true end
  return ref.unknown_type(name)
end

return setmetatable({}, {
  __index = function(t, name)
    local fn, names = core.export(tostring(name))
    if not fn then error(near.unknown("host function", name, names), 2) end
    rawset(t, name, fn)
    return fn
  end,
  __newindex = function() error("gb.host is read-only: gb_export adds to it", 2) end,
})
