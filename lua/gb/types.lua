-- Element types of arrays and buffers: scalars, CUDA's vectors, the structs of kernels. Every type
-- is a table:
-- name, id, size, ct (the C type), code ("float" ...), lanes, lane (the type of one lane), fields
-- (structs)
--   set(value): the value as its element takes it, or nil and why it does not fit
local ffi = require "ffi"
local core = require "gb.core"
local near = require "gb.near"
local bit = require "bit"

local typeof = ffi.typeof -- as in array.lua
local M = { by_id = {}, by_wire = {}, names = {} }
local floor = math.floor

-- LuaJIT keeps all values but numbers as NaN of negative sign, and the FFI reads memory as it is:
-- such an element (a NaN of CUDA, negated) would come out as nil, or as a pointer to nowhere. Of
-- real types, words is how many of 32 bits an element has; one whose last word, as an integer with
-- its sign turned, is least_nan or more is read as NaN. A look at the value itself comes too late:
-- the compiler already takes it for a number. Lanes and fields are read without all this.
-- ids are code | (lanes - 1) << 4, as src/lua/array.h says; codes are gb_type_code of gpu.h
local scalars = {
  { "bool", 1, "bool" },
  { "int8", 2, "int8_t", -128, 127, "char" },
  { "uint8", 3, "uint8_t", 0, 255, "uchar" },
  { "int16", 4, "int16_t", -32768, 32767, "short" },
  { "uint16", 5, "uint16_t", 0, 65535, "ushort" },
  { "int32", 6, "int32_t", -2147483648, 2147483647, "int" },
  { "uint32", 7, "uint32_t", 0, 4294967295, "uint" },
  { "int64", 8, "int64_t", nil, nil, "longlong" },
  { "uint64", 9, "uint64_t", nil, nil, "ulonglong" },
  { "float", 10, "float", nil, nil, "float" },
  { "double", 11, "double", nil, nil, "double" },
}

-- CUDA's alignment of the vectors with 2, 3 and 4 lanes, by the size of a lane
local aligns = { [1] = { 2, 1, 4 }, [2] = { 4, 2, 8 }, [4] = { 8, 4, 16 }, [8] = { 16, 8, 16 } }
local lane_names = { "x", "y", "z", "w" }

local int64, uint64 = typeof("int64_t"), typeof("uint64_t")
M.int64, M.uint64 = int64, uint64

local function wide(v) return type(v) == "cdata" and (ffi.istype(int64, v) or ffi.istype(uint64,
  v)) end
M.wide = wide

local function show(v)
  if type(v) == "number" then
    if floor(v) == v and v > -1e20 and v < 1e20 then return ("%.0f"):format(v) end
    return ("%.14g"):format(v)
  end
  if wide(v) then return (tostring(v):gsub("U?LL$", "")) end
  return type(v)
end
M.show = show

local function no_number(name, v)
  return nil, ("%s element takes a number, got %s"):format(name, type(v))
end

local function article(name)
  return (name:match("^[aeiou]") and not name:match("^uint") and not name:match("^uchar")
    and not name:match("^ushort")
    and not name:match("^ulong")) and "an " .. name or "a " .. name
end
M.article = article

local function set_real(kind)
  local a = article(kind.name)
  return function(v)
    if type(v) == "number" then return v end
    if wide(v) then return tonumber(v) end
    return no_number(a, v)
  end
end

local function set_int(kind, low, high)
  local a = article(kind.name)
  return function(v)
    local n = v
    if type(v) ~= "number" then
      if not wide(v) then return no_number(a, v) end
      n = tonumber(v)
    end
    if n >= low and n <= high and floor(n) == n then return n end
    return nil, ("value %s does not fit %s element: integers %d .. %.0f"):format(show(v), a, low,
      high)
  end
end

