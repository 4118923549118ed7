-- About how many bytes of Lua memory a value holds: the sizes are those of LuaJIT 2.1 for 64 bits.
-- What several values share counts for the first of them; functions and references weigh as such.
local array = require "gb.array"
local types = require "gb.types"

local TABLE, SLOT, NODE, STRING, CDATA, OTHER = 64, 8, 24, 24, 64, 40

local function of_table(value, list)
  local listed, named = 0, 0
  for key, item in next, value do
    if type(key) == "number" and key % 1 == 0 and key > 0 then
      listed = listed + 1
    else
      named = named + 1
      list[#list + 1] = key
    end
    list[#list + 1] = item
  end
  local nodes = named > 0 and 2 ^ math.ceil(math.log(named) / math.log(2)) or 0
  return TABLE + listed * SLOT + nodes * NODE
end

local function of_cdata(value)
  if array.classify(value) ~= "array" then return CDATA end
  return CDATA + tonumber(value.gb_count) * types.by_id[value.gb_type].size
end

--- bytes, and whether there are more: at most so many values are looked at.
return function(root, values_max)
  local seen, list, at, sum = {}, { root }, 1, 0
  while at <= #list and at <= values_max do
    local value = list[at]
    local kind = type(value)
    if kind == "string" and not seen[value] then
      sum = sum + STRING + #value
      seen[value] = true
    elseif kind == "table" or kind == "cdata" or kind == "function" or kind == "userdata" then
      if kind ~= "table" or not seen[value] then
        sum = sum + (kind == "table" and of_table(value, list)
          or kind == "cdata" and of_cdata(value) or OTHER)
      end
      if kind == "table" then seen[value] = true end
    end
    at = at + 1
  end
  return sum, at <= #list
end
