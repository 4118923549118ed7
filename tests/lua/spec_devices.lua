-- Two cpu devices: K belongs to none, a launch runs where its buffers are.
local spec = require "spec"
local gb = require "gb"
local equal, list, raised = spec.equal, spec.list, spec.raised

local devices = gb.devices()
local last = #devices - 1
local first = last - 1
local K = assert(gb.kernels { name = "devices", source = [==[
__device__ int mine;
extern "C" __global__ void add(const int *x, int *y) { y[threadIdx.x] += x[threadIdx.x]; mine = 1; }
]==] })
local a = assert(gb.buffer("int32", { 1, 2 }, { device = first }))
local b = assert(gb.buffer("int32", { 10, 20 }, { device = last }))
local one = gb.array("int32", { 1, 1 })
assert(K.add:run({ grid = 1, block = 2 }, one, a))
assert(K.add:run({ grid = 1, block = 2 }, one, b))
list(a:download():totable(), { 2, 3 })
list(b:download():totable(), { 11, 21 })
raised("argument 3 'y': the buffer is on device " .. last .. ", the launch on device " .. first
  .. " (of its other buffers)", function() K.add:run({ grid = 1, block = 2 }, a, b) end)
local q = assert(gb.queue { device = last })
raised("argument 3 'y': the buffer is on device " .. first .. ", the launch on device " .. last
  .. " (of its queue)", function() K.add:run({ grid = 1, block = 2, queue = q }, one, a) end)
assert(K.add:run({ grid = 1, block = 2, queue = q }, one, b))
raised("queue: it is on device", function() a:fill(0, { queue = q }) end)
-- a __device__ variable is one per device
equal(K:global("mine", { device = last }):download()[0], 1)
-- copies between devices
assert(b:copy_from(a))
list(b:download():totable(), { 2, 3 })
-- a reload reaches every device
assert(K:reload())
assert(K.add:run({ grid = 1, block = 2 }, one, b))
list(b:download():totable(), { 3, 4 })
spec.done()
