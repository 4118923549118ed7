-- Resident grains in virtual time, on a cpu device of 64 MB (GB_CPU_MEMORY) or on the devices of a
-- driver.
local gb = require "gb"
local core = require "gb.core"

local MB = 2 ^ 20
local source = [==[
extern "C" __global__ void add(float *x, float k, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += k;
}]==]
local N = MB / 4 -- floats of a megabyte

local Field = gb.grain("Field", { keep_alive = true,
  resident = { cells = { type = "float", count = N }, few = { type = "int32", count = 3 } } })

local function field(name, options, on)
  local class = gb.grain(name, options)
  for key, fn in pairs(on or {}) do class[key] = fn end
  function class:add(k)
    self.K = self.K or assert(gb.kernels { name = "add", source = source })
    return self.K.add:run(#self.resident.cells, self.resident.cells, k, #self.resident.cells)
  end
  function class:at(i)
    return self.resident.cells:download(nil, { offset = i, count = 1 })[0]
  end
  return class
end

function Field:add(k)
  self.K = self.K or assert(gb.kernels { name = "add", source = source })
  return self.K.add:run(N, self.resident.cells, k, N)
end
function Field:at(i)
  return self.resident.cells:download(nil, { offset = i, count = 1 })[0]
end
function Field:write(i, v) return self.resident.few:upload({ v }, { offset = i }) end
function Field:read() return self.resident.few:download():totable() end
function Field:save() return gb.resident.save(self) end
function Field:wait_and_add(k)
  local cells = self.resident.cells
  gb.sleep("1h")
  return self.K.add:run(N, cells, k, N)
end
function Field:share() return self.resident.cells:share() end
function Field:stash() self.stashed = self.resident.few return true end
function Field:stale() return #self.stashed:download() end

local function stats() return assert(gb.resident.stats()) end

-- What happened between two looks.
local function since(before)
  local out, now = {}, stats()
  for name, value in pairs(now) do out[name] = value - before[name] end
  return out
end

describe("resident grains", function()
  it("move no bytes of state per call", function()
    local f = gb.get("Field", "hot")
    assert(f:add(1))
    local before, device = stats(), gb.device()
    for _ = 1, 100 do assert(f:add(1)) end
    local change, after = since(before), gb.device()
    assert.equal(0, change.bytes_loaded)
    assert.equal(0, change.bytes_saved)
    assert.equal(0, after.bytes_uploaded - device.bytes_uploaded)
    assert.equal(0, after.bytes_downloaded - device.bytes_downloaded)
    assert.equal(101, f:at(N - 1))
    assert.equal(4, gb.device().bytes_downloaded - after.bytes_downloaded)
  end)

  it("go when they were idle and come back with the next call", function()
    gb.test.reset()
    local f = gb.get("Field", 1)
    assert(f:add(2))
    assert(f:write(1, 7))
    local before, free = stats(), gb.device().memory_free
    gb.test.advance("9m")
    assert(f:add(1))
    gb.test.advance("9m")
    assert.equal(0, since(before).evictions)
    gb.test.advance("1m")
    local change = since(before)
    assert.equal(1, change.evictions)
    assert.equal(1, change.evictions_idle)
    assert.equal(-1, change.grains)
    assert.is_true(gb.device().memory_free >= free + MB)
    assert.equal(3, f:at(5))
    assert.same({ 0, 7, 0 }, f:read())
    assert.equal(1, since(before).reloads)
    gb.test.advance("10m")
    assert.equal(2, since(before).evictions_idle)
  end)

  it("keep their bytes over a deactivation", function()
    local f = gb.get("Field", "kept")
    assert(f:add(4))
    assert(f:write(2, 9))
    gb.test.deactivate(f)
    assert.equal(4, f:at(0))
    assert.same({ 0, 0, 9 }, f:read())
    gb.test.deactivate(f)
    assert.is_true(gb.resident.forget(f))
    assert.is_false(gb.resident.forget(f))
    assert.equal(0, f:at(0))
  end)

  it("stay while a turn of theirs, a handle or a command uses them", function()
    gb.test.reset()
    local f = gb.get("Field", "used")
    assert(f:add(1))
    local turn = f:with { timeout = "2h" }:async("wait_and_add", 1)
    local before = stats()
    gb.test.advance("30m")
    assert.equal(0, since(before).evictions)
    gb.test.advance("31m")
    assert.is_true((turn:await()))
    local shared = f:share()
    gb.test.advance("30m")
    assert.equal(0, since(before).evictions)
    shared:free()
    collectgarbage() -- the grain's own handle of what it gave
    gb.test.advance("10m")
    assert.equal(1, since(before).evictions)
    assert.equal(2, f:at(1))
  end)

  it("tell those who hold on to an evicted buffer", function()
    local f = gb.get("Field", "stash")
    assert(f:stash())
    gb.test.advance("11m")
    local none, message = f:stale()
    assert.is_nil(none)
    assert.truthy(message:find("take it from self.resident each turn", 1, true))
  end)

  it("say what is wrong", function()
    local function wrong(text, resident, more)
      local options = more or {}
      options.resident = resident
      local ok, message = pcall(gb.grain, "Wrong", options)
      assert.is_false(ok)
      assert.truthy(message:find(text, 1, true), message)
    end
    wrong("resident names no buffer", {})
    wrong("resident.x: { type = \"float\", count = 1000 } is wanted, got number", { x = 1 })
    wrong("resident.x: count is an integer from 1, got 0", { x = { type = "float", count = 0 } })
    wrong("did you mean 'float'", { x = { type = "flaot", count = 1 } })
    wrong("did you mean 'count'?", { x = { type = "float", cuont = 1 } })
    wrong("unknown kind of buffer 'host'", { x = { type = "float", count = 1, kind = "host" } })
    wrong("resident: the activations of a stateless grain share no state",
      { x = { type = "float", count = 1 } }, { placement = "stateless" })
    local f = gb.get("Field", "misuse")
    function Field:unknown() return self.resident.cell end
    function Field:assign() self.resident.cells = 1 end
    function Field:free() return self.resident.cells:free() end
    function Field:move() return gb.move(self.resident.cells) end
    assert.truthy(select(2, f:unknown()):find("did you mean 'cells'?", 1, true))
    assert.truthy(select(2, f:assign()):find("holds the grain's own buffers", 1, true))
    assert.truthy(select(2, f:free()):find("goes with it", 1, true))
    assert.truthy(select(2, f:move()):find("stays with it", 1, true))
    assert.has_error(function() gb.resident.forget("Field") end)
    assert.has_error(function() function Field:resident() end end)
  end)

  it("refuse bytes of another layout", function()
    gb.grain("Shape", { resident = { x = { type = "float", count = 4 } } }).touch = function(self)
      return self.resident.x:fill(1)
    end
    local s = gb.get("Shape", 1)
    assert(s:touch())
    gb.test.deactivate(s)
    gb.grain("Shape", { resident = { x = { type = "float", count = 8 } } }).touch = function(self)
      return #self.resident.x
    end
    local none, message, code = s:touch()
    assert.is_nil(none)
    assert.equal("ECONFLICT", code)
    assert.truthy(message:find("was kept as x float[4] and is now x float[8]", 1, true), message)
    assert(gb.resident.forget(s))
    assert.equal(8, s:touch())
  end)

  it("leave nothing behind when their activation fails", function()
    gb.test.reset()
    assert.equal(0, stats().grains)
    local free = gb.device().memory_free
    local class = field("Fails", { resident = { cells = { type = "float", count = N } } },
      { on_activate = function() error("no") end })
    assert.is_nil((gb.get("Fails", 1):at(0)))
    assert.equal(0, stats().grains)
    assert.equal(free, gb.device().memory_free)
    class.on_activate = function(self) self.resident.cells:fill(3) end
    assert.equal(3, gb.get("Fails", 1):at(0))
  end)
end)

describe("memory pressure", function()
  local small = gb.device().memory_total <= 64 * MB
  local Big = field("Big", { keep_alive = true,
    resident = { cells = { type = "float", count = 10 * N }, idle = "10h" } })
  local launch -- by the grain whose state is in use meanwhile
  function Big:launch()
    local cells = self.resident.cells
    assert(launch())
    return #cells > 0
  end
  function Big:hold(other)
    local cells = self.resident.cells
    assert(gb.get("Big", other):add(1))
    return self.K.add:run(#cells, cells, 1, #cells)
  end

  it("evicts the least recently used, and never one in use", function()
    if not small then return end
    gb.test.reset()
    local before = stats()
    for i = 1, 6 do assert(gb.get("Big", i):add(i)) end
    assert.equal(0, since(before).evictions)
    assert(gb.get("Big", 1):add(1)) -- 2 is the oldest now
    assert(gb.get("Big", 7):add(7))
    assert.equal(1, since(before).evictions)
    assert.equal(0, since(before).reloads)
    assert.equal(2, gb.get("Big", 1):at(0)) -- still there
    assert.equal(0, since(before).reloads)
    assert.equal(2, gb.get("Big", 2):at(0)) -- 3 had to go for it
    assert.equal(2, since(before).evictions)
    assert.equal(1, since(before).reloads)
    -- 4 is the oldest, but it is in a turn that asks for others
    assert(gb.get("Big", 4):hold(3))
    assert.equal(4, since(before).reloads + since(before).evictions - 1)
    for i = 1, 7 do assert.equal(i == 4 and 5 or i == 3 and 4 or i == 1 and 2 or i,
      gb.get("Big", i):at(10 * N - 1)) end
  end)

  it("makes room for other buffers, but not for what can never fit", function()
    if not small then return end
    gb.test.reset()
    for i = 1, 6 do assert(gb.get("Big", i):add(1)) end
    local before = stats()
    local none, message, code = gb.buffer("float", 100 * N)
    assert.is_nil(none)
    assert.equal("ENOMEM", code)
    assert.truthy(message:find("device memory", 1, true), message)
    assert.equal(0, since(before).evictions)
    local b = assert(gb.buffer("float", 20 * N))
    assert.equal(2, since(before).evictions)
    b:free()
  end)

  it("makes room for what launches and plans take for their time", function()
    if not small then return end
    gb.test.reset()
    local K = assert(gb.kernels { name = "add", source = source })
    local plan = gb.plan(K):launch(K.add, 20 * N, "x", "k", 20 * N):download("x")
    local x = gb.array("float", 20 * N)
    core.device_in_place(gb.device().index, false)
    local cases = {
      function() return K.add:run(20 * N, x, 1, 20 * N) end,
      function() return K.add:async(20 * N, x, 1, 20 * N):await() end,
      function() return plan:run { x = x, k = 1 } end,
    }
    for number, case in ipairs(cases) do
      launch = case
      for i = 1, 6 do assert(gb.get("Big", i):add(1)) end
      local before = stats()
      assert(gb.get("Big", 1):launch())
      assert.equal(2, since(before).evictions, "case " .. number)
      local after = stats()
      gb.get("Big", 1):at(0)
      assert.equal(0, since(after).reloads) -- it was in use and stayed
    end
    assert.equal(3, x[20 * N - 1])
    -- what can never fit takes nothing away
    local before, huge = stats(), gb.array("float", 70 * N)
    local none, message, code = K.add:run(70 * N, huge, 1, 70 * N)
    assert.is_nil(none)
    assert.equal("ENOMEM", code)
    assert.truthy(message:find("device memory", 1, true), message)
    assert.equal(0, since(before).evictions)
    core.device_in_place(gb.device().index, gb.device().backend == "cpu")
    plan, launch = nil, nil
    collectgarbage() -- the plan's buffers
  end)

  it("makes room for the lanes of a batch, when not one item would fit", function()
    if not small then return end
    gb.test.reset()
    gb.catalog.register("resident/first", { kernel = "first", item_count = 4 * N, source = [==[
extern "C" __global__ void first(const float *x, float *out, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = x[(size_t)i * ]==] .. 4 * N .. [==[];
}]==] })
    local items = gb.array("float", 8 * N)
    items[0], items[4 * N] = 5, 6
    core.device_in_place(gb.device().index, false)
    for i = 1, 6 do assert(gb.get("Big", i):add(1)) end
    local before, out = stats(), nil
    launch = function()
      out = assert(gb.batch("resident/first"):execute(items, { device = gb.device().index }))
      return true
    end
    assert(gb.get("Big", 1):launch())
    assert.equal(5, out[0])
    assert.equal(6, out[1])
    assert.equal(1, since(before).evictions) -- 4 MB are to be at most 0.8 of what is free
    before = stats()
    gb.get("Big", 1):at(0)
    assert.equal(0, since(before).reloads)
    core.device_in_place(gb.device().index, gb.device().backend == "cpu")
    launch = nil
  end)

  it("fails an activation that finds no room", function()
    if not small then return end
    gb.test.reset()
    local hog = assert(gb.buffer("float", 60 * N))
    local none, message, code = gb.get("Big", 20):at(0)
    assert.is_nil(none)
    assert.equal("ENOMEM", code)
    assert.truthy(message:find("Big/20: device memory: ", 1, true), message)
    hog:free()
    assert.equal(0, gb.get("Big", 20):at(0))
  end)
end)
