-- A folder with an init.lua is a module.
local gb = require "gb"
local Inner = gb.grain("Inner", { placement = "hash" })
function Inner:where() return gb.silo().worker end
return { Inner = Inner, name = ... }
