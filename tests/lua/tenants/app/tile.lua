-- Resident grains of 2 MB of two tenants.
local gb = require "gb"

local function define(name, tenant)
  local class = gb.grain(name, { tenant = tenant, keep_alive = true,
    resident = { cells = { type = "float", count = 2 ^ 19 } } })
  function class:set(v) return self.resident.cells:fill(v) end
  function class:get() return self.resident.cells:download(nil, { offset = 9, count = 1 })[0] end
end
define("Tile", "acme")
define("Other", "gamma")