-- numbers must be integers of the range; cdata of the other sign must keep its value
local function set_wide(kind)
  local signed = kind.name == "int64"
  local low, high = signed and -2 ^ 63 or 0, signed and 2 ^ 63 or 2 ^ 64
  local a = article(kind.name)
  local range = signed and "-9223372036854775808 .. 9223372036854775807"
    or "0 .. 18446744073709551615"
  return function(v)
    if type(v) == "number" then
      if v >= low and v < high and floor(v) == v then return v end
    elseif not wide(v) then
      return no_number(a, v)
    elseif ffi.istype(kind.ct, v) then
      return v
    elseif signed and v <= 9223372036854775807ULL or not signed and v >= 0LL then
      return kind.ct(v)
    end
    return nil, ("value %s does not fit %s element: integers %s"):format(show(v), a, range)
  end
end

local function set_bool(v)
  if type(v) == "boolean" then return v end
  return nil, ("a bool takes true or false, got %s"):format(type(v))
end

-- A vector or struct from a table or cdata: into a fresh value, so that a bad field leaves the
-- array as it was.
local function set_fields(kind)
  local a, ct, fields = article(kind.name), kind.ct, kind.fields
  return function(v)
    if type(v) == "cdata" and ffi.istype(ct, v) then return v end
    if type(v) ~= "table" then
      return nil, ("%s element takes a table or a %s, got %s"):format(a, kind.name, type(v))
    end
    local out = ct()
    for key, value in pairs(v) do
      local field = fields[key]
      if not field then
        if type(key) == "number" then
          return nil, ("%s element has %d fields, got [%s]"):format(a, #fields, show(key))
        end
        return nil, near.unknown("field", key, kind.field_names) .. " (" .. kind.name .. ")"
      end
      local name = field.name
      if field.count > 1 then
        if type(value) ~= "table" or #value > field.count then
          return nil, ("field '%s' takes a list of at most %d"):format(name, field.count)
        end
        for i, one in ipairs(value) do
          local good, why = field.type.set(one)
          if why then return nil, ("field '%s'[%d]: %s"):format(name, i, why) end
          out[name][i - 1] = good
        end
      else
        local good, why = field.type.set(value)
        if why then return nil, ("field '%s': %s"):format(name, why) end
        out[name] = good
      end
    end
    if kind.lanes > 1 and #v > 0 and #v ~= kind.lanes then
      return nil, ("%s element takes %d numbers, got %d"):format(a, kind.lanes, #v)
    end
    return out
  end
end

local function plain(kind, value, number)
  if kind.fields then
    local out = {}
    for i, field in ipairs(kind.fields) do
      local v = value[field.name]
      if field.count > 1 then
        local list = {}
        for j = 0, field.count - 1 do list[j + 1] = plain(field.type, v[j], number) end
        v = list
      else
        v = plain(field.type, v, number)
      end
      if kind.lanes > 1 then out[i] = v else out[field.name] = v end
    end
    return out
  end
  if number and type(value) == "cdata" then return tonumber(value) end
  return value
end

--- An element as plain Lua: a number, a list of lanes, a table of fields. number: 64-bit ones as
--- Lua numbers.
M.plain = plain

local function add(kind, wire)
  M.by_id[kind.id] = kind
  M.by_wire[wire] = kind
  kind.wire = wire
  return setmetatable(kind, M.type_meta)
end

M.type_meta = {
  __call = function(kind, value) -- K.types.Body{ x = 1 }
    if value == nil then return kind.ct() end
    local good, why = kind.set(value)
    if why then error(why, 2) end
    return kind.fields and kind.ct(good) or good
  end,
  __tostring = function(kind) return "type " .. kind.name end,
  __newindex = function(kind) error("a type is read-only", 2) end,
}

for _, row in ipairs(scalars) do
  local name, code, c_name, low, high = row[1], row[2], row[3], row[4], row[5]
  local kind = { name = name, id = code, ct = typeof(c_name), lanes = 1 }
  kind.size = ffi.sizeof(kind.ct)
  kind.align = kind.size
  kind.low, kind.high = low, high
  if low then kind.set = set_int(kind, low, high)
  elseif code == 1 then kind.set = set_bool
  elseif code >= 10 then kind.set = set_real(kind)
  else kind.set = set_wide(kind) end
  kind.bool = code == 1
  kind.wide = code == 8 or code == 9
  if code == 10 then kind.words, kind.least_nan = 1, 0x7fc00001 end
  if code == 11 then kind.words, kind.least_nan = 2, 0x7ff90000 end
  add(kind, name)
  if code ~= 1 then M.names[#M.names + 1] = name end
end

for _, row in ipairs(scalars) do
  for lanes = 2, row[6] and 4 or 0 do
    local lane = M.by_wire[row[1]]
    local kind = { name = row[6] .. lanes, id = row[2] + (lanes - 1) * 16, lanes = lanes,
      lane = lane, fields = {} }
    kind.field_names = {}
    for i = 1, lanes do
      local field = { name = lane_names[i], type = lane, count = 1 }
      kind.fields[i], kind.fields[lane_names[i]], kind.field_names[i] = field, field, lane_names[i]
    end
    kind.align = aligns[lane.size][lanes - 1]
    local names = table.concat(lane_names, ", ", 1, lanes)
    kind.ct = typeof(("struct { %s %s; } __attribute__((aligned(%d)))"):format(row[3], names,
      kind.align))
    kind.size = ffi.sizeof(kind.ct)
    kind.set = set_fields(kind)
    add(kind, kind.name)
    M.names[#M.names + 1] = kind.name
  end
end

-- A struct's wire name describes it fully: "struct SIZE ALIGN NAME\n" and "OFFSET COUNT FIELD
-- TYPE\n" for each field, with the structs it holds before it. Equal texts are one type, in
-- whatever module or state they were met. The text may be a stranger's, and parts of it become a C
-- declaration: names are names, and fields lie inside of the struct, one behind the other.
local SIZE_MAX, MESSAGES_MAX = 2 ^ 30, 2 ^ 17

local function define(header, lines, inner)
  local size, align, name = header:match("^struct (%d+) (%d+) (.+)$")
  size, align = tonumber(size), tonumber(align)
  if size < 1 or size > SIZE_MAX or align < 1 or align > 4096 or bit.band(align, align - 1) ~= 0
    or size % align ~= 0 then
    return nil, ("struct %s: no struct has size %.14g and alignment %.14g"):format(name, size,
      align)
  end
  local kind = { name = name, lanes = 1, size = size, align = align, fields = {}, field_names = {} }
  local parts, types, at, largest = {}, {}, 0, 1
  for i, line in ipairs(lines) do
    local offset, count, field_name, type_name = line:match("^(%d+) (%d+) (%S+) (.+)$")
    offset, count = tonumber(offset), tonumber(count)
    if not field_name:find("^[%a_][%w_]*$") or kind.fields[field_name] then
      return nil, ("struct %s: '%s' is no name for a field of it"):format(name, field_name)
    end
    local field = { name = field_name, type = inner[type_name] or M.by_wire[type_name],
      count = count }
    if not field.type then
      return nil, ("struct %s: field '%s' has type %s"):format(name, field_name, type_name)
    end
    kind.fields[i], kind.fields[field_name], kind.field_names[i] = field, field, field_name
    if count < 1 or offset < at or offset + field.type.size * count > size then
      return nil, ("struct %s: field '%s' lies outside of it or over another"):format(name,
        field_name)
    end
    if offset > at then parts[#parts + 1] = ("char gb_pad%d[%d];"):format(i, offset - at) end
    parts[#parts + 1] = ("$ %s%s;"):format(field_name, count > 1 and "[" .. count .. "]" or "")
    types[#types + 1] = field.type.ct
    at = offset + field.type.size * count
    if field.type.align > largest then largest = field.type.align end
  end
  local text = ("struct __attribute__((packed)) { %s %s } __attribute__((aligned(%d)))"):format(
    table.concat(parts, " "),
    size > at and ("char gb_pad[%d];"):format(size - at) or "", align)
  local ok, ct = pcall(typeof, text, unpack(types))
  if not ok then return nil, ("struct %s: %s"):format(name, ct) end
  if ffi.sizeof(ct) ~= size then
    return nil, ("struct %s has %d bytes, its fields make %d"):format(name, size,
      tonumber(ffi.sizeof(ct)))
  end
  kind.ct = ct
  return kind
end

-- The text of a struct with those of the structs in it before it, each once, as the fields name
-- them.
local function with_inner(text, lines, inner)
  local texts, seen = {}, {}
  local function hold(kind)
    if seen[kind] or not kind.text then return end
    seen[kind] = true
    for _, field in ipairs(kind.fields) do hold(field.type) end
    texts[#texts + 1] = kind.text
  end
  for _, line in ipairs(lines) do
    local kind = inner[line:match("^%d+ %d+ %S+ (.+)$")]
    if kind then hold(kind) end
  end
  texts[#texts + 1] = text
  return table.concat(texts)
end

--- The type of a wire name, made where this state does not know it: the type, or nil and why not.
function M.from_wire(wire)
  local known = M.by_wire[wire]
  if known then return known end
  local inner, last = {}, nil
  local header, lines, start = nil, nil, 1
  local function close(stop)
    if not header then return true end
    local text, name = wire:sub(start, stop), header:match("^struct %d+ %d+ (.+)$")
    local own = with_inner(text, lines, inner)
    local kind = M.by_wire[own]
    if inner[name] and inner[name] ~= kind then
      return nil, ("struct %s is told in two ways"):format(name)
    end
    if not kind then
      local why
      kind, why = define(header, lines, inner)
      if not kind then return nil, why end
      local id, message = core.type_define(kind.name, own, kind.size)
      if not id then return nil, message end
      kind.id = id
      kind.text = text
      kind.set = set_fields(kind)
      add(kind, own)
      if M.on_define then M.on_define(kind) end
    end
    inner[kind.name], last = kind, kind
    return true
  end
  local at = 1
  while at <= #wire do
    local stop = wire:find("\n", at, true)
    if not stop then return nil, ("not the name of a type: '%s'"):format(wire:sub(1, 40)) end
    local line = wire:sub(at, stop - 1)
    if line:find("^struct %d+ %d+ .") then
      local ok, why = close(at - 1)
      if not ok then return nil, why end
      header, lines, start = line, {}, at
    elseif header and line:find("^%d+ %d+ %S+ .") then
      lines[#lines + 1] = line
    else
      return nil, ("not the name of a type: '%s'"):format(line:sub(1, 40))
    end
    at = stop + 1
  end
  local ok, why = close(#wire)
  if not ok then return nil, why end
  return last
end

local told = 0 -- bytes of names by which messages made types here: types stay for ever

--- The same for a name that came with a message.
function M.from_message(wire)
  local known = M.by_wire[wire]
  if known then return known end
  if told + #wire > MESSAGES_MAX then
    return nil, ("messages have brought too many types of structs (%d KiB of names)"):format(
      MESSAGES_MAX / 1024)
  end
  told = told + #wire
  return M.from_wire(wire)
end

--- The type that a user means: a name, or a type object. Raises at `level` for anything else.
function M.check(value, level)
  if getmetatable(value) == M.type_meta then return value end
  if type(value) ~= "string" then
    error(("a type is a name or a member of K.types, got %s"):format(type(value)), level + 1)
  end
  local kind = M.by_wire[value]
  if kind and not kind.bool and value == kind.name then return kind end
  local aliases = { int = "int32", char = "int8", short = "int16", long = "int64",
    number = "double", bool = "uint8",
    unsigned = "uint32", size_t = "uint64" }
  if aliases[value] then
    error(("unknown type '%s'; did you mean '%s'?"):format(value, aliases[value]), level + 1)
  end
  local names = {}
  for i, name in ipairs(M.names) do names[i] = name end
  error(near.unknown("type", value, names), level + 1)
end

return M
