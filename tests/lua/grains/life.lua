-- Lives: activation, idleness, ends, timers, spawned turns, placement.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
require "types.life"
require "types.echo"

local function lines(key) return gb.get("Diary", key):read() end

kit.case("an activation begins with the first call and ends when idle", function()
  for _, here in ipairs { true, false } do
    local c = kit.elsewhere("Short", here, "idle" .. tostring(here))
    local key = c:id():match("/(.*)")
    kit.wait("idle end", function() return lines(key)[2] end)
    kit.eq(lines(key)[1], "on")
    kit.eq(lines(key)[2], "off idle")
    kit.eq(c:touch(), 1, "a new activation")
    kit.eq(lines(key)[3], "on")
  end
end)

kit.case("self:deactivate ends after the turn; state is gone", function()
  local c = gb.get("Calm", "asked")
  kit.eq(c:touch(), 1)
  kit.eq(c:stop(), "stopped")
  kit.eq(c:touch(), 1)
  kit.same({ lines("asked")[1], lines("asked")[2], lines("asked")[3] }, { "on", "off asked", "on" })
end)

kit.case("keep_alive stays", function()
  local c = gb.get("Kept", "k")
  kit.eq(c:touch(), 1)
  gb.sleep("40ms")
  kit.eq(c:touch(), 2)
end)

kit.case("a timer does not keep alive", function()
  local c = gb.get("Short", "timed")
  c:timer_only()
  kit.wait("idle end", function() return lines("timed")[2] end)
  kit.eq(lines("timed")[2], "off idle")
end)

kit.case("a spawned turn is cancelled with its grain", function()
  local c = gb.get("Calm", "spawner")
  kit.eq(c:spawner(), "spawned")
  kit.eq(c:stop(), "stopped")
  kit.wait("end", function() return lines("spawner")[2] end)
  gb.sleep("5ms")
  kit.eq(lines("spawner")[2], "off asked")
  kit.eq(lines("spawner")[3], nil)
end)

kit.case("on_activate that fails: callers hear it, the next call tries again", function()
  kit.fails("ERAISED", "~life.lua:%d+: not today$", gb.get("Fragile", "raises"):hello())
  kit.fails("ERAISED", "~not today$", gb.get("Fragile", "raises"):hello())
  kit.fails("ENOENT", "~no row fails", gb.get("Fragile", "fails"):hello())
  local own = gb.get("Fragile", "own code")
  kit.fails("NO_ROW", "no row own code", own:hello({ 1 }, gb.array("int32", 100000)))
  local asked = { own:async("hello"), own:async("hello") }
  for i = 1, 2 do kit.fails("NO_ROW", "no row own code", asked[i]:await()) end
  kit.raises("~no row own code %(NO_ROW%)$", function() own:with({ raise = true }):hello() end)
  kit.eq(own:tell("hello"), true)
  local futures = {}
  for i = 1, 5 do futures[i] = gb.get("Fragile", "many"):async("hello") end
  for i = 1, 5 do kit.fails("ERAISED", "~not today$", futures[i]:await()) end
  gb.get("Diary", "fragile-raises"):write("ok")
  kit.eq(gb.get("Fragile", "raises"):hello(), "hello")
  kit.eq(gb.get("Fragile", "raises"):tell("hello"), true)
end)

kit.case("on_deactivate that raises: it is gone all the same", function()
  local c = gb.get("BadEnd", 1)
  kit.eq(c:stop(), "stopped")
  kit.eq(c:marked(), nil)
end)

kit.case("deactivation while calls wait: they are served by the next activation", function()
  local c = gb.get("Calm", "between")
  c:touch()
  local futures = { c:async("busy", 0.005), c:async("stop") }
  for i = 3, 12 do futures[i] = c:async("touch") end
  local results = gb.all(futures)
  kit.eq(results[2], "stopped")
  for i = 3, 12 do kit.eq(results[i], i - 2) end
end)

kit.case("hooks that are defined late are used", function()
  local Late = gb.grain("LateHooks")
  function Late:hello() return "hello" end
  function Late:stop() self:deactivate() return true end
  local seen
  kit.eq(gb.get("LateHooks", 1):hello(), "hello")
  function Late:on_deactivate(reason) seen = reason end
  kit.eq(gb.get("LateHooks", 1):stop(), true)
  kit.wait("the hook", function() return seen end)
  kit.eq(seen, "asked")
  function Late:hello() return "hello again" end
  kit.eq(gb.get("LateHooks", 1):hello(), "hello again")
  local again = gb.grain("LateHooks", { idle = "1h" })
  function again:hello() return "third" end
  kit.eq(gb.get("LateHooks", 2):hello(), "third")
end)

