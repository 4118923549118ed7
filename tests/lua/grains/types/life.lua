-- Types whose activations come and go, on every worker; what happened is kept by one grain, Diary.
local gb = require "gb"

local Diary = gb.grain("Diary", { keep_alive = true })
function Diary:write(line) self.lines = self.lines or {} self.lines[#self.lines + 1] = line end
function Diary:read() return self.lines or {} end

local function diary(self) return gb.get("Diary", self:key()) end

-- Short ends by itself soon, Calm only when it is asked to.
for name, idle in pairs { Short = "20ms", Calm = "1h" } do
  local T = gb.grain(name, { placement = "hash", idle = idle })
  function T:where() return gb.silo().worker end
  function T:on_activate() self.n = 0 diary(self):write("on") end
  function T:on_deactivate(reason) diary(self):write("off " .. reason) end
  function T:touch() self.n = self.n + 1 return self.n end
  function T:stop() self:deactivate() return "stopped" end
  function T:tick() self.n = self.n + 1 end
  function T:timer_only() self.t = self:timer { every = "2ms", call = "tick" } end
  function T:spawner()
    local d = diary(self)
    self.f = gb.spawn(function() gb.sleep(30) d:write("never") end)
    return "spawned"
  end
  function T:busy(s) gb.sleep(s) return self.n end
end

local Kept = gb.grain("Kept", { placement = "hash", idle = "5ms", keep_alive = true })
function Kept:where() return gb.silo().worker end
function Kept:touch() self.n = (self.n or 0) + 1 return self.n end

local Fragile = gb.grain("Fragile", { placement = "hash" })
function Fragile:where() return gb.silo().worker end
function Fragile:on_activate()
  if gb.get("Diary", "fragile-" .. self:key()):read()[1] ~= "ok" then
    if self:key() == "fails" then gb.fail("ENOENT", "no row %s", self:key()) end
    if self:key() == "own code" then gb.fail("NO_ROW", "no row %s", self:key()) end
    error("not today")
  end
end
function Fragile:hello() return "hello" end

local BadEnd = gb.grain("BadEnd", { placement = "hash" })
function BadEnd:on_deactivate() error("bad end") end
function BadEnd:stop() self.mark = true self:deactivate() return "stopped" end
function BadEnd:marked() return self.mark end

local Stateless = gb.grain("Stateless", { placement = "stateless", max_activations = 4 })
function Stateless:where() return gb.silo().worker end
function Stateless:who(s) gb.sleep(s) self.me = self.me or tostring(self) return self.me end

local Least = gb.grain("Least", { placement = "least" })
function Least:where() return gb.silo().worker end

local Near = gb.grain("Near", { placement = "local" })
function Near:where() return gb.silo().worker end

return true
