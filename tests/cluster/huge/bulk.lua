-- Grains of the test of the largest messages.
local gb = require "gb"
local words = require "words"

local Bulk = gb.grain("Bulk", { placement = gb.label { zone = "far" } })
function Bulk:array(bytes) return gb.move(words.array(bytes)) end
function Bulk:text(bytes) return words.text(bytes) end
function Bulk:right(x) return words.right(x) end
function Bulk:size(x) return #x end

local Sender = gb.grain("Sender", { placement = gb.label { zone = "near" } })
function Sender:send(kind, bytes)
  local x = words[kind](bytes)
  return gb.get("Bulk", "far"):with({ timeout = "300s" }):right(kind == "array" and gb.move(x) or x)
end

local Small = gb.grain("Small", { placement = gb.label { zone = "far" } })
function Small:ping(i) return i end

return { Bulk, Sender, Small }
