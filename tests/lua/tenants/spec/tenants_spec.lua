-- Tenants of grains in virtual time: GB_TENANTS="acme=8MB,beta=40MB,gamma", on a cpu device of 64
-- MB (GB_CPU_MEMORY) or on those of a driver.
local gb = require "gb"
local core = require "gb.core"

local MB = 2 ^ 20
local source = [==[
extern "C" __global__ void add(float *x, float k, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += k;
}
extern "C" __global__ void big(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 1048576; k++) y[i * 1048576 + k] = 2 * x[i * 1048576 + k];
}]==]
assert(gb.catalog.register("tenants/big", { source = source, kernel = "big",
  item_count = 2 ^ 20, result_count = 2 ^ 20 }))

local function grain_of(tenant, name, more)
  local options = { keep_alive = true, tenant = tenant }
  for key, value in pairs(more or {}) do options[key] = value end
  local class = gb.grain(name or "Of_" .. (tenant or "nobody"), options)
  function class:hold(megabytes, kind)
    self.list = self.list or {}
    local d, message, code = gb.buffer("uint8", megabytes * MB, { kind = kind })
    if not d then return nil, message, code end
    self.list[#self.list + 1] = d
    return true
  end
  function class:let_go()
    for _, d in ipairs(self.list or {}) do d:free() end
    self.list = nil
    collectgarbage()
    return true
  end
  return class
end

local Acme, Beta, Nobody = grain_of "acme", grain_of "beta", grain_of(nil)
local acme, beta = gb.get(Acme, 1), gb.get(Beta, 1)

local function of(name)
  for _, tenant in ipairs(gb.tenants()) do
    if tenant.name == name then return tenant end
  end
end

local function used(name)
  collectgarbage()
  return of(name).memory / MB
end

local function refused(text, ok, message, code)
  assert.is_nil(ok)
  assert.equal("ENOMEM", code)
  assert.truthy(message:find(text, 1, true), message)
end

-- Device memory as GPUs have it: kernels do not work in host memory.
local was = {}
local function apart(on)
  for i = 0, #gb.devices() - 1 do
    if on then was[i] = core.device_in_place(i, false) else core.device_in_place(i, was[i]) end
  end
end

describe("tenants", function()
  before_each(function()
    assert(acme:let_go())
    assert(beta:let_go())
    gb.lib.trim()
    assert.equal(0, used "acme")
    assert.equal(0, used "beta")
  end)

  it("have what their grains have, and not more than their cap", function()
    assert(acme:hold(5))
    assert(gb.get(Acme, 2):hold(2))
    assert.equal(7, used "acme")
    refused("device memory of tenant 'acme': 2097152 bytes wanted, and 7340032 of the 8388608 that "
      .. "it may have are in use", acme:hold(2))
    assert(beta:hold(12)) -- others go on
    assert(acme:hold(1, "pinned"))
    refused("tenant 'acme'", acme:hold(1, "pinned"))
    refused("tenant 'acme'", gb.get(Acme, 2):hold(1, "unified"))
    assert(gb.get(Acme, 2):let_go()) -- what is returned is there for all its grains
    assert.equal(6, used "acme")
    assert(acme:hold(2))
    assert.equal(12, used "beta")
    assert.equal(0, used "gamma")
    assert.equal(8 * MB, of("acme").memory_max)
    assert.is_nil(of("gamma").memory_max)
  end)

  it("keep what they gave to a grain of another", function()
    function Acme:give(to) return to:take(gb.move(assert(gb.buffer("uint8", 3 * MB)))) end
    function Beta:take(d) self.list = { d } return true end
    assert(acme:give(beta))
    assert.equal(3, used "acme")
    assert.equal(0, used "beta")
    assert(beta:let_go())
    gb.lib.trim()
    assert.equal(0, used "acme")
  end)

  it("find no bytes of each other", function()
    local function secret(self)
      local d = assert(gb.buffer("uint8", 3 * MB))
      d:fill(0xa5)
      d:free()
      return true
    end
    local function look(self)
      local pool = gb.device().pool
      local d = assert(gb.buffer("uint8", 3 * MB))
      local hits, dirty = gb.device().pool.hits - pool.hits, 0
      local bytes = d:download()
      for i = 0, #bytes - 1 do dirty = dirty + (bytes[i] ~= 0 and 1 or 0) end
      d:free()
      return hits, dirty
    end
    Acme.secret, Acme.look, Beta.secret, Beta.look = secret, look, secret, look
    for _, pair in ipairs { { acme, beta }, { beta, acme }, { acme, acme } } do
      assert(pair[1]:secret())
      local hits, dirty = pair[2]:look()
      assert.equal(0, dirty)
      assert.equal(1, hits) -- it was that memory
    end
  end)

  it("pay for the device memory of launches and plans", function()
    local function launch(self, n)
      local K = assert(gb.kernels { name = "tenants", source = source })
      local x = gb.array("float", n)
      local ok, message, code = K.add:run(n, x, 1, n)
      x:free()
      return ok, message, code
    end
    local function plan(self, n)
      local p = gb.plan():map("y", "x + 1.0f"):download("y")
      local out, message, code = p:run { x = gb.array("float", n) }
      return out and out.y[n - 1], message, code
    end
    Acme.launch, Beta.launch, Acme.plan, Beta.plan = launch, launch, plan, plan
    apart(true)
    assert(acme:launch(MB))
    refused("tenant 'acme'", acme:launch(3 * MB))
    assert(beta:launch(3 * MB))
    refused("tenant 'acme'", acme:plan(3 * MB))
    assert.equal(1, beta:plan(3 * MB))
    apart(false)
  end)

  it("have buffers of their own in a plan of both", function()
    local p = gb.plan():map("y", "x + 1.0f"):download("y")
    local function share(self, n)
      local out, message, code = p:run { x = gb.array("float", n) }
      return out and out.y[n - 1], message, code
    end
    Acme.share, Beta.share = share, share
    apart(true)
    assert.equal(1, beta:share(MB))
    local before = used "beta"
    assert.is_true(before > 0)
    assert.equal(1, acme:share(MB))
    assert.equal(1, acme:share(MB))
    assert.equal(before, used "acme")
    assert.equal(1, beta:share(MB))
    assert.equal(before, used "beta")
    assert.equal(1, beta:share(3 * MB))
    refused("tenant 'acme'", acme:share(3 * MB)) -- though that graph is there
    apart(false)
    p = nil
  end)

  it("have scratch memory of gb.lib of their own, which goes when memory is short", function()
    local function sort(self, n)
      local x = assert(gb.buffer("float", n))
      assert(gb.lib.sort(x))
      x:free()
      return true
    end
    Acme.sort, Beta.sort = sort, sort
    assert(beta:sort(MB / 4))
    local kept = used "beta"
    assert.is_true(kept > 0)
    assert(acme:sort(MB / 4))
    assert.equal(kept, used "acme")
    assert(acme:hold(8))
    assert.equal(8, used "acme")
    assert.equal(0, used "beta")
  end)

  it("pay for the streams that they open", function()
    local function stream(self)
      local got = {}
      local s = gb.batch("tenants/big"):stream { size = 1, delay = "1ms",
        out = function(result, message, code) got[1] = result and { result[0] } or { nil, message,
          code } end }
      local items = gb.array("float", 2 ^ 20)
      items:fill(2)
      assert(s:push(items))
      assert(s:stop())
      return unpack(got[1], 1, 3)
    end
    Acme.stream, Beta.stream = stream, stream
    apart(true)
    refused("tenant 'acme'", acme:stream())
    assert.equal(4, (beta:stream()))
    apart(false)
  end)

  it("pay for batches, pipelines and calls that are coalesced", function()
    local function batch(self, how)
      local items = gb.array("float", 2 ^ 20)
      items:fill(1.5)
      local out, message, code
      if how == "execute" then
        out, message, code = gb.batch("tenants/big"):execute(items)
      elseif how == "pipeline" then
        out, message, code = gb.pipeline("tenants/big"):execute(items)
        return out and out[1], message, code
      else
        out, message, code = gb.batch("tenants/big"):call(items)
      end
      return out and out[0], message, code
    end
    Acme.batch, Beta.batch, Nobody.batch = batch, batch, batch
    apart(true)
    for _, how in ipairs { "execute", "pipeline", "call" } do
      refused("tenant 'acme'", acme:batch(how))
      assert.equal(3, (assert(beta:batch(how))))
      assert.equal(3, (assert(gb.get(Nobody, 1):batch(how))))
    end
    apart(false)
  end)

  it("are not in one group of coalesced calls", function()
    apart(true)
    local a, b = acme:async("batch", "call"), beta:async("batch", "call")
    refused("tenant 'acme'", a:await())
    assert.equal(3, (b:await()))
    apart(false)
  end)

  it("keep the lanes of batches apart", function()
    local function keep(self)
      local items = gb.array("float", 2 ^ 20)
      return gb.batch("tenants/big"):execute(items, { persistent = true, device = 0 }) ~= nil
    end
    Beta.keep, Nobody.keep = keep, keep
    apart(true)
    assert.is_true((gb.get(Nobody, 1):keep()))
    local before = used "default"
    assert.is_true((beta:keep()))
    assert.equal(before, used "default")
    assert.equal(8, used "beta")
    assert.is_true((beta:keep()))
    assert.equal(8, used "beta")
    apart(false)
  end)
end)

describe("resident state of tenants", function()
  local spec = { resident = { cells = { type = "float", count = 3 * MB / 4 } }, keep_alive = true }
  local function resident(tenant, name)
    local class = grain_of(tenant, name, spec)
    function class:set(v) return self.resident.cells:fill(v) end
    function class:get() return self.resident.cells:download(nil, { offset = 7, count = 1 })[0] end
    function class:wait()
      local cells = self.resident.cells
      gb.sleep("1h")
      return cells ~= nil
    end
    return class
  end
  local Small, Large = resident("acme", "SmallField"), resident("gamma", "LargeField")

  it("makes room for its own alone", function()
    gb.test.reset()
    collectgarbage()
    for i = 1, 3 do assert(gb.get(Large, i):set(i)) end -- the oldest of all
    local before = gb.resident.stats()
    for i = 1, 4 do assert(gb.get(Small, i):set(10 + i)) end
    assert.equal(6, used "acme")
    assert.equal(9, used "gamma")
    assert.equal(2, gb.resident.stats().evictions - before.evictions)
    for i = 1, 4 do assert.equal(10 + i, gb.get(Small, i):get()) end
    for i = 1, 3 do assert.equal(i, gb.get(Large, i):get()) end
    assert.equal(0, gb.resident.stats().losses)
    local evictions = gb.resident.stats().evictions
    refused("tenant 'acme'", acme:hold(9)) -- more than all of it would make room for
    assert.equal(evictions, gb.resident.stats().evictions)
    assert(acme:hold(5)) -- a buffer makes it go too
    assert.equal(8, used "acme")
    assert.equal(9, used "gamma")
    assert(acme:let_go())
  end)

  it("makes none of others' go when its own came meanwhile", function()
    gb.test.reset()
    for i = 1, 3 do assert(gb.get(Large, i):set(i)) end
    assert(acme:hold(8))
    local before = gb.resident.stats().evictions
    local type_id, fails = require("gb.types").check("uint8", 1).id, 0
    function Acme:late(owner)
      return require("gb.resident").with_room(0, 2 * MB, 0, function()
        local d, message, code, capped = core.buffer_new(type_id, 2 * MB, 2 * MB, 0, "device")
        if d then return d:free() or true end
        fails = fails + 1
        assert(owner:let_go()) -- as a grain on another worker may
        return nil, message, code, capped
      end)
    end
    assert.is_true(gb.get(Acme, 3):late(acme))
    assert.equal(1, fails)
    assert.equal(before, gb.resident.stats().evictions)
    assert.equal(9, used "gamma")
  end)

  it("fails where all of its tenant's is in use", function()
    gb.test.reset()
    local busy = {}
    for i = 1, 2 do busy[i] = gb.get(Small, i):with { timeout = "2h" }:async("wait") end
    gb.test.idle()
    local before = gb.resident.stats()
    refused("tenant 'acme'", gb.get(Small, 3):set(1))
    assert.equal(0, gb.resident.stats().evictions - before.evictions)
    assert(gb.get(Large, 4):set(1))
    gb.test.advance("61m")
    for i = 1, 2 do assert.is_true((busy[i]:await())) end
    assert(gb.get(Small, 3):set(1))
  end)
end)

describe("a grain's tenant", function()
  it("is in its context", function()
    local function context(self)
      return gb.context().tenant, gb.spawn(function() return gb.context().tenant end):await()
    end
    Acme.context, Nobody.context = context, context
    assert.same({ "acme", "acme" }, { acme:context() })
    assert.same({ "default", "default" }, { gb.get(Nobody, 1):context() })
    assert.equal("default", gb.context().tenant)
  end)

  it("is refused when it is none", function()
    local function wrong(text, tenant)
      local ok, message = pcall(function() gb.grain("Wrong", { tenant = tenant }) end)
      assert.is_false(ok)
      assert.truthy(message:find(text, 1, true), message)
      assert.truthy(message:find("tenants_spec.lua", 1, true), message)
    end
    wrong("tenant is the name of a tenant: \"acme\", got number", 5)
    wrong("the name of a tenant is of letters, digits and _ . -", "a b")
    wrong("the name of a tenant is of letters, digits and _ . -", "")
    wrong("the name of a tenant is of letters, digits and _ . -", ("a"):rep(65))
    wrong("no tenant can be called 'default'", "default")
    wrong("the setting tenants names no 'acne'; did you mean 'acme'?", "acne")
  end)
end)
