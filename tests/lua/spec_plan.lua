-- luacheck: globals fail_at scratch
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"
local equal, list, raised, returned = spec.equal, spec.list, spec.raised, spec.returned

local K = assert(gb.kernels { name = "plan kernels", source = [==[
extern "C" __global__ void scale(float *x, float a, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] *= a;
}
extern "C" __global__ void add(const float *x, const float *y, float *z, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) z[i] = x[i] + y[i];
}
extern "C" __global__ void wild(float *x, int at) { x[at] = 1 / (at - at); }
extern "C" __global__ void stop(int n) { if (n > 0) __trap(); }
]==] })

-- What replays saved depends on what else runs on the machine, and may be less than nothing.
local function saved_by_keeping(stats) return stats.seconds_saved - stats.replay_seconds_saved end

-- ---- the same on a device that works in host memory and on one that does not ----

local function basics()
  local n = 5000
  local x = gb.array("float", n)
  for i = 0, n - 1 do x[i] = i % 100 end
  local p = gb.plan(K):launch("scale", n, "x", "a", n):map("y", "a * sqrtf(x) + 1.0f")
    :reduce("y", "sum", "total"):download("y")
  for _, a in ipairs { 2, 4, 0.25 } do
    local out = assert(p:run { x = x, a = a })
    local total = 0
    for i = 0, n - 1 do
      local want = a * math.sqrt(a * (i % 100)) + 1
      assert(math.abs(out.y[i] - want) < 1e-4, i .. ": " .. out.y[i] .. " " .. want)
      total = total + want
    end
    assert(math.abs(out.total - total) < 1e-5 * total, out.total .. " " .. total)
    equal(x[99], 99, "what is bound is not changed")
  end
  equal(p:stats().executions, 3) equal(p:stats().graphs, 1) equal(p:stats().stages, 4)
  assert(p:stats().nodes >= 3 and saved_by_keeping(p:stats()) > 0)

  -- the results of two runs are two arrays
  local one, two = p:run { x = x, a = 1 }, p:run { x = x, a = 3 }
  assert(one.y ~= two.y and one.y[4] ~= two.y[4])

  -- a target, also one that is read first
  local target = gb.array("float", n):fill(1)
  local q = gb.plan():map("y", "y + x"):download("y")
  equal(q:run { x = x, y = target }.y, target)
  equal(target[7], 8)
  assert(q:run { x = x, y = target })
  equal(target[7], 15)

  -- bound and written, not downloaded: the plan's own
  local r = gb.plan():map("y", "y + x"):reduce("y", "max", "most")
  equal(r:run { x = x, y = target }.most, target[99] + 99)
  equal(target[7], 15)
  r = gb.plan(K):launch("scale", n, "y", 2, n):reduce("y", "min", "least")
  equal(r:run { y = target }.least, 2)
  equal(target[0], 1)

  -- buffers are used in place
  local d, e = gb.buffer("float", x), gb.buffer("float", n)
  local s = gb.plan(K):launch("add", n, "x", "y", "z", n):map("x", "x * 2.0f"):download("z")
  local out = assert(s:run { x = d, y = x, z = e })
  equal(out.z[99], 198)
  equal(e:download()[98], 196)
  equal(d:download()[99], 198)

  -- constants among the arguments, and a result that a later stage uses
  local norm = gb.plan(K):launch(K.add, n, x, "y", "z", n):reduce("z", "sum", "total")
    :map("z", "z / total"):download("z")
  out = assert(norm:run { y = x, z = gb.array("float", n) })
  local sum = 0
  for i = 0, n - 1 do sum = sum + out.z[i] end
  assert(math.abs(sum - 1) < 1e-5)

  -- make, fill, copy; shapes that are slots
  local m = gb.plan(K):make("t", "float", "n"):fill("t", 3):launch("scale", "n", "t", 2, "n")
    :copy("t", "u"):map("u", "u + 1"):download("t"):download("u")
  for _, count in ipairs { 10, 300, 10, 0 } do
    out = assert(m:run { n = count })
    equal(#out.t, count) equal(#out.u, count)
    if count > 0 then equal(out.t[count - 1], 6) equal(out.u[0], 7) end
  end
  equal(m:stats().graphs, 3)

  -- downloaded, then written again: what it was
  out = assert(gb.plan():map("y", "x + 1"):download("y"):map("y", "y * 2")
    :reduce("y", "sum", "s"):run { x = gb.array("double", { 1, 2 }) })
  list(out.y:totable(), { 2, 3 })
  equal(out.s, 10)
end

basics()
local old = core.device_in_place(0, false)
basics()
core.device_in_place(0, old)

-- ---- on a device that replays: what its driver was handed as one ----

local replays = core.device_info().backend ~= "cpu"

local function replayed()
  local n = 500
  local x, y = gb.array("float", n):fill(2), gb.buffer("float", n)
  local p = gb.plan(K):launch("scale", n, "x", "a", n):map("z", "x + b"):map("w", "y * 2.0f")
    :reduce("z", "sum", "total"):download("z"):download("w")
  for i = 1, 12 do
    y:fill(i)
    local out = assert(p:run { x = x, y = y, a = i, b = i % 3 })
    equal(out.z[7], 2 * i + i % 3) equal(out.w[n - 1], 2 * i)
    equal(out.total, n * (2 * i + i % 3))
  end
  local stats = p:stats()
  equal(stats.executions, 12) equal(stats.graphs, 1) equal(stats.fallbacks, 0)
  equal(stats.fallback, nil)
  equal(stats.replays, replays and 11 or 0) equal(stats.driver_graphs, replays and 1 or 0)
  assert(saved_by_keeping(stats) > 0 and (replays or stats.replay_seconds_saved == 0))
  if replays then assert(stats.edges < stats.nodes * (stats.nodes - 1) / 2) end

  -- a buffer bound to two slots: the order is another one, and so is the graph
  local q = gb.plan(K):launch("add", n, "s", "t", "u", n):launch("add", n, "v", "t", "w", n)
  local b = {}
  for i = 1, 4 do b[i] = gb.buffer("float", n) end
  for i = 1, 12 do
    b[1]:fill(1) b[2]:fill(i)
    local u = i % 4 >= 2 and b[1] or b[3]
    assert(q:run { s = b[1], t = b[2], u = u, v = b[1], w = b[4] })
    equal(b[4]:download()[n - 1], (u == b[1] and 1 + i or 1) + i)
  end

  -- what was replayed is counted when the plan was recorded further, and kept when a reload came
  local before = p:stats().replays
  p:map("w", "w + 1.0f"):download("w")
  for _ = 1, 3 do equal(assert(p:run { x = x, y = y, a = 1, b = 0 }).w[0], 25) end
  equal(p:stats().replays, before + (replays and 2 or 0))
end
replayed()

-- ---- each allocation fails in turn: ENOMEM or the whole result, and the next run is right ----

local function without_memory()
  local n, failures, fallbacks = 300, 0, 0
  local x = gb.array("float", n):fill(3)
  for _, account in ipairs { "tenant", "host", "gpu" } do
    for at = 1, 400, account == "gpu" and 1 or 7 do
      local p = gb.plan(K):launch("scale", n, "x", 2, n):map("y", "x + 1.0f"):download("y")
        :reduce("y", "sum", "s")
      fail_at(account, at)
      for _ = 1, 3 do
        local ok, out, message, code = pcall(p.run, p, { x = x })
        if not ok then out, message, code = nil, out, out:find("memory", 1, true) and "ENOMEM" end
        if out then
          equal(out.y[n - 1], 7) equal(out.s, 7 * n)
        else
          failures = failures + 1
          equal(code, "ENOMEM", message)
        end
      end
      local reached = fail_at(account, 0)
      for _ = 1, 2 do equal(assert(p:run { x = x }).y[0], 7) end
      fallbacks = fallbacks + p:stats().fallbacks
      if not reached then break end
    end
  end
  assert(failures > 8, failures)
  equal(fallbacks > 0, replays)
end
without_memory()

-- ---- reductions against plain Lua ----

local function reductions()
  for _, n in ipairs { 1, 2, 255, 4095, 4096, 4097, 70000 } do
    for _, kind in ipairs { "float", "double", "int32", "uint8", "int64" } do
      local x, sum, least, most = gb.array(kind, n), 0, 1 / 0, -1 / 0
      local least_at, most_at
      for i = 0, n - 1 do
        local v = (i * 7919 + n) % 101
        x[i] = v
        sum = sum + v
        if v < least then least, least_at = v, i end
        if v > most then most, most_at = v, i end
      end
      local out = assert(gb.plan():reduce("x", "sum", "s"):reduce("x", "min", "a")
        :reduce("x", "max", "b"):reduce("x", "argmin", "i"):reduce("x", "argmax", "j")
        :run { x = x })
      equal(tonumber(out.s), sum, kind .. n) equal(tonumber(out.a), least)
      equal(tonumber(out.b), most) equal(out.i, least_at) equal(out.j, most_at)
      -- fused with a map
      out = assert(gb.plan():map("y", "x + 1"):reduce("y", "sum", "s"):run { x = x })
      equal(tonumber(out.s), sum + n, "fused " .. kind .. n)
      out = assert(gb.plan():map("y", "x + 1"):reduce("y", "max", "b"):download("y")
        :run { x = x })
      equal(tonumber(out.b), most + 1)
      equal(tonumber(out.y[n - 1]), tonumber(x[n - 1]) + 1)
    end
  end
  equal(gb.plan():reduce("x", "sum", "s"):run { x = gb.array("float", 0) }.s, 0)
end
reductions()

-- ---- any sequence of stages against plain Lua ----

local seed = tonumber(os.getenv("GB_SEED") or "") or os.time() % 100000
local state = seed
local function random(n)
  state = (state * 1103515245 + 12345) % 2 ^ 31
  return math.floor(state / 65536) % n + 1
end

local names = { "x", "y", "z", "w" }
local forms = {
  { "%s + %s", function(a, b) return a + b end },
  { "%s * 0.5 - %s", function(a, b) return a * 0.5 - b end },
  { "fmax(%s, %s)", function(a, b) return math.max(a, b) end },
  { "%s - k * %s", function(a, b) return a - 3 * b end },
}

local function one_sequence(n)
  local p, bound, model, text = gb.plan(), { k = 3 }, {}, {}
  local wanted, used = {}, 0
  for _, name in ipairs { "x", "y" } do
    bound[name] = random(2) == 1 and gb.array("double", n) or gb.buffer("double", n)
    local values = {}
    for i = 0, n - 1 do values[i] = random(9) end
    if gb.type(bound[name]) == "buffer" then
      local a = gb.array("double", n)
      for i = 0, n - 1 do a[i] = values[i] end
      bound[name]:upload(a)
    else
      for i = 0, n - 1 do bound[name][i] = values[i] end
    end
    model[name] = values
  end
  p:map("w", "x * k + y * 0")
  model.w = {}
  for i = 0, n - 1 do model.w[i] = model.x[i] * 3 end
  for _ = 1, random(7) do
    local what, from = random(4), {}
    for name in pairs(model) do from[#from + 1] = name end
    table.sort(from)
    local a, b, to = from[random(#from)], from[random(#from)], names[random(4)]
    if what <= 2 then
      local form = forms[random(#forms)]
      p:map(to, form[1]:format(a, b))
      local values = {}
      for i = 0, n - 1 do values[i] = form[2](model[a][i], model[b][i]) end
      model[to] = values
      text[#text + 1] = ("map %s = " .. form[1]):format(to, a, b)
    elseif what == 3 then
      used = used + 1
      p:reduce(a, "max", "r" .. used)
      local most = -1 / 0
      for i = 0, n - 1 do most = math.max(most, model[a][i]) end
      wanted["r" .. used] = most
      text[#text + 1] = "max " .. a
    else
      p:download(a)
      wanted[a] = {}
      for i = 0, n - 1 do wanted[a][i] = model[a][i] end
      text[#text + 1] = "download " .. a
    end
  end
  p:download("w")
  wanted.w = model.w
  local out = assert(p:run(bound))
  local place = ("GB_SEED=%d n=%d %s"):format(seed, n, table.concat(text, "; "))
  for name, want in pairs(wanted) do
    if type(want) == "number" then
      assert(math.abs(out[name] - want) <= 1e-9 * math.abs(want), place)
    else
      for i = 0, n - 1 do
        if math.abs(out[name][i] - want[i]) > 1e-9 * math.max(1, math.abs(want[i])) then
          error(("%s: %s[%d] is %s, not %s"):format(place, name, i, out[name][i], want[i]))
        end
      end
    end
  end
end
for round = 1, 12 do
  core.device_in_place(0, round % 2 == 0 and old)
  one_sequence(random(50))
end
core.device_in_place(0, old)

-- ---- types ----

local v = assert(gb.plan():map("y", "make_float4(x.x * a, x.y, x.z, x.w)"):download("y")
  :run { x = gb.array("float4", { { 1, 2, 3, 4 } }), a = 3 })
equal(v.y[0].x, 3) equal(v.y[0].w, 4)
local i64 = assert(gb.plan():map("y", "x * a"):download("y")
  :run { x = gb.array("int64", { 2 ^ 53 }), a = 3LL })
equal(i64.y[0], 3 * 2LL ^ 53)
equal(gb.plan():map("y", "x > k", { type = "uint8" }):reduce("y", "sum", "s")
  :run { x = gb.array("float", { 1, 5, 9 }), k = 4 }.s, 2)
equal(gb.plan():map("y", "on ? x : -x"):reduce("y", "sum", "s")
  :run { x = gb.array("double", { 1, 2 }), on = false }.s, -3)
equal(gb.plan():map("y", "x < 1e9f ? 1e-1f + 1.5e+2 : -.5e1f"):reduce("y", "min", "s")
  :run { x = gb.array("double", { 1 }) }.s > 150, true)

-- ---- errors ----

local x = gb.array("float", 100)
local p = gb.plan(K):map("y", "x + 1"):download("y")
raised("run takes a table of slots: run{ x = x }, got nil", function() p:run() end)
raised("unknown slot 'z'", function() p:run { x = x, z = 1 } end)
raised("stage 1 (map y): nothing binds 'x'", function() p:run {} end)
raised("stage 1 (map a): nothing binds 'b' yet: stage 2 (map b) makes it, and comes later",
  function() gb.plan():map("a", "b + 1"):map("b", "a + 1"):download("a"):run {} end)
raised("nothing binds 's' yet: stage 2 (reduce x) makes it", function()
  gb.plan():map("y", "x * s"):reduce("x", "sum", "s"):run { x = x }
end)
raised("stage 1 (map a): nothing binds 'a': give it to run", function()
  gb.plan():map("a", "a + 1"):run {}
end)
raised("run: 'x' is an array, a buffer or a number, got string", function() p:run { x = "1" } end)
raised("stage 1 (map y): 'y' has elements of float, not", function()
  gb.plan():map("y", "x", { type = "double" }):run { x = x, y = x }
end)
raised("'x' has 100 elements and 'y' has 50", function()
  p:run { x = x, y = gb.array("float", 50) }
end)
raised("stage 1 (launch scale): argument 2 'x': expected float array", function()
  gb.plan(K):launch("scale", 100, "x", 2, 100):run { x = gb.array("double", 100) }
end)
raised("stage 1 (launch scale): argument 3 'a': expected", function()
  gb.plan(K):launch("scale", 100, "x", "x", 100):run { x = x }
end)
raised("stage 1 (launch scale): scale takes 3 arguments after the shape, got 1", function()
  gb.plan(K):launch("scale", 100, "x"):run { x = x }
end)
raised("argument 4 'n': 1.5 is no integer (int)", function()
  gb.plan(K):launch("scale", 100, "x", 2, "k"):run { x = x, k = 1.5 }
end)
raised("'k' is part of a shape and must be a number", function()
  gb.plan(K):launch("scale", "k", "x", 2, 1):run { x = x, k = x }
end)
raised("block: 1024 threads at most", function()
  gb.plan(K):launch("scale", { grid = 1, block = 5000 }, "x", 2, 1):run { x = x }
end)
raised("unknown kernel 'scall'; did you mean 'scale'?", function()
  gb.plan(K):launch("scall", 1)
end)
raised("launch takes a kernel first", function() gb.plan(K):launch(7, 1) end)
raised("gb.plan takes the kernels of gb.kernels", function() gb.plan { } end)
raised("'2x' is no name for a slot", function() gb.plan():map("2x", "x") end)
raised("'float' is no name for a slot", function() gb.plan():download("float") end)
raised("map: one expression", function() gb.plan():map("y", "x; while (1)") end)
raised("unknown reduction 'sun'", function() gb.plan():reduce("x", "sun", "t") end)
raised("'t' is bound or made already", function()
  gb.plan():reduce("x", "sum", "t"):reduce("x", "max", "t"):run { x = x }
end)
raised("stage 1 (reduce x): the min of nothing", function()
  gb.plan():reduce("x", "min", "t"):run { x = gb.array("float", 0) }
end)
raised("so 'y' has no size", function() gb.plan():map("y", "a + 1"):run { a = 1 } end)
local wide, given = gb.plan(), {}
for i = 1, 33 do
  wide:map("y" .. i, "x" .. i .. " + 1"):download("y" .. i)
  given["x" .. i] = x
end
raised("run: at most 64 slots are bound, results included", function() wide:run(given) end)
raised("run: the plan has no stages", function() gb.plan():run {} end)
raised("call it as plan:run(...), with a colon", function() p.run { x = x } end)
raised("unknown plan method 'mpa'; did you mean 'map'?", function() p:mpa("y", "x") end)
raised("the array 'y' is frozen", function()
  p:run { x = x, y = gb.array("float", 100):freeze() }
end)
raised("is shared read-only", function()
  gb.plan():map("d", "d + 1"):run { d = gb.buffer("float", 10):share() }
end)
local freed = gb.array("float", 10)
local once = gb.plan():map("y", "x"):reduce("y", "sum", "s")
assert(once:run { x = freed })
freed:free()
raised("run: 'x' was freed or moved", function() once:run { x = freed } end)
local S = gb.kernels { name = "s", source = "struct P { float a; int b; };\n"
  .. "extern \"C\" __global__ void f(P *p) { p->a = 1; }" }
raised("'k' has elements of P", function()
  gb.plan():map("y", "k"):run { k = gb.array(S.types.P, 3) }
end)
local none, said, code = gb.plan():map("y", "x + nosuch(x)"):run { x = x }
returned("ECOMPILE", spec.compiled(said) and "plan: map y" or "", none, said, code)
if not replays then returned("ETRAP", "stop", gb.plan(K):launch("stop", 1, 1):run {}) end
equal(p:run { x = x }.y[0], 1, "and goes on")

-- ---- a reload takes effect, and a changed shape has its own graph ----

local path = scratch "reloaded.cu"
local function write(value)
  local file = assert(io.open(path, "w"))
  file:write("extern \"C\" __global__ void one(float *x) { x[threadIdx.x] = ", value, "; }")
  file:close()
end
write(1)
local F = assert(gb.kernels { file = path })
local reloaded = gb.plan(F):launch("one", { grid = 1, block = 1 }, "x"):download("x")
for _ = 1, 3 do equal(reloaded:run { x = gb.array("float", 1) }.x[0], 1) end
write(2)
assert(F:reload())
for _ = 1, 3 do equal(reloaded:run { x = gb.array("float", 1) }.x[0], 2) end
equal(reloaded:stats().graphs, 2)
equal(reloaded:stats().fallbacks, 0)
equal(reloaded:stats().replays, replays and 4 or 0)
for i = 1, 70 do equal(#p:run { x = gb.array("float", i) }.y, i) end

-- ---- runs that overlap in time ----

local futures = {}
for i = 1, 50 do
  futures[i] = gb.spawn(function()
    local a = gb.array("float", 20000):fill(i)
    return p:run { x = a }.y[19999]
  end)
end
for i = 1, 50 do equal(futures[i]:await(), i + 1) end

-- ---- a kernel that traps in a replay costs a GPU: whoever waits is told ----

if replays then
  local stop = gb.plan(K):launch("stop", 1, "n"):launch("stop", 1, "n")
  for _ = 1, 3 do assert(stop:run { n = 0 }) end
  returned("ELOST", "stop", stop:run { n = 1 })
  returned("ELOST", "", stop:run { n = 0 })
end

spec.done()
