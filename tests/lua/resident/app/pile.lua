-- Resident grains of 8 MB each, for pressure.lua.
local gb = require "gb"

local N = 2 ^ 21
local Pile = gb.grain("Pile", { resident = { x = { type = "float", count = N } } })

function Pile:set(value) return self.resident.x:fill(value) end
function Pile:get() return self.resident.x:download(nil, { offset = N - 1, count = 1 })[0] end
function Pile:rest() return self:deactivate() end

return Pile
