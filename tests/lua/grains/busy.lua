-- Full mailboxes, deadlines, cancellation, circles.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
require "types.busy"

local function each_place(fn)
  for _, here in ipairs { true, false } do
    local name = here and "here" or "elsewhere"
    fn(here, name, function(type_name, salt) return kit.elsewhere(type_name, here, salt
      .. name) end)
  end
end

kit.case("5,000 tells in a plain loop lose nothing and keep their order", function()
  each_place(function(_, name, at)
    local c = at("Busy", "plain")
    for i = 1, 5000 do kit.eq(c:tell("note", i), true) end
    local notes = c:noted()
    kit.eq(#notes, 5000, name)
    for i = 1, 5000 do kit.eq(notes[i], i) end
  end)
end)

kit.case("many tellers at once lose nothing", function()
  each_place(function(_, name, at)
    local c, futures = at("Busy", "many"), {}
    for t = 1, 10 do
      futures[t] = gb.spawn(function()
        for i = 1, 200 do assert(c:tell("note", t * 1000 + i)) end
        return true
      end)
    end
    kit.eq(#gb.all(futures), 10)
    local notes, last = c:noted(), {}
    kit.eq(#notes, 2000, name)
    for _, x in ipairs(notes) do
      local t = math.floor(x / 1000)
      kit.ok(x > (last[t] or 0), "in order")
      last[t] = x
    end
  end)
end)

kit.case("a full mailbox: tell waits, until its deadline; timeout = 0 refuses at once", function()
  each_place(function(_, _, at)
    local c = at("Busy", "full")
    local gate, first = kit.hold(c, "call")
    for i = 1, 8 do kit.eq(c:tell("note", i), true) end
    local start = gb.monotonic()
    kit.fails("EBUSY", "~mailbox", c:with { timeout = 0 }:tell("note", "refused"))
    kit.ok(gb.monotonic() - start < 10, "at once")
    kit.fails("EBUSY", "~mailbox", c:with { timeout = "10ms" }:tell("note", "late"))
    local waits = gb.spawn(function() return c:tell("note", 9) end)
    gb.sleep(0)
    gate:open()
    kit.eq(waits:await(), true)
    kit.eq(first:await(), "open")
    kit.same(c:noted(), { 1, 2, 3, 4, 5, 6, 7, 8, 9 })
  end)
end)

kit.case("deadlines free the caller; the callee hears of it", function()
  each_place(function(_, _, at)
    local c = at("Open", "late")
    kit.wait("it began in time", function()
      local start = gb.monotonic()
      kit.fails("ETIMEDOUT", "~:until_cancelled did not answer in time$",
        c:with { timeout = "10ms" }:until_cancelled(1))
      kit.ok(gb.monotonic() - start < 10)
      return c:began_with() == 1
    end)
    kit.wait("it heard", function() return c:heard_of() == 1 end)
    local f = c:async("until_cancelled", 2)
    kit.wait("it began", function() return c:began_with() == 2 end)
    f:cancel()
    kit.fails("ECANCELED", "cancelled", f:await())
    kit.wait("it heard", function() return c:heard_of() == 2 end)
    kit.eq(c:hello(), "hello")
  end)
end)

kit.case("gb.deadline: of the call, never longer than the caller's", function()
  each_place(function(_, name, at)
    local a, b = at("Busy", "dead"), gb.get("Busy", "dead-b" .. name)
    local left, cancelled = a:with { timeout = 5 }:left()
    kit.ok(left > 1 and left <= 5, left)
    kit.eq(cancelled, false)
    left = a:with { timeout = 5 }:call_with(b, { timeout = 1000 }, "left")
    kit.ok(left > 1 and left <= 5, left)
    left = a:left()
    kit.ok(left > 20 and left <= 30, "30 s unless said otherwise: " .. left)
  end)
end)

kit.case("a call that waited past its deadline never runs", function()
  each_place(function(_, _, at)
    local c = at("Busy", "past")
    local gate, first = kit.hold(c, "call")
    kit.fails("ETIMEDOUT", nil, c:with { timeout = "5ms" }:note("past"))
    gate:open()
    kit.eq(first:await(), "open")
    kit.same(c:noted(), {})
  end)
end)

kit.case("a full mailbox refuses calls, or they wait until their deadline", function()
  each_place(function(_, _, at)
    local c = at("Busy", "calls")
    local first, futures = c:async("sleep", 0.03), {}
    for i = 1, 30 do futures[i] = c:async("note", i) end
    local fine, busy = 0, 0
    for i = 1, 30 do
      local ok, _, code = futures[i]:await()
      if ok then fine = fine + 1 else kit.eq(code, "EBUSY") busy = busy + 1 end
    end
    first:await()
    kit.eq(fine + busy, 30)
    kit.ok(fine >= 8, fine)
    kit.eq(#c:noted(), fine)
  end)
end)

kit.case("A calls A: EDEADLOCK at once, and it works on", function()
  each_place(function(_, _, at)
    local a = at("Busy", "self")
    local start = gb.monotonic()
    kit.fails("EDEADLOCK", "~^the call would wait for itself", a:self_call())
    kit.fails("EDEADLOCK", nil, a:await(a, "hello"))
    kit.fails("EDEADLOCK", nil, a:await_all({ a }, "hello"))
    kit.ok(gb.monotonic() - start < 5, "at once")
    kit.eq(a:hello(), "hello")
    kit.eq(a:self_tell(), true)
    kit.same(a:noted(), { "told" })
  end)
end)

kit.case("circles of two and three, across workers", function()
  for i = 1, 10 do
    local a, b = kit.elsewhere("Busy", true, "a" .. i), kit.elsewhere("Busy", false, "b" .. i)
    local c = gb.get("Busy", "c" .. i)
    local start = gb.monotonic()
    kit.fails("EDEADLOCK", nil, a:call(b, "call", a, "hello"))
    kit.fails("EDEADLOCK", nil, b:call(a, "call", b, "hello"))
    kit.fails("EDEADLOCK", nil, a:chain({ b, c, a }))
    kit.fails("EDEADLOCK", nil, c:await(a, "await", b, "await", c, "hello"))
    kit.fails("EDEADLOCK", nil, a:await_all({ b, c }, "call", a, "hello"))
    kit.ok(gb.monotonic() - start < 10, "at once")
    kit.wait("free again", function() return a:chain({ b, c }) == "end" end)
  end
end)

kit.case("two that call each other at the same moment", function()
  for i = 1, 20 do
    local a, b = kit.elsewhere("Busy", true, "m" .. i), kit.elsewhere("Busy", false, "n" .. i)
    local f, g = a:async("call", b, "call", a, "hello"), b:async("call", a, "call", b, "hello")
    for _, future in ipairs { f, g } do
      local ok, _, code = future:await()
      kit.ok(ok == "hello" or code == "EDEADLOCK", tostring(code))
    end
    kit.eq(a:hello(), "hello")
    kit.eq(b:hello(), "hello")
  end
end)

kit.case("a busy target is no circle", function()
  local a, b = kit.elsewhere("Busy", true, "p"), kit.elsewhere("Busy", false, "q")
  local first = b:async("sleep", 0.01)
  local f = a:async("call", b, "hello")
  local g = a:async("call", b, "hello")
  kit.eq(f:await(), "hello")
  kit.eq(g:await(), "hello")
  first:await()
end)

kit.case("reentrant = true and \"chain\" let their own chain in", function()
  each_place(function(_, name, at)
    local open, chain = at("Open", "o"), at("Chain", "c")
    local busy = gb.get("Busy", "between" .. name)
    kit.eq(open:self_call(), "hello")
    kit.eq(chain:self_call(), "hello")
    kit.eq(open:call(busy, "call", open, "hello"), "hello")
    kit.eq(chain:call(busy, "call", chain, "hello"), "hello")
    kit.eq(chain:chain({ open, chain, open, chain }), "end")
    local gate, f = kit.hold(open, "call")
    kit.eq(open:hello(), "hello", "it does not wait")
    kit.eq(f:done(), false)
    gate:open()
    kit.eq(f:await(), "open")
    local shut, g = kit.hold(chain, "call")
    local hello = chain:async("hello")
    kit.fails("ETIMEDOUT", nil, hello:await("20ms"))
    shut:open()
    kit.eq(hello:await(), "hello")
    kit.eq(g:done(), true, "not of its chain: it waited")
  end)
end)

kit.case("a script is no grain: it may call what calls on and on", function()
  local refs = {}
  for i = 1, 50 do refs[i] = gb.get("Deep", "chain" .. i) end
  kit.eq(refs[1]:chain(refs, 2), "end")
end)

kit.case("10,000 calls under way", function()
  local c, futures = kit.elsewhere("Deep", false, "deep"), {}
  for i = 1, 10000 do futures[i] = c:async("note", i) end
  for i = 1, 10000 do kit.eq(futures[i]:await(), true) end
  kit.eq(#c:noted(), 10000)
end)

kit.finish()
