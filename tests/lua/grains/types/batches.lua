-- A grain type of a module, hosted by every worker, that runs batches.
local gb = require "gb"

local Batches = gb.grain("Batches", { placement = "hash" })

function Batches:where() return gb.silo().worker end
function Batches:run(id, items) return gb.batch(id):execute(items) end

return Batches
