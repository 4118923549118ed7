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
