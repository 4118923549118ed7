-- JSON (RFC 8259), for gbrun: Lua values as text and back. Arrays of gb are lists, references their
-- ids, and 64-bit integers that a double does not hold are written as they are.
local M = {}

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n",
  ["\r"] = "\\r", ["\t"] = "\\t" }

local function text(value)
  return '"' .. value:gsub('[%c"\\\127]', function(c)
    return escapes[c] or ("\\u%04x"):format(c:byte())
  end) .. '"'
end

local function number(value)
  if value ~= value or value == math.huge or value == -math.huge then return "null" end
  if value % 1 == 0 and math.abs(value) < 2 ^ 53 then return ("%.0f"):format(value) end
  local short = ("%.15g"):format(value)
  return tonumber(short) == value and short or ("%.17g"):format(value)
end

local encode

--- The list of nothing: an empty table is an object.
M.none = {}

-- A table whose keys are 1 .. n is a list.
local function composite(value)
  if value == M.none then return "[]" end
  local parts, count = {}, 0
  for _ in pairs(value) do count = count + 1 end
  if count > 0 and count == #value then
    for i = 1, count do parts[i] = encode(value[i]) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for name, item in pairs(value) do
    parts[#parts + 1] = text(tostring(name)) .. ":" .. encode(item)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

function encode(value)
  local kind = require("gb").type(value)
  if kind == "nil" then return "null" end
  if kind == "boolean" then return tostring(value) end
  if kind == "number" then return number(value) end
  if kind == "string" then return text(value) end
  if kind == "table" then return composite(value) end
  if kind == "ref" then return text(value:id()) end
  if kind == "array" then return composite(value:totable { number = true }) end
  return (tostring(value):gsub("U?LL$", "")) -- int64 and uint64
end
M.encode = encode

--- A list of any length, also none.
function M.list(values, count)
  local parts = {}
  for i = 1, count do parts[i] = encode(values[i]) end
  return "[" .. table.concat(parts, ",") .. "]"
end

-- ---- reading ----

local DEPTH_MAX = 100
local names = { t = { "true", true }, f = { "false", false }, n = { "null", nil } }
local unescapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function utf8(code)
  if code < 0x80 then return string.char(code) end
  local floor, char = math.floor, string.char
  if code < 0x800 then return char(0xc0 + floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return char(0xe0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
  end
  return char(0xf0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64,
    0x80 + floor(code / 64) % 64, 0x80 + code % 64)
end

local function read_text(s, at)
  local parts = {}
  at = at + 1
  while true do
    local from, to = s:find('^[^"\\%c]+', at)
    if from then parts[#parts + 1], at = s:sub(from, to), to + 1 end
    local c = s:sub(at, at)
    if c == '"' then return table.concat(parts), at + 1 end
    local escape = c == "\\" and s:sub(at + 1, at + 1)
    if not escape then error "json" end
    if escape == "u" then
      local code = tonumber(s:match("^%x%x%x%x", at + 2) or error "json", 16)
      at = at + 6
      local low = code >= 0xd800 and code < 0xdc00 and s:match("^\\u(%x%x%x%x)", at)
      if low then
        code, at = 0x10000 + (code - 0xd800) * 1024 + (tonumber(low, 16) - 0xdc00), at + 6
      end
      parts[#parts + 1] = utf8(code)
    else
      local plain = unescapes[escape] or escape:match('^["\\/]$') or error "json"
      parts[#parts + 1], at = plain, at + 2
    end
  end
end

local read

local function skip(s, at) return s:find("[^ \t\r\n]", at) or #s + 1 end

local function read_items(s, at, depth, close, item)
  at = skip(s, at + 1)
  if s:sub(at, at) == close then return at + 1 end
  while true do
    at = skip(s, item(at, depth))
    local c = s:sub(at, at)
    if c == close then return at + 1 end
    if c ~= "," then error "json" end
    at = skip(s, at + 1)
  end
end

function read(s, at, depth)
  if depth > DEPTH_MAX then error "json" end
  at = skip(s, at)
  local c = s:sub(at, at)
  local out = {}
  if c == "[" then
    local count = 0
    return out, read_items(s, at, depth + 1, "]", function(from, deep)
      count = count + 1
      local to
      out[count], to = read(s, from, deep)
      return to
    end)
  elseif c == "{" then
    return out, read_items(s, at, depth + 1, "}", function(from, deep)
      if s:sub(from, from) ~= '"' then error "json" end
      local name, to = read_text(s, from)
      to = skip(s, to)
      if s:sub(to, to) ~= ":" then error "json" end
      out[name], to = read(s, to + 1, deep)
      return to
    end)
  elseif c == '"' then
    return read_text(s, at)
  end
  local name = names[c]
  if name and s:sub(at, at + #name[1] - 1) == name[1] then return name[2], at + #name[1] end
  local digits = s:match("^%-?%d+%.?%d*[eE]?[+-]?%d*", at)
  local value = digits and not digits:find("^%-?0%d") and not digits:find("%.$")
    and tonumber(digits)
  if not value then error "json" end
  return value, at + #digits
end

--- true and the value, or false: it is no JSON.
function M.decode(s)
  local ok, value, at = pcall(read, s, 1, 0)
  if not ok or skip(s, at) <= #s then return false end
  return true, value
end

return M
