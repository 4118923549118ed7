-- Pipelines over several devices.
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"
local equal = spec.equal

gb.catalog.register("next", { kernel = "next", source = [==[
extern "C" __global__ void next(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] + 1;
}]==] })

local count = #gb.devices()
for i = 0, count - 1 do core.device_in_place(i, false) end -- copies tell who was used
local items = {}
for i = 1, 900 do items[i] = i end

local function downloaded(hints)
  local before, out = {}, {}
  for i, device in ipairs(gb.devices()) do before[i] = device.bytes_downloaded end
  local results = assert(gb.pipeline("next"):batch_size(10):parallelism(6):execute(items, hints))
  equal(#results, 900)
  for i = 1, 900 do equal(results[i], i + 1) end
  for i, device in ipairs(gb.devices()) do out[i] = device.bytes_downloaded - before[i] end
  return out
end

for i, bytes in ipairs(downloaded()) do equal(bytes, 900 * 4 / count, "device " .. i - 1) end
local one = downloaded { device = count - 1 }
for i, bytes in ipairs(one) do equal(bytes, i == count and 3600 or 0) end

-- A short list after a long one: no more than itself is copied.
local batch = gb.batch "next"
assert(batch:execute(items))
local before = gb.devices()[1]
equal(assert(batch:execute({ 1, 2 }, { device = 0 }))[2], 3)
local after = gb.devices()[1]
equal(after.bytes_downloaded - before.bytes_downloaded, 8)
equal(after.bytes_uploaded - before.bytes_uploaded, 16, "items, and results, which are zero")
spec.done()
