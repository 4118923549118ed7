-- A grain type of a module: hosted by every worker.
local gb = require "gb"

local Echo = gb.grain("Echo", { placement = "hash" })

function Echo:where() return gb.silo().worker end
function Echo:echo(...) return ... end
function Echo:count(...) return select("#", ...) end
function Echo:change(t) t.x, t[1] = "changed", "changed" return t end
function Echo:keep(...) self.kept = { n = select("#", ...), ... } end
function Echo:kept_values() return unpack(self.kept, 1, self.kept.n) end
function Echo:sleep(s) gb.sleep(s) return "slept" end
function Echo:boom(what) error(what or "boom") end
function Echo:fail(...) gb.fail(...) end
function Echo:through(ref, method, ...) return gb.call(ref, method, ...) end
function Echo:own() return self:ref() end
function Echo:note(x) self.notes = self.notes or {} self.notes[#self.notes + 1] = x end
function Echo:noted() return self.notes end
function Echo:bad() return { items = { 1, 2, print } } end
function Echo:context() return gb.context() end
function Echo:context_through(ref) return gb.context(), (ref:context()) end

return Echo
