-- As a client of three silos: "cpu" (no GPU), "one" (one, of 512 MB), "two" (two, of 1 GB each).
-- placement.lua NAME: the silo that is asked (the one that chooses).
local gb = require "gb"
local asked = arg[1]

local function eq(got, want, what)
  if got ~= want then
    error(("%s: got %s, expected %s"):format(what, tostring(got), tostring(want)), 2)
  end
end

local function where(name, key) return assert(gb.get(name, key):where()) end

local function spread(name, count)
  local on = { cpu = 0, one = 0, two = 0 }
  for key = 1, count do
    local silo = where(name, asked .. key)
    on[silo] = on[silo] + 1
  end
  return on
end

-- ---- gb.capacity ----

repeat local all = assert(gb.capacity.list { all = true }) until #all == 3 or not gb.sleep "10ms"
local list = assert(gb.capacity.list())
eq(#list, 2, "silos with GPUs")
eq(list[1].silo .. list[2].silo, "onetwo", "their names")
eq(list[2].devices, 2, "devices of two")
eq(list[2].memory_total, 2 * 2 ^ 30, "memory of two")
eq(list[2].memory_largest, 2 ^ 30, "the largest part of it")
eq(list[1].memory_largest, 2 ^ 29, "the largest part of one")
eq(list[1].score, 100, "score")
eq(assert(gb.capacity.get("cpu")).devices, 0, "cpu has none")
eq(assert(gb.capacity.best { memory = "600MB" }).silo, "two", "best for much on one GPU")
eq(select(3, gb.capacity.best { memory = "1.5GB" }), "ENOENT", "two halves are no whole")
local stats = assert(gb.capacity.stats())
eq(stats.silos, 3, "silos")
eq(stats.gpu_silos, 2, "of them with GPUs")
eq(stats.memory_total, 2.5 * 2 ^ 30, "memory of all")
eq(stats.memory_largest, 2 ^ 30, "the largest part of all")
eq(stats.stale, 0, "stale")

-- ---- where grains go ----

eq(where("Big", 1), "two", "needs more on one GPU than one has")
eq(select(3, gb.get("Huge", 1):where()), "ENOGPU", "no GPU is so large")
eq(where("Soft", 1), "cpu", "on a CPU when there is no GPU and it may")
eq(spread("Gpu", 3).cpu, 0, "Gpu: none without a GPU")
eq(spread("Affine", 3).cpu, 0, "Affine")
eq(spread("Balanced", 3).cpu, 0, "Balanced")
local near = spread("Near", 1)
eq(near.cpu, 0, "Near: a GPU first of all")
if asked ~= "cpu" then eq(near[asked], 1, "Near: here when there is one") end
eq(spread("East", 5).two, 5, "East: the silo with the label")
eq(spread("EastGpu", 1).two, 1, "two labels and a GPU")
eq(select(3, gb.get("Nowhere", 1):where()), "ENOENT", "no silo has the label")
eq(spread("Local", 5)[asked], 5, "Local: the silo that was asked")
local any = spread("Any", 60)
eq(any.cpu > 0 and any.one > 0 and any.two > 0, true, "Any: all of them")
local hash = spread("Hash", 30)
eq(hash.cpu > 0 and hash.one > 0 and hash.two > 0, true, "Hash: all of them")
local least = spread("Least", 30)
eq(least.cpu + least.one + least.two, 30, "Least")

-- ---- figures told by hand ----

-- Others hear of it in a moment.
local function told(silo, devices)
  for _ = 1, 5000 do
    local record = gb.capacity.get(silo)
    if record and record.devices == devices then return record end
    gb.sleep "10ms"
  end
  error("nobody heard of it", 2)
end
assert(gb.capacity.update("cpu", { devices = 1, memory_total = "90GB", memory_free = "80GB",
  queue_depth = 3, backend = "other" }))
local cpu = told("cpu", 1)
eq(cpu.backend .. cpu.queue_depth, "other3", "what was told")
eq(cpu.memory_largest, 80 * 2 ^ 30, "one device has it all")
eq(("%.1f"):format(cpu.used_percent), "11.1", "the used part")
eq(assert(gb.capacity.best { memory = "2GB" }).silo, "cpu", "best by what was told")
assert(gb.capacity.update("cpu", { queue_depth = 4 }))
repeat local r = assert(gb.capacity.get("cpu")) until r.queue_depth == 4 or not gb.sleep "10ms"
eq(assert(gb.capacity.get("cpu")).memory_total, 90 * 2 ^ 30, "the rest stays")
assert(gb.capacity.unregister("cpu"))
told("cpu", 0)
assert(gb.capacity.unregister("two"))
told("two", 0)
eq(assert(gb.capacity.best()).silo, "one", "two has none any more")
assert(gb.capacity.register("two"))
eq(told("two", 2).memory_total, 2 * 2 ^ 30, "measured again")
assert(gb.capacity.register("cpu"))

local _, message, code = gb.capacity.update("tow", { devices = 1 })
eq(code, "ENOENT", "no such silo")
eq(message:match("^no silo has the name 'tow'; there are: .*one") ~= nil, true, message)
eq(select(3, gb.capacity.get("tow")), "ENOENT", "no such silo")
local function raises(part, fn, ...)
  local ok, why = pcall(fn, ...)
  if ok or not tostring(why):find(part, 1, true) then
    error(("expected it to raise %s, got %s"):format(part, tostring(why)), 2)
  end
end
raises("unknown option 'device'; did you mean 'devices'?", gb.capacity.update, "cpu",
  { device = 1 })
raises("memory_free is more than memory_total", gb.capacity.update, "cpu",
  { memory_free = 2, memory_total = 1 })
raises("devices is a whole number", gb.capacity.register, "cpu", { devices = -1 })
raises("takes the name of a silo", gb.capacity.get, 7)
raises("did you mean 'best'?", function() return gb.capacity.bst end)
print("ok")
