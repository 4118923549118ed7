-- Calls at its top a grain that it defines itself: who awaits that waits for this module.
local gb = require "gb"

local M = { asked = {} }
M.OwnTop = gb.grain("OwnTop", { placement = "hash" })
function M.OwnTop:hello() return "hello" end

for i = 1, 8 do M.asked[i] = { gb.get("OwnTop", i):hello() } end
require "modules.own_below"

return M
