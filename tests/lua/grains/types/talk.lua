-- Grains that publish and subscribe, on every worker.
local gb = require "gb"

local Room = gb.grain("Room", { placement = "hash" })
function Room:where() return gb.silo().worker end
function Room:say(...) return self:publish("said", ...) end
function Room:on(topic, ...) return self:publish(topic, ...) end
function Room:stop() self:deactivate() return true end
function Room:wrong() local ok = self:publish() return ok end

local Ear = gb.grain("Ear", { placement = "hash", idle = "1h" })
function Ear:where() return gb.silo().worker end
function Ear:on_activate() self.heard = {} end
function Ear:hear(...) self.heard[#self.heard + 1] = ... end
function Ear:_private(...) self.heard[#self.heard + 1] = ... end
function Ear:listen(ref, topic, method)
  self.sub = assert(gb.subscribe(ref, topic, method or "hear"))
  return true
end
function Ear:listen_fn(ref, topic)
  self.sub = assert(gb.subscribe(ref, topic, function(...)
    self.heard[#self.heard + 1] = ...
    self.last = { n = select("#", ...), ... }
  end))
  return true
end
function Ear:list() return self.heard end
function Ear:last_one() return self.last end
function Ear:close() return self.sub:close() end
function Ear:stop() self:deactivate() return true end

return true
