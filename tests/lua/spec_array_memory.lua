-- The collector follows the bytes of arrays, which LuaJIT does not see.
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"

local function peak_of(n, count)
  local peak = 0
  for _ = 1, n do
    local a = gb.array("float", count)
    a[0] = 1
    peak = math.max(peak, core.array_stats())
  end
  return peak
end

collectgarbage()
local before = core.array_stats()
local large = peak_of(200, 4e6) -- 16 MB each
assert(large < before + 200e6, "200 fresh arrays of 16 MB: " .. large)
local small = peak_of(20000, 1e4) -- 40 KB each
assert(small < before + 200e6, "20,000 fresh arrays of 40 KB: " .. small)

-- with much alive, garbage stays in proportion to it
local keep = {}
for i = 1, 16 do keep[i] = gb.array("float", 4e6) end
local more = peak_of(100, 4e6)
assert(more < before + 16 * 16e6 * 2 + 200e6, "beside 256 MB alive: " .. more)

-- free gives memory back at once
collectgarbage() -- no garbage whose finalisers could run in between
collectgarbage()
local alive = core.array_stats()
for i = 1, 16 do keep[i]:free() end
spec.equal(core.array_stats(), alive - 16 * 16e6, "after free")
collectgarbage()
collectgarbage()
spec.equal(core.array_stats(), before, "at the end")

-- with a large Lua heap the steps stay short
local heap = {}
for i = 1, 300000 do heap[i] = { i } end
local slowest = 0
for _ = 1, 200 do
  local start = gb.monotonic()
  assert(gb.array("float", 2.5e5)) -- 1 MB
  slowest = math.max(slowest, gb.monotonic() - start)
end
print(("slowest of 200 arrays of 1 MB beside 300,000 tables: %.2f ms"):format(slowest * 1e3))
spec.equal(#heap, 300000)
spec.done()
