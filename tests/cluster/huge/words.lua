-- What the largest messages of the tests hold, right in every word: arrays of int32 and texts.
local bit = require "bit"
local ffi = require "ffi"
local gb = require "gb"
local words = {}

local function word(i) return bit.bxor(bit.lshift(i, 7), i) end

function words.array(bytes)
  local a = gb.array("int32", bytes / 4)
  for i = 0, bytes / 4 - 1 do a[i] = word(i) end
  return a
end

function words.text(bytes)
  local made = ffi.new("int32_t[?]", bytes / 4)
  for i = 0, bytes / 4 - 1 do made[i] = word(i) end
  return ffi.string(made, bytes)
end

-- The bytes of x; the first wrong word is an error.
function words.right(x)
  local text = type(x) == "string"
  local seen, count = x, text and #x / 4 or #x
  if text then seen = ffi.cast("const int32_t *", x) end
  for i = 0, count - 1 do
    if seen[i] ~= word(i) then error("word " .. i .. " of " .. count .. " is wrong") end
  end
  return count * 4
end

return words
