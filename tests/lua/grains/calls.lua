-- Calls: references, keys, awaited and one-way calls, futures, with, many arguments and results.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
require "types.echo"

local Counter = gb.grain("Counter", {})
function Counter:on_activate() self.state.n = self.state.n or 0 end
function Counter:add(k) self.state.n = self.state.n + k return self.state.n end
function Counter:get() return self.state.n end
function Counter:nothing() end
function Counter:explicit_nil() return nil end
function Counter:own_failure() return nil, "no money", "EMPTY" end
function Counter:names() return self:id(), self:key(), self:ref() end
function Counter:number(...) return select("#", ...) end
function Counter:echo(...) return ... end

local busy_gate = gb.grain("Gate", { reentrant = true })
function busy_gate:wait() while not self.open do gb.sleep(0.001) end self.open = nil
  return "open" end
function busy_gate:unlock() self.open = true end

for _, name in ipairs { "Counter", "Echo" } do
  local function get(key) return gb.get(name, key) end

  kit.case(name .. ": references are values with ==, id and type", function()
    local a, b = get("a"), get("a")
    kit.ok(a == b)
    kit.ok(a ~= get("b"))
    kit.ok(a == a:with { timeout = 1 }, "with is the same grain")
    kit.ok(a == a:with { raise = true }, "raise is the same grain")
    kit.ok(gb.get("Gate", "a") ~= a)
    kit.eq(a:id(), name .. "/a")
    kit.eq(tostring(a), name .. "/a")
    kit.eq(gb.type(a), "ref")
    kit.eq(get(7):id(), name .. "/7")
    kit.eq(get(-12):id(), name .. "/-12")
    kit.eq(get(1e15):id(), name .. "/1000000000000000")
    kit.eq(get("two words/and slash"):id(), name .. "/two words/and slash")
  end)

  kit.case(name .. ": any number of arguments and results, nils inside", function()
    local c = get("many")
    local method = name == "Counter" and "number" or "count"
    for _, n in ipairs { 0, 1, 2, 7, 8, 9, 20, 21, 50, 120, 200, 250 } do
      local list = {}
      for i = 1, n do if i % 3 ~= 0 then list[i] = i end end
      kit.eq(gb.call(c, method, unpack(list, 1, n)), n, "arguments")
      local got = { n = 0 }
      local function take(...) got = { n = select("#", ...), ... } end
      take(c:echo(unpack(list, 1, n)))
      kit.eq(got.n, n == 0 and 1 or n, "results of " .. n)
      for i = 1, n do kit.eq(got[i], list[i], "result " .. i) end
      if n == 0 then kit.eq(got[1], true) end
      take(c:async("echo", unpack(list, 1, n)):await())
      kit.eq(got.n, n == 0 and 1 or n, "results of a future")
      for i = 1, n do kit.eq(got[i], list[i], "future's result " .. i) end
      kit.eq(c:tell("echo", unpack(list, 1, n)), true)
      local t = {}
      for i = 1, n do t[i] = { i } end
      take(c:echo(unpack(t, 1, n)))
      for i = 1, n do kit.eq(got[i][1], i, "table " .. i) end
      take(c:async("echo", unpack(t, 1, n)):await())
      for i = 1, n do kit.eq(got[i][1], i, "table " .. i) end
    end
    local trailing = { n = select("#", c:echo(1, nil, nil)) }
    kit.eq(trailing.n, 3)
  end)
end

kit.case("a call, its result, and the next one", function()
  local c = gb.get("Counter", "basket-7")
  kit.eq(assert(c:add(5)), 5)
  kit.eq(c:add(2), 7)
  kit.eq(gb.get(Counter, "basket-7"):get(), 7)
  kit.eq(gb.call(c, "add", 1), 8)
end)

kit.case("results: nothing is true, nil stays nil, a failure travels as it is", function()
  local c = gb.get("Counter", "r")
  kit.eq(select("#", c:nothing()), 1)
  kit.eq(c:nothing(), true)
  kit.eq(select("#", c:explicit_nil()), 1)
  kit.eq(c:explicit_nil(), nil)
  kit.fails("EMPTY", "no money", c:own_failure())
  kit.eq(select("#", c:own_failure()), 3)
end)

