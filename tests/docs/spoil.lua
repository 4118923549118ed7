-- spoil.lua FUNCTION EXAMPLE ARGUMENT...: runs an example with one element of what
-- gb.lib.FUNCTION gives made wrong; the example has to see it. Run in the folder of the example.
local gb = require "gb"
local name, example = arg[1], arg[2]
local right = gb.lib[name]

local function spoil(value, ...)
  if type(value) == "number" then return value + 1000, ... end
  if gb.type(value) == "buffer" then
    local one = assert(value:download(nil, { offset = #value - 1, count = 1 }))
    one[0] = one[0] < 100 and one[0] + 100 or 0
    assert(value:upload(one, { offset = #value - 1 }))
  end
  return value, ...
end

rawset(gb.lib, name, function(...) return spoil(right(...)) end)
rawset(_G, "arg", { [0] = example, unpack(arg, 3) })
local ok, message = pcall(dofile, example)
assert(not ok, example .. " did not see a wrong result of gb.lib." .. name)
assert(tostring(message):find("check failed: results that differ: %d"), message)
print("seen: " .. message)
