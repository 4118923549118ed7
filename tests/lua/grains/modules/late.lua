-- Defines its type only when asked to: on other workers nobody asks.
local gb = require "gb"
return function()
  local Late = gb.grain("LateType", { placement = "hash" })
  function Late:where() return gb.silo().worker end
  return Late
end
