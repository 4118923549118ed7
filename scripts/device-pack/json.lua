-- json.lua: writes JSON. Keys of objects come in order of their names.
local M = {}

local function quoted(text)
  return '"' .. text:gsub('[%c"\\\127-\255]', function(c)
    return ("\\u%04x"):format(c:byte()) -- bytes of other encodings stay bytes
  end) .. '"'
end

local function put(out, value, indent)
  local kind = type(value)
  if kind == "table" then
    local inner, is_list = indent .. "  ", #value > 0 or next(value) == nil and value.list
    local keys = {}
    for key in pairs(value) do keys[#keys + 1] = key end
    if not is_list then table.sort(keys) end
    out[#out + 1] = is_list and "[" or "{"
    for i = 1, is_list and #value or #keys do
      out[#out + 1] = (i > 1 and ",\n" or "\n") .. inner
      if not is_list then out[#out + 1] = quoted(tostring(keys[i])) .. ": " end
      put(out, value[is_list and i or keys[i]], inner)
    end
    out[#out + 1] = "\n" .. indent .. (is_list and "]" or "}")
  elseif kind == "number" then
    local finite = value == value and math.abs(value) < math.huge
    out[#out + 1] = finite and ("%.14g"):format(value) or "null"
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  elseif kind == "nil" then
    out[#out + 1] = "null"
  else
    out[#out + 1] = quoted(tostring(value))
  end
end

function M.encode(value)
  local out = {}
  put(out, value, "")
  return table.concat(out) .. "\n"
end

return M
