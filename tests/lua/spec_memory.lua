-- Reservations of device memory, on a device of 64 MB.
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"
local equal, raised = spec.equal, spec.raised

local MB = 2 ^ 20
local function free() return gb.device().memory_free end
local function int8(n, from) return core.buffer_new(gb.array("int8", 1).gb_type, n, n, 0, "device",
  from) end

local all = free()

-- ---- what is reserved is nobody else's, and its buffers come out of it ----

local held = assert(core.reserve(0, 40 * MB))
equal(free(), all - 40 * MB)
local none, message, code = core.reserve(0, 25 * MB)
equal(none, nil) equal(code, "ENOMEM")
assert(message:find("26214400 bytes asked, 25165824 of 67108864 bytes free", 1, true), message)
none, message, code = gb.buffer("int8", 25 * MB)
equal(none, nil) equal(code, "ENOMEM")
assert(message:find("26214400 bytes asked", 1, true), message)
local first = assert(int8(30 * MB, held))
equal(free(), all - 40 * MB, "the buffer was reserved before")
none, message, code = int8(11 * MB, held)
equal(none, nil) equal(code, "ENOMEM")
assert(message:find("11534336 bytes wanted of a reservation that has 10485760 left", 1, true),
  message)
core.reserve_end(held)
equal(free(), all - 30 * MB)
core.reserve_end(held) -- nothing more happens
first:free()
equal(free(), all)

-- ---- one that is dropped is released, and what is none is refused ----

assert(core.reserve(0, 60 * MB))
collectgarbage() collectgarbage()
equal(free(), all)
equal(assert(core.reserve(0, 0)) ~= nil, true)
raised("no such device", function() core.reserve(1, 1) end)
raised("bytes from 0", function() core.reserve(0, -1) end)
raised("expected a reservation", function() core.reserve_end {} end)
held = assert(core.reserve(0, MB))
core.reserve_end(held)
raised("one that has ended", function() int8(1, held) end)

-- ---- the pool: a buffer of a size that was freed before is a hit, and comes as zeros ----

local before = gb.device().pool
local x = assert(gb.buffer("float", 1000))
x:fill(7)
x:free()
local y = assert(gb.buffer("float", 999)) -- of the same class
local after = gb.device().pool
equal(after.hits, before.hits + 1)
equal(after.bytes_in_use - before.bytes_in_use, 4096)
equal(after.bytes_asked - before.bytes_asked, 3996)
assert(after.fragmentation > 0 and after.hit_rate > 0 and after.utilization > 0)
equal(after.bytes_max, 16 * MB)
local got = y:download()
for i = 0, 998 do equal(got[i], 0) end
y:free()
equal(gb.devices()[1].pool.bytes_in_use, before.bytes_in_use)
none, message, code = gb.buffer("int8", 65 * MB)
equal(none, nil) equal(code, "ENOMEM") assert(message)
assert(gb.device().pool.failures > after.failures)
equal(core.device_info(0).pool, nil) -- who asks for every launch pays for none of it

-- ---- host arrays of launches are staged in memory of the pool ----

core.device_in_place(0, false)
local K = assert(gb.kernels { name = "add_one", source = [==[
extern "C" __global__ void add_one(int *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += 1;
}
]==] })
local values = gb.array("int32", 1000)
assert(K.add_one:run(1000, values, 1000))
local hits = gb.device().pool.hits
for _ = 1, 10 do assert(K.add_one:run(1000, values, 1000)) end
equal(gb.device().pool.hits, hits + 10)
equal(values[0], 11) equal(values[999], 11)
core.device_in_place(0, true)

-- ---- page-locked arrays: views of them too, both ways, and beside ordinary ones ----

local pinned_before, free_before = gb.device().memory_pinned, gb.device().memory_free
local locked = gb.array("float", 5000, { kind = "pinned" })
equal(gb.device().memory_pinned - pinned_before, 20000)
equal(gb.device().memory_free, free_before)
for i = 0, 4999 do locked[i] = i end
local d = assert(gb.buffer("float", 5000))
local up, down = gb.device().bytes_uploaded, gb.device().bytes_downloaded
local queue = gb.queue()
local one = d:upload(locked:view(0, 2500), { async = true, queue = queue })
local two = d:upload(locked:view(2500, 2500), { offset = 2500, async = true, queue = queue })
assert(gb.all(one, two))
equal(gb.device().bytes_uploaded - up, 20000)
local plain, back = gb.array("float", 5000), gb.array("float", 5000, { kind = "pinned" })
assert(d:download(plain))
assert(d:download(back:view(10, 100), { offset = 200, count = 100 }))
equal(gb.device().bytes_downloaded - down, 20400)
for i = 0, 4999 do equal(plain[i], i) end
equal(back[9], 0) equal(back[10], 200) equal(back[109], 299) equal(back[110], 0)
locked:free()
assert(d:download(plain))
equal(plain[4999], 4999)

-- ---- what a grain leaves in its memory no other grain sees ----

local Keeper = gb.grain("Keeper", {})
function Keeper:write(kind)
  local own = assert(gb.buffer("int32", 2000, { kind = kind }))
  assert(own:fill(tonumber(self:key())))
  own:free()
end
function Keeper:look(kind)
  local own = assert(gb.buffer("int32", 1990, { kind = kind }))
  local seen = own:download()
  own:free()
  for i = 0, #seen - 1 do if seen[i] ~= 0 then return seen[i] end end
  return 0
end
for _, kind in ipairs { "device", "pinned", "unified" } do
  for i = 1, 10 do
    assert(gb.get(Keeper, i):write(kind))
    local had = gb.device().pool.hits
    equal(gb.get(Keeper, i % 3 + 1):look(kind), 0)
    equal(gb.device().pool.hits, had + 1, "it is the other's memory")
  end
end
