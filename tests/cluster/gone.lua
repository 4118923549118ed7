-- gone.lua NAME: nothing is known of the capacity of a silo that has left.
local gb = require "gb"
local _, message = gb.capacity.get(arg[1])
for _, c in ipairs(assert(gb.capacity.list { all = true })) do
  assert(c.silo ~= arg[1], "it is in the list")
end
print(message)
