-- Memory: nothing is left of what has been; short memory is told and survived.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
local core = require "gb.core"
require "types.echo"
require "types.life"

-- GB_TEST_SCALE: a part of the work, where everything costs many times more (sanitizers).
local scale = tonumber(os.getenv("GB_TEST_SCALE") or "1")
assert(scale and scale > 0 and scale <= 1, "GB_TEST_SCALE is a number above 0, at most 1")
local function part(count) return math.ceil(count * scale) end

local function bytes()
  collectgarbage()
  collectgarbage()
  local lua, room = core.memory()
  return lua, room
end

-- Runs a piece of work four times. What stays of it grows each time, pools and tables do not: so
-- the least growth counts.
local function growth(times, work)
  work(times)
  local least = math.huge
  for _ = 1, 3 do
    local before = bytes()
    work(times)
    least = math.min(least, bytes() - before)
  end
  return least
end

local Local = gb.grain("Local", { placement = "local" })
function Local:add(x) self.n = (self.n or 0) + 1 return x end
function Local:boom() error("boom") end

kit.case("a million calls leave nothing", function()
  local c = gb.get("Local", 1)
  local grown = growth(part(1e6), function(n) for i = 1, n do c:add(i) end end)
  kit.ok(grown < 50000, grown .. " bytes")
end)

kit.case("nor do tables, futures, errors, cancelled calls, sleeps, spawned turns, coroutines",
  function()
  local c, far = gb.get("Local", 2), kit.elsewhere("Echo")
  local works = {
    tables = function() c:add({ 1, 2, x = { "y" } }) end,
    ["far tables"] = function() far:echo({ 1, 2, x = { "y" } }) end,
    futures = function() c:async("add", 1):await() end,
    ["far futures"] = function() gb.all(far:async("echo", 1), far:async("echo", 2)) end,
    ["any"] = function() gb.any(far:async("echo", 1), c:async("add", 2)) end,
    errors = function() c:boom() end,
    ["far errors"] = function() far:boom() end,
    ["gb.fail"] = function() far:fail("CODE", "text %d", 1) end,
    ["no method"] = function() c:nothing() far:nothing() end,
    cancelled = function() far:async("echo", 1):cancel() end,
    abandoned = function() local _ = far:async("echo", 1) c:async("add", 1) end,
    ["late"] = function() far:with { timeout = 0 }:echo(1) end,
    tells = function() far:tell("echo", 1) c:tell("add", 1) end,
    spawned = function() gb.spawn(function() gb.sleep(0) end):await() end,
    ["spawned errors"] = function() gb.spawn(error, "x"):await() end,
    arrays = function() far:echo(gb.array("float", 100)) c:add(gb.array("float", 100)) end,
    refused = function() pcall(far.echo, far, gb.array("float", 100), print) end,
    generators = function() coroutine.wrap(function() far:echo(1) coroutine.yield() end)() end,
    bags = function() far:with { bag = { x = 1 } }:context() end,
    subscriptions = function() gb.subscribe(far, "topic", function() end):close() end,
  }
  for name, work in pairs(works) do
    local grown = growth(part(3000), function(n)
      for i = 1, n do
        work()
        if i % 100 == 0 then gb.all(far:async("echo"),
          c:async("add")) end -- bounds what is under way
      end
      gb.sleep(0)
    end)
    kit.ok(grown < 60000, name .. ": " .. grown .. " bytes")
  end
end)

kit.case("gb.any again and again upon one that never comes", function()
  local never = gb.spawn(function() while not gb.cancelled() do gb.sleep("5ms") end end)
  local _, room = bytes()
  for _ = 1, part(3000) do gb.any(never, gb.spawn(gb.sleep, 0)) end
  local _, after = bytes()
  never:cancel()
  kit.ok(after - room < 100000, (after - room) .. " bytes of waiters")
end)

kit.case(part(100000) .. " activations come and go", function()
  local Many = gb.grain("Many", { idle = "100ms", placement = "local" })
  function Many:touch() return true end
  local function crowd(from, to)
    local futures = {}
    for i = from, to do
      futures[#futures + 1] = gb.get("Many", i):async("touch")
      if #futures == 1000 then
        for _, f in ipairs(futures) do assert(f:await()) end
        futures = {}
      end
    end
    for _, f in ipairs(futures) do assert(f:await()) end
  end
  local count = part(100000)
  crowd(1, count)
  kit.wait("all idle", function() return gb.count("Many") == 0 end)
  local before = bytes()
  crowd(count + 1, 2 * count)
  kit.wait("all idle", function() return gb.count("Many") == 0 end)
  local grown = bytes() - before
  kit.ok(grown < 3e6, grown .. " bytes")
end)

kit.case("collecting at any moment", function()
  local far = kit.elsewhere("Echo")
  for i = 1, part(200) do
    local f = far:async("echo", { i, tostring(i) })
    collectgarbage()
    local t = f:await()
    kit.eq(t[1], i)
    collectgarbage("step", 100)
    kit.eq(far:echo({ x = tostring(i) }).x, tostring(i))
  end
end)

kit.case("short memory", function()
  local command = ("GB_LUA_MEMORY=24MB GB_WORKERS=%d '%s' '%s'"):format(kit.workers,
    assert(os.getenv("GB_GBRUN")),
    (arg[0]:gsub("[^/]+$", "types/short_memory.lua")))
  kit.eq(os.execute(command), 0)
end)

kit.finish()
