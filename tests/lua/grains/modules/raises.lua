-- Defines a type and then fails: the type is not hosted.
local gb = require "gb"
local Half = gb.grain("HalfDefined")
function Half:hello() return "hello" end
error("the module fails")
