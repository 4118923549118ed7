-- gb.log: structured lines from grains and scripts.
local core = require "gb.core"
local near = require "gb.near"

local M = {}

local function json(value, depth)
  local kind = type(value)
  if kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then return "null" end
    return ("%.14g"):format(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind == "table" and depth < 4 and getmetatable(value) == nil then
    local parts = {}
    if #value > 0 then
      for i = 1, #value do parts[i] = json(value[i], depth + 1) end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    for k, v in pairs(value) do
      parts[#parts + 1] = json(tostring(k), 9) .. ":" .. json(v, depth + 1)
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
  end
  local text = tostring(value):gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end)
  return '"' .. text .. '"'
end

for level, name in ipairs { "debug", "info", "warn", "error" } do
  M[name] = function(text, fields)
    if type(text) ~= "string" then error(("gb.log.%s takes a text"):format(name), 2) end
    local inside
    if fields ~= nil then
      if type(fields) ~= "table" then
        error(("gb.log.%s: the fields are a table"):format(name), 2)
      end
      inside = json(fields, 0):sub(2, -2)
      if #fields > 0 then inside = '"fields":' .. json(fields, 0) end
    end
    core.log(level - 1, text, inside)
    return true
  end
end

return setmetatable(M, { __index = function(_, name)
  error(near.unknown("level of gb.log", name, near.keys(M)), 2)
end })
