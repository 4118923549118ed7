-- Every allocation of a resident grain's life fails once, in turn: the call that met it says so,
-- the next one works, and no byte of the state is lost.
-- luacheck: globals fail_at
local spec = require "spec"
local gb = require "gb"
local equal = spec.equal

local Kept = gb.grain("Kept", { resident = { x = { type = "int32", count = 64 } } })
function Kept:set(value) return self.resident.x:fill(value) end
function Kept:get() return self.resident.x:download(nil, { count = 1 })[0] end
function Kept:save() return gb.resident.save(self) end
function Kept:rest() return self:deactivate() end

local failures = 0

-- Until its state is written back: on a GPU that takes a while, and a failure would meet it there.
local function leave(ref)
  local before = gb.resident.stats().grains
  assert(ref:rest())
  repeat gb.sleep(0) until gb.resident.stats().grains < before
end

-- fn with its nth allocation failing: did that come, and what was the result.
local function with_failure(account, n, fn)
  fail_at(account, n)
  local ok, value, message, code = pcall(fn)
  local reached = fail_at(account, 0)
  if ok and value == nil then
    failures = failures + 1
    assert(code == "ENOMEM" or code == "ERAISED" and message:find("memory", 1, true),
      tostring(message))
  elseif not ok then
    assert(tostring(value):find("memory", 1, true), tostring(value))
  end
  return reached
end

for _, account in ipairs { "tenant", "host", "gpu", "kept" } do
  for _, step in ipairs { "set", "save", "get" } do
    for n = 1, 60 do
      local ref = gb.get("Kept", account .. step .. n)
      assert(ref:set(n))
      assert(ref:save())
      if step == "get" then -- from what was kept
        leave(ref)
      end
      local reached = with_failure(account, n, function() return ref[step](ref, n) end)
      equal(assert(ref:get()), n)
      leave(ref)
      equal(assert(ref:get()), n)
      if not reached then break end
    end
  end
end
-- a write-back says so; an allocation on a device is tried again
assert(failures > 0)
print(("%d failures were met"):format(failures))
spec.done()
