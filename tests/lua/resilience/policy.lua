-- Breakers, retries, bulkheads, buckets, levels, chaos: all states and transitions, in virtual
-- time.
local gb = require "gb"
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local eq, ok, fails, raises = kit.eq, kit.ok, kit.fails, kit.raises

local function good() return "good" end
local function bad(code) return nil, "it broke", code or "EDEVICE" end
local function times(n, fn, ...) for _ = 1, n do fn(...) end end
local function near(got, want, what)
  if math.abs(got - want) > 1e-6 then kit.eq(got, want, what) end
end

-- ---- breakers ----

local function opened(options)
  local b = gb.breaker(options or {})
  times(5, b.run, b, good)
  times(5, b.run, b, bad)
  eq(b:state(), "open")
  return b
end

kit.case("a breaker opens at its share of failures, not before its minimum of calls", function()
  local b = gb.breaker { name = "kernel sum" }
  times(9, b.run, b, bad)
  eq(b:state(), "closed")
  fails("EDEVICE", "it broke", b:run(bad))
  eq(b:state(), "open")
  fails("EBUSY", "kernel sum: circuit open for 60 s more: 10 of 10 calls failed", b:run(good))
  kit.same(b:stats(), { state = "open", calls = 10, failures = 10, opened = 1, rejected = 1,
    why = "10 of 10 calls failed", wait = 60 })
  b = gb.breaker {}
  times(6, b.run, b, good)
  times(5, b.run, b, bad)
  eq(b:state(), "closed", "5 of 11 is less than half")
  b:run(bad)
  eq(b:state(), "open", "6 of 12 is half")
end)

kit.case("a breaker forgets what is older than its window", function()
  local b = gb.breaker { window = "2m" }
  times(9, b.run, b, bad)
  gb.sleep("121s")
  b:run(bad)
  eq(b:state(), "closed")
  eq(b:stats().calls, 1)
  gb.sleep("60s")
  times(9, b.run, b, bad)
  eq(b:state(), "open", "ten within two minutes")
  b = gb.breaker { window = "2m" }
  times(100, b.run, b, good)
  gb.sleep("1h")
  times(10, b.run, b, bad)
  eq(b:state(), "open", "an old good time does not help")
end)

kit.case("a breaker opens after failures in a row", function()
  local b = gb.breaker { failures = 3 }
  b:run(bad) b:run(bad) b:run(good) b:run(bad) b:run(bad)
  eq(b:state(), "closed")
  b:run(bad)
  eq(b:state(), "open")
  eq(b:stats().why, "3 failures in a row")
end)

kit.case("open, half open, closed", function()
  local b = opened { open = "1m" }
  gb.sleep("59.9s")
  eq(b:state(), "open")
  near(b:stats().wait, 0.1)
  gb.sleep("0.1s")
  eq(b:state(), "half_open")
  eq(b:run(good), "good")
  eq(b:state(), "closed")
  eq(b:stats().calls, 0, "nothing is counted from before")
end)

kit.case("open, half open, open again", function()
  local b = opened { open = "1m" }
  gb.sleep("60s")
  fails("EDEVICE", "it broke", b:run(bad))
  eq(b:state(), "open")
  fails("EBUSY", "~the trial failed", b:run(good))
  gb.sleep("59s")
  eq(b:state(), "open", "its time began anew")
  gb.sleep("1s")
  eq(b:run(good), "good")
  eq(b:state(), "closed")
  eq(b:stats().opened, 2)
end)

kit.case("one trial at a time; one that never ends is followed by another", function()
  local b = opened { open = "1m" }
  gb.sleep("60s")
  local first = ok(b:begin())
  fails("EBUSY", "breaker: circuit open: one trial is under way", b:begin())
  gb.sleep("59s")
  fails("EBUSY", nil, b:begin())
  gb.sleep("1s")
  local second = ok(b:begin())
  b:finish(first, true)
  eq(b:state(), "half_open", "the first one was given up: it counts no more")
  b:finish(second, true)
  eq(b:state(), "closed")
end)

kit.case("a trial that says nothing makes room for another", function()
  local b = opened()
  gb.sleep("60s")
  b:forget(ok(b:begin()))
  eq(b:state(), "half_open")
  eq(b:run(good), "good")
  eq(b:state(), "closed")
end)

kit.case("what began in an older state counts for nothing", function()
  local b = gb.breaker { open = "1m" }
  local early = b:begin()
  times(10, b.run, b, bad)
  eq(b:state(), "open")
  b:finish(early, true)
  eq(b:state(), "open")
  gb.sleep("60s")
  eq(b:state(), "half_open")
  b:finish(early, true)
  eq(b:state(), "half_open")
  b:run(good)
  b:finish(early, false)
  eq(b:stats().failures, 0)
end)

