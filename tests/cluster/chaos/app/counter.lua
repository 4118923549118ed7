-- Counts while it is active; says who it is and where.
local gb = require "gb"

local Counter = gb.grain("Counter", { max_queue = 65536 })

function Counter:on_activate()
  self.state.n = 0
  self.state.life = ("%s-%d-%.9f"):format(self:id(), gb.silo().worker, gb.monotonic())
end

function Counter:inc()
  self.state.n = self.state.n + 1
  return os.getenv("CHAOS_NAME"), self.state.life, self.state.n
end

function Counter:where() return os.getenv("CHAOS_NAME"), self.state.life end
function Counter:echo(...) return ... end
function Counter:count() return self.state.n end
function Counter:many(bytes) return ("x"):rep(bytes) end
function Counter:bag() return (gb.context().bag or {}).word end
function Counter:slow() gb.sleep(1) end
function Counter:fails() error("on purpose") end

return Counter