kit.case("self knows its id, key and reference", function()
  local id, key, ref = gb.get("Counter", "me"):names()
  kit.eq(id, "Counter/me")
  kit.eq(key, "me")
  kit.ok(ref == gb.get("Counter", "me"))
  local _, number = gb.get("Counter", "77"):names()
  kit.eq(number, 77)
end)

kit.case("keys: 7 and \"7\" are one grain, int64 keys are exact", function()
  gb.get("Counter", 7):add(1)
  kit.eq(gb.get("Counter", "7"):add(1), 2)
  kit.eq(gb.get("Counter", 7LL):add(1), 3)
  kit.eq(gb.get("Counter", 7ULL):add(1), 4)
  kit.ok(gb.get("Counter", 7) == gb.get("Counter", "7"))
  kit.eq(gb.get("Counter", "07"):add(1), 1)
  kit.eq(gb.get("Counter", "7.0"):add(1), 1)
  kit.eq(gb.get("Counter", -7):add(1), 1)
  kit.eq(gb.get("Counter", "-7"):add(1), 2)
  local big = gb.get("Counter", 9007199254740993LL)
  kit.eq(big:id(), "Counter/9007199254740993")
  kit.ok(big ~= gb.get("Counter", 9007199254740992LL))
  kit.eq(big:add(1), 1)
  kit.eq(gb.get("Counter", 9007199254740992LL):add(1), 1)
  kit.eq(gb.get("Counter", "9007199254740993"):add(1), 2)
  local id, key, ref = big:names()
  kit.eq(id, "Counter/9007199254740993")
  kit.eq(tostring(key), "9007199254740993")
  kit.ok(ref == big, "its own reference")
  kit.eq(gb.get("Counter", 18446744073709551615ULL):names(), "Counter/18446744073709551615")
  kit.eq(gb.get("Counter", -9223372036854775807LL - 1):names(), "Counter/-9223372036854775808")
  kit.eq(gb.get("Counter", "nul\0inside"):add(1), 1)
  kit.eq(gb.get("Counter", "nul\0outside"):add(1), 1)
  kit.eq(gb.get("Counter", ("x"):rep(1024)):add(1), 1)
  kit.ok(gb.get("Counter", -0.0) == gb.get("Counter", 0))
end)

kit.case("keys that are none", function()
  local at = kit.here()
  local function bad(text, key)
    kit.raises("~^calls.lua:%d+: " .. text, function() local _ = gb.get("Counter", key) end)
  end
  kit.ok(at)
  bad("a grain's key is a string or an integer below 2^53, got 1.5$", 1.5)
  bad("a grain's key is a string or an integer below 2^53, got nan$", 0 / 0)
  bad("a grain's key is a string or an integer below 2^53, got inf$", math.huge)
  bad("a grain's key is a string or an integer below 2^53, got 1e%+20$", 1e20)
  bad("a grain's key must not be empty$", "")
  bad("a grain's key is at most 1024 bytes, got 1025$", ("x"):rep(1025))
  bad("a grain's key is a string or an integer, got table$", {})
  bad("a grain's key is a string or an integer, got boolean$", true)
  bad("gb.get takes a type and a key", nil)
end)

kit.case("tell: true once it is queued, in order", function()
  local c = gb.get("Counter", "told")
  for _ = 1, 100 do kit.eq(c:tell("add", 1), true) end
  kit.eq(c:get(), 100)
  kit.eq(gb.tell(c, "add", 1), true)
  kit.eq(c:get(), 101)
  local e = kit.elsewhere("Echo")
  for i = 1, 100 do kit.eq(e:tell("keep", i), true) end
  kit.eq(e:kept_values(), 100)
end)

