-- Types for three silos: a grain of A lives on the silo of zone a, and so on.
local gb = require "gb"

local function methods(type)
  function type:where() return gb.silo().name end

  --- Calls go along a path of ids, "A/x": each grain calls the next.
  function type:follow(path, at)
    self.seen = (self.seen or 0) + 1
    if not path[at] then return self.seen end
    return gb.get(path[at]:match("^(.-)/"), path[at]:match("/(.+)$")):follow(path, at + 1)
  end

  --- Calls `other` when as many turns as it takes have come to the gate.
  function type:meet(gate, other)
    assert(gate:come())
    return other:where()
  end

  function type:context() return gb.context(), gb.deadline() end
  function type:pass_on(other) return { gb.context(), gb.deadline() }, { other:context() } end

  --- Publishes numbers, or what it is given.
  function type:say(...) return self:publish("said", ...) end
  function type:count(from, to)
    for i = from, to do assert(self:publish("said", i)) end
    return true
  end
  function type:stop()
    self:deactivate()
    return true
  end

  --- Hears, with a method or with a function.
  function type:hear(what) self.heard[#self.heard + 1] = what end
  function type:listen(room, with_function)
    self.heard = {}
    self.sub = assert(gb.subscribe(room, "said", with_function and function(what)
      self.heard[#self.heard + 1] = what
    end or "hear"))
    return true
  end
  function type:list() return self.heard or {} end
  function type:close() return self.sub:close() end

  --- Is busy until the gate is open; then marks, in the order in which they are served.
  function type:hold(gate)
    self.marks = {}
    return gate:come()
  end
  function type:mark(name)
    self.marks[#self.marks + 1] = name
    return self.marks
  end
  function type:order(other, gate)
    assert(other:where() and gate:set(2)) -- both are active
    local all = { other:async("hold", gate), other:async("mark", "none"),
      other:with { priority = -3 }:async("mark", "low"),
      other:with { priority = 7 }:async("mark", "high") }
    assert(gate:come()) -- behind them, on the same link
    assert(gb.all(all))
    return other:mark("last")
  end
end

for _, zone in ipairs { "a", "b", "c" } do
  local where, name = gb.label { zone = zone }, zone:upper()
  methods(gb.grain(name, { placement = where }))
  methods(gb.grain(name .. "Chain", { placement = where, reentrant = "chain" }))
  methods(gb.grain(name .. "Yes", { placement = where, reentrant = true }))
end

methods(gb.grain("Free"))

-- Opens when so many have come.
local Gate = gb.grain("Gate", { placement = gb.label { zone = "c" }, reentrant = true })
function Gate:set(count)
  self.left = count
  return true
end
function Gate:come()
  self.left = self.left - 1
  while self.left > 0 and not gb.cancelled() do gb.sleep("5ms") end
  return true
end
