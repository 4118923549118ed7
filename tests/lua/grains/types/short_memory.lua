-- Run by memory.lua with a bound on Lua's memory: what does not fit fails, and all else goes on.
local kit = dofile((arg[0]:gsub("[^/]+$", "../../kit.lua")))
local gb = require "gb"

local scale = tonumber(os.getenv("GB_TEST_SCALE") or "1") -- as in memory.lua
local function part(count) return math.ceil(count * scale) end

local Eater = gb.grain("Eater", { reentrant = true })
function Eater:eat()
  local t = {}
  for i = 1, 1e9 do t[i] = { i } end
  return #t
end
function Eater:eat_in_pcall() return pcall(self.eat, self) end
function Eater:text() return ("x"):rep(2 ^ 30) end
function Eater:build(n)
  local t = {}
  for i = 1, n do t[i] = { i, x = "text" .. i } end
  return t
end
function Eater:echo(...) return ... end
function Eater:size(t) return #t end
function Eater:fine() return "fine" end
local key = 0
local function eater()
  key = key + 1
  return gb.get("Eater", key % 7)
end

kit.case("a turn that eats all memory fails with ENOMEM, again and again", function()
  for _ = 1, part(10) do
    kit.fails("ENOMEM", "not enough memory: Lua on this worker has reached its bound (lua_memory)",
      eater():eat())
    kit.eq(eater():fine(), "fine")
    kit.fails("ENOMEM", nil, eater():text())
    local ok, message = eater():eat_in_pcall()
    kit.eq(ok, false)
    kit.eq(message, "not enough memory")
    kit.eq(eater():fine(), "fine")
    kit.fails("ENOMEM", nil, gb.spawn(function() return Eater.eat() end):await())
  end
end)

-- The script lives under the same bound as worker 0: it may be the one that is refused.
local function try(fn)
  local ok, value, message, code = pcall(fn)
  if ok and value ~= nil then return value end
  collectgarbage() -- the turn goes on, with what it has left as garbage
  if not ok then message, code = value, "ENOMEM" end
  kit.eq(code, "ENOMEM", tostring(message))
  return nil
end

kit.case("messages that do not fit", function()
  local fine, failed, steps = 0, 0, math.max(part(40), 4)
  for step = 0, steps do
    local n = 1000 + math.floor(step * 59000 / steps)
    for _, busy in ipairs { true, false } do
      local size = try(function()
        local first = busy and gb.get("Eater", 0):async("fine")
        local t, message, code = gb.get("Eater", 0):build(n)
        if first then first:await() end
        if not t then return t, message, code end
        kit.eq(#t, n)
        return eater():size(t)
      end)
      if size then kit.eq(size, n) end
      if size then fine = fine + 1 else failed = failed + 1 end
    end
    kit.eq(eater():fine(), "fine")
  end
  kit.ok(fine > steps / 2 and failed > 0, fine .. " fine and " .. failed .. " not")
end)

kit.case("bags that do not fit", function()
  local text, kept, failed = ("x"):rep(3e6), {}, 0
  for i = 1, 20 do
    local ref = try(function() return gb.get("Eater", 0):with { bag = { text, i } } end)
    if ref then kept[#kept + 1] = ref else failed = failed + 1 end
  end
  kit.ok(#kept > 0 and failed > 0, #kept .. " fine and " .. failed .. " not")
end)

kit.case("garbage is no reason", function()
  for _ = 1, part(200) do
    local t = gb.get("Eater", 0):build(1000)
    kit.eq(#t, 1000)
  end
end)

kit.case("many calls, futures and arguments at the bound", function()
  local kept, list, outcomes = {}, {}, { fine = 0, failed = 0 }
  for i = 1, 200 do list[i] = i end
  try(function() for i = 1, 1e9 do kept[i] = ("x"):rep(1000) .. i end end)
  for i = 1, 100 do kept[i] = false end
  local i
  local function work()
    local f = eater():async("echo", unpack(list, 1, i % 200 + 1))
    local g = gb.spawn(function(...) return ... end, unpack(list, 1, i % 200 + 1))
    eater():tell("echo", { list })
    eater():echo({ list, list })
    kept[#kept + 1] = ("y"):rep(i)
    local value, message, code = f:await()
    if value == nil then return value, message, code end
    return g:await()
  end
  for n = 1, math.max(part(3000), 300) do
    i = n
    local done = try(work)
    if done then outcomes.fine = outcomes.fine + 1 else outcomes.failed = outcomes.failed + 1 end
    if not done then kept[i + 100] = false end
  end
  kept = nil -- luacheck: ignore (let go)
  collectgarbage()
  kit.ok(outcomes.fine > 0, outcomes.fine .. " fine")
  kit.eq(eater():fine(), "fine")
end)

kit.finish()
