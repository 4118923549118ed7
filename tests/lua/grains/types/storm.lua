-- Grains that do to each other whatever users do, and what they get wrong: storm.lua.
local gb = require "gb"

local types = { "Storm", "StormReentrant", "StormChain", "StormFree" }
local classes = {
  gb.grain("Storm", { idle = "20ms", max_queue = 8 }),
  gb.grain("StormReentrant", { reentrant = true, idle = "20ms" }),
  gb.grain("StormChain", { reentrant = "chain", idle = "20ms" }),
  gb.grain("StormFree", { placement = "stateless", max_activations = 2, idle = "20ms" }),
}

-- Without a time of their own, calls of spawned turns that wait for each other would take 30 s.
local function any()
  local ref = gb.get(types[math.random(#types)], math.random(20))
  return ref:with { timeout = "200ms" }
end
local function coin() return math.random(2) == 1 end

local acts = {}
function acts.call(_, n) return (any():go(n)) end
function acts.tell(_, n) any():with { timeout = "20ms" }:tell("go", n) end
function acts.async(_, n)
  local f = any():async("go", n)
  if coin() then f:cancel() else f:await("5ms") end
end
function acts.all(_, n) gb.all(any():async("go", n), any():async("go", n)) end
function acts.any(_, n) gb.any(any():async("go", n), any():async("go", n)) end
function acts.spawn(_, n)
  local f = gb.spawn(function()
    gb.sleep(math.random() * 0.003)
    return (any():go(n))
  end)
  if coin() then f:await() end
end
function acts.sleep() gb.sleep(math.random() * 0.002) end
function acts.raise() error("raised on purpose") end
function acts.raise_table() error({ a = 1 }) end
function acts.fail() gb.fail("FAIL", "on purpose") end
function acts.deactivate(self) self:deactivate() end
function acts.timer(self)
  local t = self:timer { after = "1ms", every = "1ms", call = "tick" }
  if coin() then t:stop() end
end
function acts.publish(self) self:publish("topic", math.random(9), { a = { 1, 2 } }) end
function acts.subscribe()
  local sub = gb.subscribe(any(), "topic", coin() and "tick" or function() error("handler") end)
  if sub and coin() then sub:close() end
end
function acts.array()
  local a = gb.array("float", 100)
  if coin() then a:freeze() end
  any():take(coin() and a or gb.move(a))
end
function acts.buffer()
  local d = gb.buffer("float", 10)
  any():with { timeout = "5ms" }:take(d:share())
  any():tell("take", gb.move(d))
end
function acts.tables(self)
  any():take({ a = { b = { ("x"):rep(math.random(2000)) } }, self:ref() })
end
function acts.wrong_result() return print end
function acts.wrong_argument() any():take(print) end
function acts.no_method()
  any():nope()
  any():tell("nope")
end
function acts.options(_, n)
  local ref = any():with { timeout = math.random() * 0.002, priority = math.random(-5, 5) }
  ref:with { bag = { n = n } }:go(n)
end
function acts.coroutine(_, n)
  local each = coroutine.wrap(function()
    coroutine.yield((any():go(n)))
    gb.sleep(0)
  end)
  each()
  each()
end
function acts.pcall(_, n)
  pcall(function()
    assert(any():go(n))
    gb.sleep(0)
    error("inside")
  end)
end
function acts.sort() pcall(table.sort, { 3, 2, 1 }, function() any():go(0) end) end
function acts.keys() return #(gb.keys("Storm") or {}), gb.count("StormChain") end

local names = {}
for name in pairs(acts) do names[#names + 1] = name end
table.sort(names)

for _, class in ipairs(classes) do
  function class:go(n)
    if n <= 0 then return 1 end
    local v = acts[names[math.random(#names)]](self, n - 1)
    return v
  end
  function class:take(v) return v end
  function class:tick() if math.random(10) == 1 then error("tick") end end
  function class:on_activate()
    if math.random(30) == 1 then error("on_activate") end
    if math.random(10) == 1 then gb.sleep(0.001) end
  end
  function class:on_deactivate()
    if math.random(30) == 1 then error("on_deactivate") end
    if math.random(10) == 1 then gb.sleep(0.001) end
  end
end

return types
