-- A stateless grain: as many activations as are needed.
local gb = require "gb"

local Worker = gb.grain("Worker", { placement = "stateless" })

function Worker:where() return gb.silo().worker end

return Worker
