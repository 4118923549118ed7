-- Resident grains whose device is lost: over a driver with two devices, one after the other.
local gb = require "gb"

local source = [==[
extern "C" __global__ void add(int *x, int k) { if (threadIdx.x < 4) x[threadIdx.x] += k; }
extern "C" __global__ void break_it(int *x) { if (x[0] >= 0) __trap(); }
]==]
assert(gb.kernels { name = "lost", source = source }) -- images are made of it without a GPU, too

local function grain(name)
  local class = gb.grain(name, { keep_alive = true, placement = gb.gpu {},
    resident = { cells = { type = "int32", count = 4 } } })
  function class:kernels_here()
    self.K = self.K or assert(gb.kernels { name = "lost", source = source })
    return self.K
  end
  function class:add(k) return self:kernels_here().add:run(4, self.resident.cells, k) end
  function class:read() return self.resident.cells:download():totable() end
  function class:save() return gb.resident.save(self) end
  function class:where() return self.device.index end
  function class:break_it() return self:kernels_here().break_it:run(1, self.resident.cells) end
  return class
end
local Told = grain("Told")
grain("Plain")
function Told:on_lost() self.losses = (self.losses or 0) + 1 end
function Told:count() return self.losses or 0 end

describe("a lost device", function()
  local told = gb.get("Told", 1)
  local near = {} -- grains on the same device
  for i = 1, 100 do
    local one = gb.get("Plain", i)
    if #near < 2 and one:where() == told:where() then near[#near + 1] = one end
  end
  local plain, gone = near[1], near[2]
  it("brings back what was written back last, on another device, and tells it", function()
    assert.not_equal("cpu", gb.device().backend)
    for _, one in ipairs { told, plain, gone } do
      assert(one:add(5))
      assert(one:save())
      assert(one:add(1))
    end
    local before = told:where()
    assert.equal(before, plain:where())
    local ok, _, code = told:break_it()
    assert.is_nil(ok)
    assert.truthy(code == "ELOST" or code == "ETRAP", code)
    -- the hook heard of it, and the call goes on with the old bytes
    assert.same({ 5, 5, 5, 5 }, told:read())
    assert.equal(1, told:count())
    assert.same({ 5, 5, 5, 5 }, told:read())
    assert.equal(1, told:count())
    assert.not_equal(before, told:where())
    -- without one the first call that asks fails, once
    local none, message
    none, message, code = plain:read()
    assert.is_nil(none)
    assert.equal("ELOST", code)
    assert.truthy(message:find(": its device was lost", 1, true), message)
    assert.same({ 5, 5, 5, 5 }, plain:read())
    assert(plain:add(2))
    assert.same({ 7, 7, 7, 7 }, plain:read())
    assert.equal(2, gb.resident.stats().losses)
  end)

  it("is told to the next activation when the grain ended meanwhile", function()
    gb.test.deactivate(gone)
    assert.equal(3, gb.resident.stats().losses)
    local none, _, code = gone:read()
    assert.is_nil(none)
    assert.equal("ELOST", code)
    assert.same({ 5, 5, 5, 5 }, gone:read())
  end)

  it("leaves the cpu when no other is there", function()
    local ok = told:break_it()
    assert.is_nil(ok)
    assert.same({ 5, 5, 5, 5 }, told:read())
    assert.equal(2, told:count())
    assert.equal(#gb.devices() - 1, told:where())
    assert(told:add(1))
    assert.same({ 6, 6, 6, 6 }, told:read())
  end)
end)
