-- A value as a person reads it, on one line or, when that is too long, on several; bounded.
local show = require "gb.show"

local WIDE, DEPTH_MAX, ITEMS_MAX = 78, 6, 100

local display

local function key_text(key)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") then return key end
  return "[" .. display(key, "", DEPTH_MAX) .. "]"
end

local function order(a, b)
  if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
  return type(a) < type(b)
end

local function parts_of(value, indent, depth)
  local parts, names = {}, {}
  local listed = #value
  for i = 1, math.min(listed, ITEMS_MAX) do parts[i] = display(value[i], indent, depth) end
  for key in next, value do
    if not (type(key) == "number" and key % 1 == 0 and key >= 1 and key <= listed) then
      names[#names + 1] = key
    end
  end
  table.sort(names, order)
  for i = 1, math.min(#names, ITEMS_MAX) do
    parts[#parts + 1] = key_text(names[i]) .. " = " .. display(value[names[i]], indent, depth)
  end
  local more = math.max(listed - ITEMS_MAX, 0) + math.max(#names - ITEMS_MAX, 0)
  if more > 0 then parts[#parts + 1] = ("... %d more"):format(more) end
  return parts
end

local function of_table(value, indent, depth)
  if next(value) == nil then return "{}" end
  if depth >= DEPTH_MAX then return "{ ... }" end
  local deeper = indent .. "  "
  local parts = parts_of(value, deeper, depth + 1)
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #indent + show.width(line) <= WIDE and not line:find("\n") then return line end
  return "{\n" .. deeper .. table.concat(parts, ",\n" .. deeper) .. "\n" .. indent .. "}"
end

local escapes = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

local function of_string(value)
  return '"' .. value:gsub('[%c"\\]', function(c)
    return escapes[c] or ("\\%03d"):format(c:byte())
  end) .. '"'
end

local function of_array(value)
  local count, items = #value, {}
  for i = 0, math.min(count, 8) - 1 do items[i + 1] = tostring(value[i]) end
  return ("array of %d: %s%s"):format(count, table.concat(items, " "), count > 8 and " ..." or "")
end

function display(value, indent, depth)
  local kind = require("gb").type(value)
  if kind == "string" then return of_string(value) end
  if kind == "ref" then return value:id() end
  if kind == "array" then return of_array(value) end
  if kind == "table" and not getmetatable(value) then return of_table(value, indent, depth) end
  if kind == "table" or type(value) ~= "table" then return tostring(value) end
  return ("<%s>"):format(kind)
end

return function(value) return display(value, "", 0) end
