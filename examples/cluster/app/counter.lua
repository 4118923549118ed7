-- Anywhere. What it counts lasts as long as its silo.
local gb = require "gb"

local Counter = gb.grain("Counter")

function Counter:add(n)
  self.state.n = (self.state.n or 0) + n
  return self.state.n, gb.silo().name
end

return Counter
