-- gb.log: structured lines from grains and scripts.
local core = require "gb.core"
local near = require "gb.near"

local M = {}

-- Bytes that are not UTF-8 become U+FFFD, so that a line is JSON whatever is logged.
local function utf8(text)
  if not text:find("[\128-\255]") then return text end
  return (text:gsub("[\192-\255]?[\128-\191]*", function(run)
    local first = run:byte()
    if not first then return "" end
    local size = first < 0xc2 and 0 or first < 0xe0 and 2 or first < 0xf0 and 3 or
      first < 0xf5 and 4 or 0
    if size == 0 or #run < size then return "\239\191\189" end
    return run:sub(1, size) .. ("\239\191\189"):rep(#run - size)
  end))
end

local function quoted(text)
  text = utf8(text):gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end)
  return '"' .. text .. '"'
end

-- The fields of a line that are ours; a user's of that name gets a "_" behind it.
local ours = { time = true, level = true, text = true }

local function is_list(t)
  local count = 0
  for _ in pairs(t) do count = count + 1 end
  return count > 0 and count == #t
end

local function json(value, depth)
  local kind = type(value)
  if kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then return "null" end
    local short = ("%.15g"):format(value)
    return tonumber(short) == value and short or ("%.17g"):format(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind == "cdata" then
    return quoted((tostring(value):gsub("U?LL$", "")))
  elseif kind == "table" and depth < 4 and getmetatable(value) == nil then
    local parts = {}
    if is_list(value) then
      for i = 1, #value do parts[i] = json(value[i], depth + 1) end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    for k, v in pairs(value) do
      local name = tostring(k)
      if depth == 0 and ours[name] then name = name .. "_" end
      parts[#parts + 1] = quoted(name) .. ":" .. json(v, depth + 1)
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
  end
  return quoted(tostring(value))
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
      if is_list(fields) then inside = '"fields":' .. json(fields, 0) end
    end
    core.log(level - 1, (text:gsub("%z", "\239\191\189")), inside)
    return true
  end
end

return setmetatable(M, { __index = function(_, name)
  error(near.unknown("level of gb.log", name, near.keys(M)), 2)
end })
