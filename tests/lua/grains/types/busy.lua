-- Types that wait for each other.
local gb = require "gb"

local function methods(T)
  function T:where() return gb.silo().worker end
  function T:sleep(s) gb.sleep(s) return "slept" end
  function T:note(x) self.notes = self.notes or {} self.notes[#self.notes + 1] = x end
  function T:noted() return self.notes or {} end
  function T:call(ref, method, ...) return gb.call(ref, method, ...) end
  function T:call_with(ref, options, method, ...) return gb.call(ref:with(options), method, ...) end
  function T:await(ref, method, ...) return ref:async(method, ...):await() end
  function T:await_all(refs, method, ...)
    local futures = {}
    for i, ref in ipairs(refs) do futures[i] = ref:async(method, ...) end
    return gb.all(futures)
  end
  function T:self_call() return self:ref():hello() end
  function T:self_tell() return self:ref():tell("note", "told") end
  function T:hello() return "hello" end
  function T:chain(refs, i)
    i = i or 1
    if not refs[i] then return "end" end
    return refs[i]:chain(refs, i + 1)
  end
  function T:left() return gb.deadline(), gb.cancelled() end
  function T:until_cancelled(key)
    self.began = key
    while not gb.cancelled() do gb.sleep(0.001) end
    self.heard = key
  end
  function T:began_with() return self.began end
  function T:heard_of() return self.heard end
end

methods(gb.grain("Busy", { placement = "hash", max_queue = 8 }))
methods(gb.grain("Deep", { placement = "hash", max_queue = 100000 }))
methods(gb.grain("Open", { placement = "hash", reentrant = true }))
methods(gb.grain("Chain", { placement = "hash", reentrant = "chain" }))

return true
