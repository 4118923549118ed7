-- User coroutines that wait, and turns that go on where they should.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
require "types.echo"

local near_echo, far_echo = kit.elsewhere("Echo", true), kit.elsewhere("Echo", false)
local echoes = { near_echo, far_echo }

-- A grain that runs what it is given by name: so everything is tried in a script and a grain.
local scenes = {}
local Runner = gb.grain("Runner", { reentrant = true })
function Runner:run(name) return scenes[name]() end

local function both(name, fn)
  scenes[name] = function() fn() return true end
  kit.case(name .. ", in a script", fn)
  kit.case(name .. ", in a grain", function()
    local ok, message, code, traceback = gb.get("Runner", name):run(name)
    kit.ok(ok, ("%s %s %s"):format(tostring(message), tostring(code), tostring(traceback)))
  end)
end

both("a generator that calls grains", function()
  for _, echo in ipairs(echoes) do
    local function each(n)
      return coroutine.wrap(function()
        for i = 1, n do coroutine.yield(echo:echo(i), i) end
      end)
    end
    local sum, times = 0, 0
    for value, i in each(20) do
      kit.eq(value, i)
      sum, times = sum + value, times + 1
    end
    kit.eq(sum, 210)
    kit.eq(times, 20)
  end
end)

both("waits and yields mixed, values both ways", function()
  local co = coroutine.create(function(a, b)
    kit.eq(a, 1)
    kit.eq(b, 2)
    gb.sleep(0)
    local c, d = coroutine.yield("first", near_echo:echo("x"))
    kit.eq(c, 3)
    kit.eq(d, nil)
    local f = far_echo:async("echo", 5)
    kit.eq(f:await(), 5)
    return "last", far_echo:echo(nil, 7)
  end)
  local function check(want, ...)
    kit.eq(select("#", ...), #want)
    for i = 1, #want do kit.eq((select(i, ...)), want[i] ~= "nil" and want[i] or nil) end
  end
  check({ true, "first", "x" }, coroutine.resume(co, 1, 2))
  kit.eq(coroutine.status(co), "suspended")
  check({ true, "last", "nil", 7 }, coroutine.resume(co, 3, nil))
  kit.eq(coroutine.status(co), "dead")
  kit.eq(select(2, coroutine.resume(co)), "cannot resume dead coroutine")
end)

both("nested five deep, each level waits", function()
  local function level(n)
    if n == 0 then return far_echo:echo("bottom") end
    local inner = coroutine.wrap(function()
      gb.sleep(0)
      near_echo:echo(n)
      return level(n - 1)
    end)
    return inner()
  end
  kit.eq(level(5), "bottom")
end)

both("in pcall and xpcall, inside and outside of coroutines", function()
  kit.same({ pcall(far_echo.echo, far_echo, 1, nil, 3) }, { true, 1, nil, 3 })
  kit.same({ xpcall(function() return far_echo:echo(5) end, debug.traceback) }, { true, 5 })
  local ok, message = pcall(function()
    far_echo:echo(1)
    error("after a wait", 0)
  end)
  kit.eq(ok, false)
  kit.eq(message, "after a wait")
  local handled
  local _, said = xpcall(function()
    far_echo:echo(1)
    error({ code = 5 })
  end, function(e) handled = e.code return "handled" end)
  kit.eq(handled, 5)
  kit.eq(said, "handled")
  local co = coroutine.wrap(function()
    local fine, text = pcall(function()
      near_echo:echo(1)
      coroutine.yield("in pcall")
      far_echo:echo(2)
      error("inner", 0)
    end)
    return fine, text
  end)
  kit.eq(co(), "in pcall")
  kit.same({ co() }, { false, "inner" })
end)

both("errors leave a coroutine as they are", function()
  local co = coroutine.create(function()
    far_echo:echo()
    error({ code = "mine" })
  end)
  local ok, value = coroutine.resume(co)
  kit.eq(ok, false)
  kit.eq(value.code, "mine")
  local wrapped = coroutine.wrap(function() far_echo:echo() error("text", 0) end)
  kit.raises("text", wrapped)
  ok, value = pcall(coroutine.wrap(function() gb.fail("CODE", "text") end))
  kit.eq(ok, false)
  kit.eq(tostring(value), "CODE: text")
end)

both("where nothing can wait, also through a generator", function()
  local function generator()
    return coroutine.wrap(function() far_echo:echo(1) coroutine.yield(1) end) end
  kit.raises("~'echo' waits, and nothing can wait inside", function()
    return (("a"):gsub("a", function() return generator()() end))
  end)
  kit.raises("~'sleep' waits, and nothing can wait inside", function()
    table.sort({ 2, 1 }, function(a, b)
      local inner = coroutine.wrap(function()
        return coroutine.wrap(function() gb.sleep(0) end)() end)
      inner()
      return a < b
    end)
  end)
  kit.eq((("abc"):gsub(".", function(c)
    local upper = coroutine.wrap(function() coroutine.yield(c:upper()) end)
    return upper()
  end)), "ABC")
  kit.eq(generator()(), 1)
  kit.eq(far_echo:echo("still fine"), "still fine")
end)

both("metamethods and iterators may wait", function()
  local object = setmetatable({}, {
    __index = function(_, key) return far_echo:echo(key) end,
    __add = function(_, other) return far_echo:echo(other) end,
    __call = function(_, x) return far_echo:echo(x) end,
    __concat = function(_, x) return far_echo:echo(x) end,
    __eq = function() return far_echo:echo(true) end,
  })
  kit.eq(object.field, "field")
  kit.eq(object + 5, 5)
  kit.eq(object(6), 6)
  kit.eq(object .. "x", "x")
  local sum = 0
  for v in function(_, last) return (last or 0) < 5 and near_echo:echo((last or 0) + 1)
    or nil end do sum = sum + v end
  kit.eq(sum, 15)
end)

both("what waits elsewhere cannot be resumed", function()
  local gate = kit.gate()
  local co = coroutine.create(function() return far_echo:through(gate, "wait") end)
  local f = gb.spawn(function() return coroutine.resume(co) end)
  kit.wait("it waits", function() return gate:waiting() == 1 end)
  local ok, message = coroutine.resume(co)
  kit.eq(ok, false)
  kit.ok(message:find("cannot resume a coroutine that waits", 1, true), message)
  gate:open()
  kit.same({ f:await() }, { true, "open" })
  local turn = coroutine.running()
  local g = gb.spawn(function() return coroutine.resume(turn) end)
  kit.same({ g:await() }, { false,
    "cannot resume the turn of a grain or script: it goes on by itself" })
  kit.raises(kit.here(1) .. ": bad argument #1 to 'resume' (coroutine expected)", function()
    local _ = coroutine.resume(5)
  end)
  kit.raises(kit.here(1) .. ": bad argument #1 to 'wrap' (function expected)", function()
    local _ = coroutine.wrap(5)
  end)
end)

kit.case("a generator may be handed from turn to turn", function()
  local numbers = coroutine.wrap(function()
    for i = 1, 100 do coroutine.yield(i % 2 == 0 and far_echo:echo(i) or i) end
  end)
  local got = {}
  for i = 1, 100 do got[i] = gb.spawn(numbers):await() end
  for i = 1, 100 do kit.eq(got[i], i) end
end)

kit.case("many coroutines that wait at once", function()
  local futures = {}
  for i = 1, 500 do
    futures[i] = gb.spawn(function()
      local co = coroutine.wrap(function()
        gb.sleep(kit.random(3) / 1000)
        coroutine.yield(echoes[i % 2 + 1]:echo(i))
        return far_echo:echo(i)
      end)
      return co() + co()
    end)
  end
  for i, f in ipairs(futures) do kit.eq(f:await(), 2 * i) end
end)

kit.case("an abandoned generator is no harm", function()
  for _ = 1, 200 do
    local co = coroutine.wrap(function() far_echo:echo(1) coroutine.yield(1) far_echo:echo(2) end)
    kit.eq(co(), 1)
  end
  collectgarbage()
  kit.eq(far_echo:echo(1), 1)
end)

kit.finish()
