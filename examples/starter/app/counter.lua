-- A grain: one counter per key. It lives while it is used, and its turns never overlap.
local gb = require "gb"

local Counter = gb.grain("Counter", { idle = "10m" })

function Counter:on_activate() self.count = gb.config.app.start or 0 end

function Counter:add(amount)
  if type(amount) ~= "number" then gb.fail("NOT_A_NUMBER", "%s is no number", tostring(amount)) end
  self.count = self.count + amount
  return self.count
end

return Counter
