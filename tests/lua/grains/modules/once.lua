-- Loaded once per worker: its variables exist once there, and its top may wait.
local gb = require "gb"
require "types.echo"

local loads = 0
gb.sleep("3ms")
local echoed = gb.get("Echo", "module"):echo("at the top")
loads = loads + 1

local Once = gb.grain("Once", { placement = "hash" })
local calls = 0
function Once:where() return gb.silo().worker end
function Once:look() calls = calls + 1 return loads, echoed, calls end

return { Once = Once, loads = function() return loads end }