kit.case("any state can be isolated, and only reset ends that", function()
  local changes = {}
  local b = gb.breaker { on_change = function(_, from, to) changes[#changes + 1] = from .. ">" .. to
  end }
  b:isolate()
  fails("EBUSY", "breaker: circuit open: isolated until it is reset", b:run(good))
  gb.sleep("1h")
  eq(b:state(), "isolated")
  b:trip("no")
  eq(b:state(), "isolated")
  b:reset()
  eq(b:run(good), "good")
  times(10, b.run, b, bad)
  b:isolate()
  b:reset()
  times(10, b.run, b, bad)
  gb.sleep("60s")
  eq(b:state(), "half_open")
  b:isolate()
  eq(b:state(), "isolated")
  b:reset()
  b:trip("by hand")
  eq(b:stats().why, "by hand")
  gb.sleep("60s")
  b:run(good)
  kit.same(changes, { "closed>isolated", "isolated>closed", "closed>open", "open>isolated",
    "isolated>closed", "closed>open", "open>half_open", "half_open>isolated", "isolated>closed",
    "closed>open", "open>half_open", "half_open>closed" })
end)

kit.case("only what is a failure counts", function()
  local b = gb.breaker { failures = 1 }
  eq(b:run(function() return false end), false)
  fails("EINVAL", nil, b:run(bad, "EINVAL"))
  fails("MY_OWN", nil, b:run(bad, "MY_OWN"))
  eq(b:state(), "closed")
  b = gb.breaker { failures = 1, codes = { "MY_OWN" } }
  b:run(bad, "EDEVICE")
  eq(b:state(), "closed")
  b:run(bad, "MY_OWN")
  eq(b:state(), "open")
end)

-- ---- retries ----

local function pauses(retry, code)
  local p, at, list = gb.policy { retry = retry }, nil, {}
  local out = { p:run(function()
    local now = gb.monotonic()
    if at then list[#list + 1] = now - at end
    at = now
    return bad(code)
  end) }
  eq(out[3], code or "EDEVICE")
  return list
end

kit.case("retries: the defaults, and how pauses grow", function()
  local list = pauses { jitter = 0 }
  eq(#list, 3)
  near(list[1], 0.5) near(list[2], 1) near(list[3], 2)
  list = pauses { retries = 8, jitter = 0 }
  near(list[7], 30, "the longest pause")
  list = pauses { kind = "linear", base = "1s", max = "2.5s", jitter = 0 }
  near(list[1], 1) near(list[2], 2) near(list[3], 2.5)
  list = pauses { like = "alloc" }
  eq(#list, 2)
  near(list[2], 0.1)
  eq(#pauses "compile", 1)
  eq(#pauses(true), 3)
  eq(#pauses { retries = 0 }, 0)
end)

kit.case("jitter comes from the silo's seed", function()
  local list = pauses { retries = 50, kind = "constant", base = "1s" }
  local least, most = math.huge, 0
  for _, pause in ipairs(list) do
    least, most = math.min(least, pause), math.max(most, pause)
    ok(pause >= 0.5 - 1e-6 and pause <= 1 + 1e-6, pause)
  end
  ok(most - least > 0.1, "they differ")
  local core = require "gb.core"
  core.seed(5)
  list = pauses { retries = 5 }
  core.seed(5)
  for i, pause in ipairs(pauses { retries = 5 }) do near(pause, list[i], "equal seeds") end
end)

kit.case("only what may be better is tried again; what may have run only when it may run twice",
  function()
    eq(#pauses({}, "EINVAL"), 0)
    eq(#pauses({}, "ETRAP"), 0)
    eq(#pauses({}, "ELOST"), 0)
    eq(#pauses({}, "ETIMEDOUT"), 0)
    eq(#pauses({}, "ENOMEM"), 3)
    eq(#pauses({ idempotent = true }, "ELOST"), 3)
    eq(#pauses({ codes = { "MY_OWN" } }, "MY_OWN"), 3)
    eq(#pauses({ codes = { "MY_OWN" } }, "EDEVICE"), 0)
  end)

kit.case("a retry that succeeds", function()
  local p, n = gb.policy { retry = true }, 0
  eq(p:run(function(a, b)
    n = n + 1
    if n < 3 then return bad() end
    return a + b
  end, 3, 4), 7)
  local stats = p:stats()
  eq(stats.retries, 2)
  eq(stats.failures, 0)
end)

local Late = gb.grain("Late")
function Late:try()
  local began, n = gb.monotonic(), 0
  local p = gb.policy { retry = { retries = 100, base = "10s", kind = "constant", jitter = 0 } }
  local _, message, code = p:run(function() n = n + 1 return bad() end)
  return { n = n, seconds = gb.monotonic() - began, message = message, code = code }
end
kit.case("a retry that the deadline leaves no time for is not waited for", function()
  local out = kit.ok(gb.get("Late", 1):with { timeout = "25s" }:try())
  eq(out.n, 3)
  near(out.seconds, 20)
  eq(out.code, "EDEVICE")
end)

-- ---- timeouts ----

kit.case("a call that takes too long leaves its caller", function()
  local p, seen = gb.policy { name = "slow", timeout = "2s" }, nil
  local at = gb.monotonic()
  fails("ETIMEDOUT", "slow: did not end within 2 s", p:run(function()
    gb.sleep("5s")
    seen = gb.cancelled()
  end))
  near(gb.monotonic() - at, 2)
  gb.sleep("10s")
  eq(seen, true, "the call itself can see it")
  eq(p:run(function() gb.sleep("1s") return 1, 2, 3 end), 1)
  eq(select("#", p:run(function() return 1, nil, nil end)), 3)
  eq(p:stats().timeouts, 1)
  fails("ERAISED", nil, p:run(function() error("oh") end))
  for name, seconds in pairs { kernel = 300, device = 30, alloc = 10, compile = 600,
    transfer = 120, other = 60 } do
    at = gb.monotonic()
    fails("ETIMEDOUT", nil, gb.policy { timeout = name }:run(gb.sleep, "1h"))
    near(gb.monotonic() - at, seconds, name)
  end
end)

-- ---- bulkheads ----

kit.case("so many run, so many wait, in order; more are refused", function()
  local p = gb.policy { bulkhead = { running = 2, queued = 3 } }
  local order, most, now, futures = {}, 0, 0, {}
  for i = 1, 5 do
    futures[i] = gb.spawn(p.run, p, function()
      now = now + 1
      most = math.max(most, now)
      gb.sleep("1s")
      now = now - 1
      order[#order + 1] = i
      return i
    end)
  end
  gb.sleep(0)
  kit.same(p:stats().bulkhead, { running = 2, queued = 3, rejected = 0, late = 0 })
  fails("EBUSY", "bulkhead: 2 run and 3 wait already", p:run(good))
  kit.same(gb.all(futures), { 1, 2, 3, 4, 5 })
  kit.same(order, { 1, 2, 3, 4, 5 })
  eq(most, 2)
  kit.same(p:stats().bulkhead, { running = 0, queued = 0, rejected = 1, late = 0 })
end)

kit.case("who waits too long is told so, and its place is free", function()
  local p = gb.policy { bulkhead = { running = 1, queued = 2, wait = "3s" } }
  local long = gb.spawn(p.run, p, gb.sleep, "5s")
  gb.sleep(0)
  local at = gb.monotonic()
  fails("EBUSY", "bulkhead: waited for 3 s, and 1 still run", p:run(good))
  near(gb.monotonic() - at, 3)
  eq(p:run(good), "good", "two more seconds are enough")
  ok(long:await())
  kit.same(p:stats().bulkhead, { running = 0, queued = 0, rejected = 0, late = 1 })
end)

kit.case("an error gives its slot back", function()
  local p = gb.policy { bulkhead = { running = 1, queued = 0 } }
  times(3, function() raises("~oh", p.run, p, function() error("oh") end) end)
  eq(p:run(good), "good")
end)

local Gone = gb.grain("Gone")
local shared
function Gone:hold() gb.spawn(shared.run, shared, gb.sleep, "10h") gb.sleep("1s") return true end
function Gone:queue() gb.spawn(shared.run, shared, good) gb.sleep("1s") return true end
function Gone:bye() return self:deactivate() end
kit.case("a turn that vanishes gives its slot and its place back", function()
  shared = gb.policy { bulkhead = { running = 1, queued = 5, wait = "1h" } }
  ok(gb.get("Gone", 1):hold())
  ok(gb.get("Gone", 2):queue())
  eq(shared:stats().bulkhead.queued, 1)
  ok(gb.get("Gone", 2):bye())
  local waits = gb.spawn(shared.run, shared, good)
  ok(gb.get("Gone", 1):bye())
  gb.sleep("1s")
  for _ = 1, 4 do collectgarbage() gb.sleep("1s") end
  eq(waits:await("1s"), "good")
  for _ = 1, 4 do collectgarbage() gb.sleep("1s") end
  eq(shared:stats().bulkhead.running, 0)
end)

-- ---- buckets ----

kit.case("a bucket gives its burst at once, then its rate, in order", function()
  local p, at = gb.policy { rate = { rate = 10, burst = 20 } }, gb.monotonic()
  times(20, p.run, p, good)
  near(gb.monotonic() - at, 0)
  p:run(good)
  near(gb.monotonic() - at, 0.1)
  local order, futures = {}, {}
  for i = 1, 30 do
    futures[i] = gb.spawn(p.run, p, function() order[i] = gb.monotonic() - at return true end)
  end
  gb.all(futures)
  for i = 1, 30 do near(order[i], 0.1 + i * 0.1, i) end
  gb.sleep("1h")
  at = gb.monotonic()
  times(20, p.run, p, good)
  near(gb.monotonic() - at, 0, "a rest fills it, and no more than that")
  p:run(good)
  ok(gb.monotonic() - at > 0.01)
end)

kit.case("who would wait longer than allowed is refused at once", function()
  local b = gb.bucket { name = "api", rate = 1, burst = 1, refill = "1s", wait = "2s" }
  ok(b:take())
  local a, c = gb.spawn(b.take, b), gb.spawn(b.take, b)
  gb.sleep(0)
  local at = gb.monotonic()
  fails("EBUSY", "~api: 1 calls a second are over; the next is free in 3 s", b:take())
  near(gb.monotonic() - at, 0)
  ok(gb.all(a, c))
  near(gb.monotonic() - at, 2)
  eq(b:stats().rejected, 1)
end)

-- ---- the whole of it ----

kit.case("the fallback sees what went wrong and the arguments", function()
  local p = gb.policy { retry = { retries = 1, base = 0 }, fallback = function(message, code, a)
    return message .. " " .. code .. " " .. a
  end }
  eq(p:run(function() return bad() end, 7), "it broke EDEVICE 7")
  eq(p:run(good), "good")
  eq(p:stats().fallbacks, 1)
end)

kit.case("an open breaker goes to the fallback without a call", function()
  local p, n = gb.policy { breaker = { failures = 2 }, fallback = function() return "other" end }, 0
  local function call() n = n + 1 return bad() end
  times(5, function() eq(p:run(call), "other") end)
  eq(n, 2)
  local both = gb.policy { breaker = p.breaker }
  fails("EBUSY", nil, both:run(call))
  eq(n, 2, "a breaker may be shared")
end)

kit.case("each attempt counts for the breaker", function()
  local p, n = gb.policy { retry = { retries = 9, base = 0 }, breaker = { failures = 3 } }, 0
  fails("EBUSY", nil, p:run(function() n = n + 1 return bad() end))
  eq(n, 3)
end)

-- ---- levels ----

kit.case("levels: down at more than half of ten, up after five quiet minutes", function()
  local broken, moves = { optimal = true, reduced = true, degraded = true }, {}
  local function way(name) return function(x) if broken[name] then return bad() end
    return name .. x end end
  local c = gb.levels { optimal = way "optimal", reduced = way "reduced",
    degraded = way "degraded", on_change = function(_, from, to)
      moves[#moves + 1] = from .. ">" .. to
    end }
  broken.reduced = false
  times(9, function() eq(c:run(1), "reduced1", "a call that fails goes one further") end)
  eq(c:level(), "optimal")
  c:run(1)
  eq(c:level(), "reduced")
  broken.reduced = true
  times(10, function() fails("EDEVICE", "it broke", c:run(1)) end)
  eq(c:level(), "degraded")
  times(10, c.run, c, 1)
  eq(c:level(), "failed")
  fails("EBUSY", "levels: every level fails", c:run(1))
  gb.sleep("299s")
  eq(c:level(), "failed")
  gb.sleep("1s")
  eq(c:level(), "degraded", "too few calls to tell otherwise")
  broken.degraded = false
  times(20, function() eq(c:run(2), "degraded2") end)
  gb.sleep("300s")
  eq(c:level(), "reduced")
  broken.reduced, broken.optimal = false, false
  eq(c:run(3), "reduced3")
  gb.sleep("300s")
  eq(c:run(4), "optimal4")
  kit.same(moves, { "optimal>reduced", "reduced>degraded", "degraded>failed", "failed>degraded",
    "degraded>reduced", "reduced>optimal" })
  local stats = c:stats()
  eq(stats.downs, 3)
  eq(stats.ups, 3)
end)

kit.case("levels: with a third of errors a level is neither left nor rises", function()
  local n = 0
  local function third() n = n + 1 if n % 3 == 0 then return bad() end return "x" end
  local c = gb.levels { optimal = function() return bad() end, reduced = third }
  times(10, c.run, c)
  eq(c:level(), "reduced")
  for _ = 1, 30 do
    c:run()
    gb.sleep("20s")
    eq(c:level(), "reduced")
  end
  gb.sleep("10m")
  eq(c:level(), "optimal", "what is older than the window is forgotten")
end)

kit.case("levels: one that still fails is left again, and reset goes back", function()
  local c = gb.levels { optimal = function() error("never") end, degraded = good }
  times(10, c.run, c)
  eq(c:level(), "degraded")
  gb.sleep("5m")
  eq(c:level(), "optimal")
  times(10, c.run, c)
  eq(c:level(), "degraded")
  c:reset()
  eq(c:level(), "optimal")
  local p = gb.policy { fallback = gb.levels { reduced = function(x) return x * 2 end } }
  eq(p:run(function() return bad() end, 4), 8)
end)

-- ---- chaos ----

kit.case("chaos strikes as often as it is told to, and not unless it is", function()
  local p = gb.policy {}
  times(1000, function() eq(p:run(good), "good") end)
  p = gb.policy { chaos = { fault = 0.2, latency = 0, exception = 0.1, exhaustion = 0 } }
  local counts = { good = 0, fault = 0, raised = 0 }
  times(5000, function()
    local calm, value = pcall(p.run, p, good)
    local what = not calm and "raised" or value or "fault"
    counts[what] = counts[what] + 1
  end)
  ok(math.abs(counts.raised - 500) < 120, counts.raised)
  ok(math.abs(counts.fault - 900) < 160, counts.fault)
  p = gb.policy { chaos = { fault = 0, latency = 1, exception = 0, exhaustion = 0 } }
  local at = gb.monotonic()
  p:run(good)
  local delay = gb.monotonic() - at
  ok(delay >= 0.1 - 1e-6 and delay <= 5 + 1e-6, delay)
  p = gb.policy { chaos = { fault = 0, latency = 0, exception = 0, exhaustion = 1 } }
  fails("ENOMEM", "chaos: out of resources", p:run(good))
  ok(pcall(gb.policy, { chaos = true }))
end)

-- ---- bad input ----

kit.case("wrong options name what is meant", function()
  raises("~unknown option 'retrys'; did you mean 'retry'", gb.policy, { retrys = 1 })
  raises("~unknown option 'attempts'; known: base, codes", gb.policy, { retry = { attempts = 1 } })
  raises("~unknown retry 'kernl'; did you mean 'kernel'", gb.policy, { retry = "kernl" })
  raises("~unknown kind of retry 'exponentional'; did you mean 'exponential'", gb.policy,
    { retry = { kind = "exponentional" } })
  raises("~unknown kind of timeout 'kernal'; did you mean 'kernel'", gb.policy,
    { timeout = "kernal" })
  raises("~timeout must be a number or a text like", gb.policy, { timeout = "5 parsecs" })
  raises("~timeout is longer than nothing", gb.policy, { timeout = 0 })
  raises("~unknown option 'windw'; did you mean 'window'", gb.breaker, { windw = 1 })
  raises("~ratio is a number from 0.001 to 1, got 2", gb.breaker, { ratio = 2 })
  raises("~min_calls is an integer from 1 to", gb.breaker, { min_calls = 1.5 })
  raises("~codes%[2%] is a code like", gb.breaker, { codes = { "ELOST", 3 } })
  raises("~running is an integer from 1", gb.bulkhead, { running = 0 })
  raises("~rate is a number from", gb.bucket, { rate = 0 })
  raises("~fault is a number from 0 to 1, got 3", gb.policy, { chaos = { fault = 3 } })
  raises("~fallback is a function or gb.levels", gb.policy, { fallback = 3 })
  raises("~bulkhead is a table of options or true, got number", gb.policy, { bulkhead = 10 })
  raises("~gb.policy takes a table of options, got nil", gb.policy)
  raises("~optimal, reduced or degraded, at least one", gb.levels, {})
  raises("~run takes a function, got nil", function() gb.policy({}):run() end)
  raises("~with a colon", function() gb.policy({}).run(good) end)
  raises("~unknown breaker method 'stat'; did you mean 'state'", function() gb.breaker():stat() end)
end)

kit.finish()