kit.case("timers: after, every, arguments, stop, errors", function()
  local T = gb.grain("Timed")
  function T:on_activate() self.ticks, self.args = 0, {} end
  function T:tick(...) self.ticks = self.ticks + 1 self.args = { n = select("#", ...), ... } end
  function T:slow() self.ticks = self.ticks + 1 gb.sleep("10ms") end
  function T:bad() self.ticks = self.ticks + 1 error("a tick that raises") end
  function T:_own() self.ticks = self.ticks + 1 end
  function T:start(o) local t, m, c = self:timer(o) self.t = t or self.t return t and gb.type(t)
    or nil, m, c end
  function T:stop() return self.t:stop() end
  function T:count() return self.ticks end
  function T:last() return self.args end
  local a = gb.get("Timed", "after")
  kit.eq(a:start { after = "2ms", call = "tick", args = { 1, nil, 3 } }, "timer")
  kit.wait("the tick", function() return a:count() > 0 end)
  kit.same(a:last(), { n = 3, 1, nil, 3 })
  gb.sleep("10ms")
  kit.eq(a:count(), 1)
  kit.eq(a:stop(), false, "it has fired")
  local e = gb.get("Timed", "every")
  e:start { every = "2ms", call = "tick" }
  kit.wait("five ticks", function() return e:count() >= 5 end)
  kit.eq(e:stop(), true)
  kit.eq(e:stop(), false)
  local n = e:count()
  gb.sleep("10ms")
  kit.eq(e:count(), n)
  local s = gb.get("Timed", "slow")
  s:start { every = "1ms", call = "slow" }
  gb.sleep("45ms")
  s:stop()
  kit.ok(s:count() <= 12, "missed ticks coalesce: " .. s:count())
  local b = gb.get("Timed", "bad")
  b:start { after = 0, every = "1ms", call = "bad" }
  kit.wait("ticks go on", function() return b:count() >= 3 end)
  b:stop()
  local o = gb.get("Timed", "own")
  kit.eq(o:start { after = 0, call = "_own" }, "timer")
  kit.wait("a private method", function() return o:count() == 1 end)
  function T:bad_arguments() local t = self:timer { after = 1, call = "tick",
    args = { { x = print } } } return t end
  kit.fails("ERAISED", "~^life.lua:%d+: argument 1.x: function$", o:bad_arguments())
  kit.eq(o:start { after = math.huge, every = math.huge, call = "tick" }, "timer")
  kit.eq(o:stop(), true)
end)

kit.case("spawn in a script and in a grain: results, errors, arguments", function()
  kit.same({ gb.spawn(function(...) return select("#", ...), ... end, 1, nil, 3, nil):await() },
    { 4, 1, nil, 3 })
  kit.eq(gb.spawn(function() end):await(), true)
  local v, m, c, traceback = gb.spawn(function() error("spawned") end):await()
  kit.fails("ERAISED", "~life.lua:%d+: spawned$", v, m, c)
  kit.ok(traceback and traceback:find("life.lua", 1, true))
  kit.fails("CODE", "text", gb.spawn(function() gb.fail("CODE", "text") end):await())
  local t = { x = print }
  kit.eq(gb.spawn(function() return t end):await(), t, "the same table: no copies within a grain")
  local S = gb.grain("Spawner")
  function S:work(n)
    local futures = {}
    for i = 1, n do futures[i] = gb.spawn(function() gb.sleep(0) self.sum = (self.sum or 0) + i
      return self.sum end) end
    gb.all(futures)
    return self.sum
  end
  function S:hello() return "hello" end
  kit.eq(gb.get("Spawner", 1):work(10), 55)
  kit.eq(gb.get("Spawner", 1):hello(), "hello")
end)

kit.case("placement: local, least, hash, stateless", function()
  kit.eq(gb.get("Near", "x"):where(), 0)
  local per = {}
  for i = 1, 8 * kit.workers do
    local at = gb.get("Least", "l" .. i):where()
    per[at] = (per[at] or 0) + 1
  end
  local fewest, most = math.huge, 0
  for w = 1, kit.workers - 1 do -- not 0: the other types of this file live there too
    fewest, most = math.min(fewest, per[w] or 0), math.max(most, per[w] or 0)
  end
  kit.ok(kit.workers == 1 or fewest > 0 and most <= 8 * kit.workers / 2, fewest .. " to " .. most)
  for i = 1, 20 do
    local ref = gb.get("Short", "h" .. i)
    kit.eq(ref:where(), ref:where())
  end
  kit.eq(gb.get("Stateless", "s"):where(), 0)
  local futures, seen, count = {}, {}, 0
  for i = 1, 12 do futures[i] = gb.get("Stateless", "s"):async("who", 0.002) end
  for _, me in ipairs(gb.all(futures)) do
    if not seen[me] then seen[me], count = true, count + 1 end
  end
  kit.ok(count >= 2 and count <= 4, count .. " activations")
end)

kit.case("a thousand grains that come and go", function()
  for round = 1, 5 do
    local futures = {}
    for i = 1, 200 do futures[i] = gb.get("Short", "crowd" .. i):async(i % 3 == 0 and "stop"
      or "touch") end
    for _, f in ipairs(futures) do kit.ok(f:await(), "round " .. round) end
  end
end)

kit.finish()
