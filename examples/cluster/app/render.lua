-- Works on a GPU with 128 MB free; on a CPU when no silo has one.
local gb = require "gb"

local Render = gb.grain("Render", { placement = gb.gpu { memory = "128MB" } })

function Render:where() return gb.silo().name end

return Render
