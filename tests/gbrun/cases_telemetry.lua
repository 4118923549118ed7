-- The settings profiling, metrics, tracing and sampling_rate: by file, environment and flag.
local profile = [==[
local gb = require "gb"
local K = assert(gb.kernels { name = "timed", source = [[
extern "C" __global__ void spin(int *n, int turns)
{
    volatile int k = 0;
    while (k < turns) k++;
    n[0] += 1;
}
extern "C" __global__ void never(int *n) { n[0] = 0; }
extern "C" __global__ void trap(int *n) { if (n[0] >= 0) __trap(); }]] })
local n = gb.array("int32", 1)
for _ = 1, 200 do assert(K.spin:run({ grid = 1, block = 1 }, n, 1000)) end
local many = {}
for i = 1, 10 do many[i] = K.spin:async({ grid = 1, block = 1 }, n, 3e6) end
assert(gb.all(many))
K.trap:run({ grid = 1, block = 1 }, n)
local t, message, code = K.spin:stats()
if not t then print(code, message) return end
assert(t.launches == 210 and t.failed == 0 and K.trap:stats().failed == 1)
assert(K.trap:stats().launches == 0 and K.never:stats().launches == 0)
assert(t.p50 > 0 and t.p50 <= t.p95 and t.p95 <= t.p99 and t.p99 <= t.max * 1.04)
assert(t.max > 20 * t.p50 and t.seconds >= t.max and t.seconds >= 200 * t.p50 * 0.2)
assert(t.waited_max > t.p50, "those behind the first waited")
assert(t.waited >= t.waited_max)
local plan = gb.plan(K):launch(K.never, { grid = 1, block = 1 }, "n")
  :launch(K.never, { grid = 1, block = 1 }, "n")
for _ = 1, 5 do assert(plan:run { n = n }) end
assert(K.never:stats().launches == 10 and K.never:stats().max < 1, "a plan's are told too")
assert(K:reload())
assert(K.spin:run({ grid = 1, block = 1 }, n, 1000))
assert(K.spin:stats().launches == 211, "a reload loses no count")
print("ok")
]==]

local function with(script, flags, out, more)
  local case = { ("%s %s"):format(flags, more and more.env or ""), files = { ["a.lua"] = script },
    run = flags .. " a.lua", out = out }
  for key, value in pairs(more or {}) do case[key] = value end
  return case
end

local function wrong(flags, ...)
  return { flags, files = { ["a.lua"] = "" }, run = flags .. " a.lua", code = 2, out = "",
    err = { ... } }
end

-- The spans of a grain that calls another one and launches: one trace, each below its caller.
local spans = [==[
local gb = require "gb"
local K = assert(gb.kernels { name = "one", source = [[
extern "C" __global__ void one(int *n) { n[0] = 1; }
extern "C" __global__ void trap(int *n) { if (n[0] >= 0) __trap(); }]] })
local Inner = gb.grain("Inner")
function Inner:get() return gb.context().trace, gb.context().sampled end
function Inner:fail() error("no") end
local Outer = gb.grain("Outer")
function Outer:go()
  local n = gb.array("int32", 1)
  assert(K.one:run({ grid = 1, block = 1 }, n))
  K.trap:run({ grid = 1, block = 1 }, n)
  gb.get("Inner", 5):fail()
  return gb.get("Inner", "a"):get()
end
local trace, sampled = gb.get("Outer", "x"):go()
local list, dropped, code = gb.spans()
if not list then print(code, dropped) return end
if #list == 0 then print("none", sampled, dropped) return end
assert(sampled and #gb.spans() == 0, "each is told once")
local by = {}
for _, s in ipairs(list) do
  assert(s.trace == trace and #s.span == 16 and s.seconds >= 0 and s.start > 1e9)
  by[s.attributes["kernel.name"] or s.name] = s
end
assert(#list == 5 and dropped == 0, #list)
local outer = by["Outer.go"]
assert(not outer.parent and outer.attributes["grain.type"] == "Outer")
assert(outer.attributes["grain.id"] == "x" and by["Inner.fail"].attributes["grain.id"] == "5")
local sum = 0
for name, s in pairs(by) do
  if s ~= outer then
    assert(s.parent == outer.span, name)
    sum = sum + s.seconds
  end
end
assert(sum <= outer.seconds * 1.01 + 1e-3)
assert(outer.status == "OK" and by["Inner.fail"].status == "ERAISED" and by.trap.status == "ETRAP")
assert(by.one.name == "gpu.kernel.execute" and by.one.attributes["device.type"] == "cpu")
assert(by.one.attributes["device.index"] == 0)
print("spans")
]==]

local untraced = "EDENIED\tnothing leaves spans: the setting tracing is off "
  .. "(GB_TRACING, --tracing)\n"
local off = "EDENIED\twhat launches take is not noted: the setting profiling is off "
  .. "(GB_PROFILING, --profiling)\n"

return {
  with(profile, "", off),
  with(profile, "--profiling", "ok\n"),
  with(profile, "", "ok\n", { env = "GB_PROFILING=yes" }),
  with(profile, "", "ok\n", { files = { ["a.lua"] = profile,
    ["gpubridge.lua"] = "return { profiling = true }" } }),
  with(spans, "--sampling-rate 1", "spans\n"),
  with(spans, "--workers 1", "spans\n", { env = "GB_SAMPLING_RATE=1" }),
  with(spans, "", "spans\n", { files = { ["a.lua"] = spans,
    ["gpubridge.lua"] = "return { sampling_rate = 1.0 }" } }),
  with(spans, "--sampling-rate 0", "none\tfalse\t0\n"),
  with(spans, "--sampling-rate 1 --tracing no", untraced),
  with(spans, "", untraced, { env = "GB_TRACING=off" }),
  wrong("--sampling-rate 1.5", "sampling-rate", "from 0 to 1", "1.5"),
  wrong("--sampling-rate half", "sampling-rate", "from 0 to 1", "half"),
  wrong("--metrics maybe", "metrics", "yes or no", "maybe"),
}
