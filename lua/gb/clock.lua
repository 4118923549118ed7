-- The silo's monotonic clock (core.monotonic, gb.monotonic), in a form that compiles.
local ffi = require "ffi"
local core = require "gb.core"

local read = ffi.cast("double (*)(void *)", core.clock)
local clock = ffi.cast("void *", core.clock_of)

--- Seconds; virtual ones in a simulated silo.
function core.monotonic() return read(clock) end
