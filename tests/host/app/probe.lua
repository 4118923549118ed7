-- A grain for the tests of the embedding API.
local gb = require "gb"

local Probe = gb.grain("Probe", {})

function Probe:on_activate() self.state.n = 0 end

function Probe:add(k)
  self.state.n = self.state.n + (k or 1)
  return self.state.n
end

function Probe:get() return self.state.n end
function Probe:key_text() return self:key(), type(self:key()) end
function Probe:nothing() end
function Probe:echo(...) return ... end
function Probe:kinds(...)
  local names = {}
  for i = 1, select("#", ...) do names[i] = gb.type((select(i, ...))) end
  return names
end
function Probe:raise(text) error(text or "boom") end
function Probe:fails(code) gb.fail(code, "failed with %s", code) end
function Probe:gives(code) return nil, "given " .. code, code end
function Probe:fn() return function() end end
function Probe:sleep(s)
  gb.sleep(s)
  return gb.cancelled()
end
function Probe:spin(s)
  local until_time = gb.monotonic() + s
  while gb.monotonic() < until_time do end
  return true
end
function Probe:sum(a)
  local sum = 0
  for i = 0, #a - 1 do sum = sum + a[i] end
  return sum
end
function Probe:double(a, free)
  for i = 0, #a - 1 do a[i] = a[i] * 2 end
  if free then a:free() end
  return true
end
function Probe:array(n)
  local a = gb.array("float", n)
  for i = 0, n - 1 do a[i] = i end
  return a
end
function Probe:peer(ref, k) return ref:add(k) end
function Probe:me() return self:ref() end
function Probe:make(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end
function Probe:host(name, ...) return gb.host[name](...) end
function Probe:host_unknown() return gb.host.ad(1, 2) end
function Probe:mark_sleep(s)
  gb.host.mark()
  gb.sleep(s)
end
function Probe:hold() while not gb.host.gate() do gb.sleep(0.001) end end
function Probe:_private() return 1 end

return Probe
