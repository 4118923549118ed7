-- Grains of the tests of large messages.
local gb = require "gb"

local Echo = gb.grain("Echo", { placement = gb.label { zone = "far" } })
function Echo:give(...) return ... end
function Echo:size(x) return #x end
function Echo:text(n) return ("x"):rep(n) end

-- Its worker reads nothing while it stands still: until the file is there.
local Slow = gb.grain("Slow", { placement = gb.label { zone = "far" }, max_queue = 1024 })
function Slow:on_activate() self.got = {} end
function Slow:stand(path)
  while true do
    local f = io.open(path)
    if f then return f:close() end
  end
end
function Slow:take(i, text)
  assert(#text == 2 ^ 19)
  self.got[#self.got + 1] = i
end
function Slow:all() return self.got end

local Other = gb.grain("Other", { placement = gb.label { zone = "near" } })
function Other:ping(i) return i end

return { Echo, Slow, Other }