kit.case("futures: await, done, await again, awaited by two", function()
  local c = gb.get("Gate", "f")
  local f = c:async("wait")
  kit.eq(gb.type(f), "future")
  kit.eq(f:done(), false)
  kit.eq(tostring(f), "future (pending)")
  kit.fails("ETIMEDOUT", "~in time", f:await(0.01))
  kit.fails("ETIMEDOUT", "~in time", f:await("5ms"))
  kit.fails("ETIMEDOUT", "~in time", f:await(0))
  local other = gb.spawn(function() return f:await() end)
  gb.sleep(0.001)
  c:unlock()
  kit.eq(f:await(), "open")
  kit.eq(other:await(), "open")
  kit.eq(f:await(), "open")
  kit.eq(f:await(0), "open")
  kit.eq(f:done(), true)
  kit.eq(f:cancel(), false)
  kit.eq(gb.async(c, "unlock"):await(), true)
end)

kit.case("all, any, settled", function()
  local c = gb.get("Echo", "all")
  local a, b = gb.all(c:async("echo", 1, "more"), c:async("echo", 2))
  kit.eq(a, 1)
  kit.eq(b, 2)
  kit.same(gb.all { c:async("echo", 1), c:async("echo", nil), c:async("echo", 3) }, { 1, nil, 3 })
  kit.same(gb.all {}, {})
  kit.eq(select("#", gb.all()), 0)
  local list = {}
  for i = 1, 300 do list[i] = gb.get("Echo", "all" .. i % 20):async("echo", i) end
  local results = gb.all(list)
  for i = 1, 300 do kit.eq(results[i], i) end
  local v, message, code, index = gb.all(c:async("echo", 1), c:async("fail", "NOPE", "no %d", 3),
    c:async("boom"))
  kit.fails("NOPE", "no 3", v, message, code)
  kit.eq(index, 2)
  kit.eq(gb.any(c:async("fail", "NOPE"), c:async("echo", "yes")), "yes")
  kit.fails("NOPE", nil, gb.any(c:async("fail", "NOPE", "a"), c:async("fail", "NOPE", "b")))
  kit.fails("EINVAL", nil, gb.any())
  local s = gb.settled(c:async("echo", 5), c:async("fail", "NOPE", "no"), c:async("boom", "x"))
  kit.same(s[1], { ok = true, value = 5 })
  kit.same(s[2], { ok = false, message = "no", code = "NOPE" })
  kit.eq(s[3].code, "ERAISED")
  kit.same(gb.settled { c:async("echo", 1) }, { { ok = true, value = 1 } })
  kit.raises(kit.here(1) .. ": gb.all takes futures: argument 2 is a number",
    function() local _ = gb.all(c:async("echo", 1), 7) end)
  kit.raises(kit.here(1) .. ": gb.any takes futures: argument 1 is a nil",
    function() local _ = gb.any(nil) end)
end)

kit.case("any: the fast one wins, and the rest may come later", function()
  local slow, fast = gb.get("Gate", "slow"), gb.get("Gate", "fast")
  for _ = 1, 50 do
    local f = slow:async("wait")
    local g = fast:async("wait")
    fast:unlock()
    kit.eq(gb.any(f, g), "open")
    kit.eq(g:done(), true)
    slow:unlock()
    kit.eq(f:await(), "open")
  end
end)

kit.case("cancel frees who waits, at once", function()
  local c = gb.get("Gate", "cancel")
  local f = c:async("wait")
  local other = gb.spawn(function() return f:await() end)
  gb.sleep(0.001)
  kit.eq(f:cancel(), true)
  kit.fails("ECANCELED", "cancelled", f:await())
  kit.fails("ECANCELED", "cancelled", other:await())
  kit.eq(f:cancel(), false)
  c:unlock()
  local ended
  local sleeping = gb.spawn(function()
    while not gb.cancelled() do gb.sleep(0.001) end
    ended = true
  end)
  kit.eq(sleeping:cancel(), true)
  kit.fails("ECANCELED", "cancelled", sleeping:await())
  kit.wait("the turn hears of it", function() return ended end)
end)

