-- resident.lua: calls of a resident grain of 4 MB: how fast, and how many bytes they move between
-- the host and the device (counted by the device; none are wanted).
local gb = require "gb"
local N = 1000000

local Field = gb.grain("Field", { resident = { x = { type = "float", count = N } } })
function Field:on_activate()
  self.K = assert(gb.kernels { name = "touch", source = [[
extern "C" __global__ void touch(float *x)
{
    if (threadIdx.x == 0 && blockIdx.x == 0) x[0] += 1;
}]] })
end
function Field:touch() return self.K.touch:run(1, self.resident.x) end

local field = gb.get(Field, 1)
for _ = 1, 10 do assert(field:touch()) end
local function moved()
  local device = gb.device()
  return device.bytes_uploaded + device.bytes_downloaded
end
local calls = (os.getenv "GB_BENCH_QUICK" or "") ~= "" and 100 or 100000
local before, start = moved(), gb.monotonic()
for _ = 1, calls do assert(field:touch()) end
local seconds = gb.monotonic() - start
print(("R resident_call_us %.3f"):format(seconds / calls * 1e6))
print(("R resident_bytes %.3f"):format((moved() - before) / calls))
