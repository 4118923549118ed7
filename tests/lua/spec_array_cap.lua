-- A tenant with 100 MiB: what does not fit is nil, message, "ENOMEM"; garbage is collected before
-- that.
local spec = require "spec"
local gb = require "gb"

spec.returned("ENOMEM", "cap of 'tenant'", gb.array("double", 2e7))
for _ = 1, 40 do assert(gb.array("double", 3e6)) end -- 24 MB each
local keep = assert(gb.array("double", 8e6))
spec.returned("ENOMEM", "cap of 'tenant'", keep:copy())
spec.returned("ENOMEM", "cap of 'tenant'", gb.array("double", 8e6))
keep:free()
spec.equal(#assert(gb.array("double", 8e6)), 8e6)
spec.done()
