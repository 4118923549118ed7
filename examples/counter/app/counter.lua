-- A grain type in a module: every worker of the silo hosts it, and loads this file once.
local gb = require "gb"

local Counter = gb.grain("Counter", { idle = "1m" })

function Counter:on_activate() self.state.n = self.state.n or 0 end

function Counter:add(k)
  if type(k) ~= "number" then gb.fail("NOT_A_NUMBER", "cannot add a %s", type(k)) end
  self.state.n = self.state.n + k
  return self.state.n
end

function Counter:get() return self.state.n end

return Counter