kit.case("with: timeout, priority, raise, and both at once", function()
  local c, busy = gb.get("Echo", "with"), gb.get("Echo", "with-busy")
  kit.fails("ETIMEDOUT", nil, busy:with { timeout = "5ms" }:sleep(3))
  local gate, before = kit.hold(busy, "through")
  kit.fails("ETIMEDOUT", nil, busy:with { timeout = 0.005 }:echo(1)) -- behind it
  kit.eq(gb.get("Echo", "with2"):with { timeout = math.huge }:echo(1), 1)
  local raising = c:with { raise = true }
  kit.raises(kit.here(1) .. ": no 3 (NOPE)", function()
    raising:fail("NOPE", "no %d", 3)
  end)
  kit.eq(raising:echo(5), 5)
  kit.raises("~^" .. kit.here(1):gsub("%.", "%%.") .. ": .*%(ETIMEDOUT%)$", function()
    busy:with { raise = true, timeout = 0.005 }:sleep(3)
  end)
  gate:open()
  kit.eq(before:await(), "open")
  kit.eq(raising:with { raise = false }:fail("NOPE"), nil)
  kit.raises("~^calls.lua:%d+: .*%(ENOMETHOD%)$", function() raising:nothing_like_it() end)
  local e = gb.get("Echo", "order")
  local shut, first = kit.hold(e, "through")
  local low = e:with { priority = -1 }:async("note", "low")
  local mid, mid2 = e:async("note", "mid"), e:async("note", "mid2")
  local high = e:with { priority = 5 }:async("note", "high")
  shut:open()
  gb.all(first, low, mid, mid2, high)
  kit.same(e:noted(), { "high", "mid", "mid2", "low" })
end)

kit.case("gb.keys and gb.count", function()
  for i = 1, 40 do gb.get("Echo", "listed" .. i):echo() end
  gb.get("Echo", 123456):echo()
  local seen = {}
  for _, key in ipairs(assert(gb.keys("Echo"))) do seen[key] = (seen[key] or 0) + 1 end
  for i = 1, 40 do kit.eq(seen["listed" .. i], 1, "listed" .. i) end
  kit.eq(seen[123456], 1)
  kit.eq(gb.count("Echo"), #gb.keys("Echo"))
  kit.ok(gb.count(Counter) > 5)
  kit.fails("ENOTYPE", "unknown grain type 'Ecko'; did you mean 'Echo'?", gb.keys("Ecko"))
  kit.fails("ENOTYPE", "unknown grain type 'Ecko'; did you mean 'Echo'?", gb.count("Ecko"))
end)

kit.case("durations count from now, however long the turn has run", function()
  local function work(s)
    local limit = gb.monotonic() + s
    while gb.monotonic() < limit do end
  end
  -- counted from the turn's beginning it could never be in time; on a busy machine it is late now
  -- and then
  local function in_time(fn)
    for _ = 1, 100 do
      local value = fn()
      if value then return value end
    end
  end
  for _, here in ipairs { true, false } do
    local e = kit.elsewhere("Echo", here, "now")
    kit.eq(in_time(function()
      work(0.03)
      return e:with { timeout = "25ms" }:echo(1)
    end), 1)
    local start = gb.monotonic()
    work(0.03)
    gb.sleep("20ms")
    local took = gb.monotonic() - start
    kit.ok(took >= 0.05, "slept from then on: " .. took)
    kit.eq(in_time(function()
      local f = e:async("sleep", 0.001)
      work(0.02)
      return f:await("15ms")
    end), "slept")
  end
end)

kit.case("the silo and its clock", function()
  local silo = gb.silo()
  kit.eq(silo.workers, kit.workers)
  kit.eq(silo.worker, 0)
  local a = gb.monotonic()
  gb.sleep("10ms")
  local slept = gb.monotonic() - a
  kit.ok(slept >= 0.01 and slept < 5, "slept " .. slept)
  kit.ok(math.abs(gb.time() - os.time()) < 5)
  kit.eq(gb.deadline(), nil)
  kit.eq(gb.cancelled(), false)
end)

kit.finish()
