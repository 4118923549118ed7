-- Arrays: FFI cdata over counted blocks. What is here must compile: reads and writes are plain
-- loads and stores behind one bounds check, so x[i] in a hot loop costs about what a raw pointer
-- costs.
local ffi = require "ffi"
local core = require "gb.core"
local near = require "gb.near"
local types = require "gb.types"
local bit = require "bit"

local M = {}
-- Ours from the start: busted puts its own in their place, which take equal texts for equal types.
local typeof, metatype, istype = ffi.typeof, ffi.metatype, ffi.istype
local tobit, bxor, floor = bit.tobit, bit.bxor, math.floor
local SIGN = -2 ^ 31
local type, error, tonumber = type, error, tonumber

-- The beginning of gb_block; handles are laid out as gbl_array (src/base/block.h, src/lua/array.h).
ffi.cdef [[
typedef struct gb_lua_block {
  void *data; size_t bytes; uint32_t frozen; uint32_t refs;
} gb_lua_block;
typedef struct gb_lua_array_api {
  void (*release)(void *room, void *array, uint32_t why);
  void (*view)(void *to, const void *from, uint64_t offset_bytes, int64_t count);
  void (*freeze)(void *array);
} gb_lua_array_api;
]]
local api = ffi.cast("gb_lua_array_api *", core.array_api)
local room = ffi.cast("void *", core.array_room)
local FREED, MOVED = 2, 4
local ARRAY, ELEMENT, ELEMENT_REF = 3, 4, 5

local methods = {}
local handles = {} -- the C type of arrays, by type id

local function kind_of(a) return types.by_id[a.gb_type] end

local function dead(a, what, level)
  local moved = a.gb_flags == MOVED
  local why = moved and "gb.move: the array belongs to the receiver" or "free: the array is gone"
  error(what .. " after " .. why, level + 1)
end

-- Everything that is not a plain read in range. Called by a tail call, so level 2 is the user's
-- line. Returns the index as a number when it was good all the same (beyond 2^31, or a 64-bit
-- integer).
local function slow_index(a, i, level)
  if a.gb_block == nil then dead(a, "use of an array", level + 1) end
  if types.wide(i) then i = tonumber(i) end
  if type(i) ~= "number" then
    if type(i) == "string" then
      error(near.unknown("array method", i, near.keys(methods)), level + 1)
    end
    error(("an array index is an integer, got %s"):format(type(i)), level + 1)
  end
  local count = tonumber(a.gb_count)
  if floor(i) ~= i or i ~= i or i - i ~= 0 then
    error(("an array index is an integer, got %s"):format(types.show(i)), level + 1)
  end
  if i < 0 or i >= count then
    if count == 0 then
      error(("index %s is outside the array: it is empty"):format(types.show(i)), level + 1)
    end
    error(("index %s is outside the array: valid 0 .. %.0f"):format(types.show(i), count - 1),
      level + 1)
  end
  return i
end

local NAN = 0 / 0

-- Any element that is there. types.lua says what is wrong with some NaN.
local function element(a, i)
  local kind = kind_of(a)
  if kind.words
    and bxor(a.gb_bits[kind.words * (i + 1) - 1], SIGN) >= kind.least_nan then return NAN end
  return a.gb_data[i]
end

local function slow_read(a, i)
  return element(a, slow_index(a, i, 2))
end

local function slow_write(a, i, v)
  if type(i) == "string" and a.gb_block ~= nil then
    error(("an array has no fields to set, got '%s'"):format(i), 2)
  end
  i = slow_index(a, i, 2)
  if a.gb_block.frozen ~= 0 then error("the array is frozen: it is read-only", 2) end
  local good, why = kind_of(a).set(v)
  if why then error(why, 2) end
  a.gb_data[i] = good
end

-- tobit(i) == i holds for integers of 32 bits alone: not for fractions, NaN or 1e300, whose
-- conversion to 64 bits would pass the comparison with count.
local function read(a, i)
  if type(i) == "number" then
    if tobit(i) == i and i >= 0 and i < a.gb_count then return a.gb_data[i] end
    return slow_read(a, i)
  end
  local method = methods[i]
  if method then return method end
  return slow_read(a, i)
end

-- The same for elements that may be NaN.
local function read_real(words, least_nan)
  return function(a, i)
    if type(i) == "number" then
      if tobit(i) == i and i >= 0 and i < a.gb_count then
        if bxor(a.gb_bits[words * i + words - 1], SIGN) >= least_nan then return NAN end
        return a.gb_data[i]
      end
      return slow_read(a, i)
    end
    local method = methods[i]
    if method then return method end
    return slow_read(a, i)
  end
end

local function write_real(a, i, v)
  if type(i) == "number" and type(v) == "number" and tobit(i) == i and i >= 0 and i < a.gb_count
    and a.gb_block.frozen == 0 then
    a.gb_data[i] = v
    return
  end
  return slow_write(a, i, v)
end

local function write_int(low, high)
  return function(a, i, v)
    if type(i) == "number" and type(v) == "number" and tobit(i) == i and i >= 0 and i < a.gb_count
      and v >= low and v <= high and floor(v) == v and a.gb_block.frozen == 0 then
      a.gb_data[i] = v
      return
    end
    return slow_write(a, i, v)
  end
end

-- 64-bit elements: integers of up to 53 bits go straight in, and so does cdata of the element's own
-- type.
local function write_wide(ct, low)
  return function(a, i, v)
    if type(i) == "number" and tobit(i) == i and i >= 0 and i < a.gb_count
      and a.gb_block.frozen == 0 then
      if type(v) == "number" then
        if v >= low and v <= 9007199254740992 and floor(v) == v then
          a.gb_data[i] = v
          return
        end
      elseif type(v) == "cdata" and ffi.istype(ct, v) then
        a.gb_data[i] = v
        return
      end
    end
    return slow_write(a, i, v)
  end
end

local function write_fields(ct)
  return function(a, i, v)
    if type(i) == "number" and tobit(i) == i and i >= 0 and i < a.gb_count
      and a.gb_block.frozen == 0
      and type(v) == "cdata" and ffi.istype(ct, v) then
      a.gb_data[i] = v
      return
    end
    return slow_write(a, i, v)
  end
end

local function finalize(a)
  if a.gb_block ~= nil then api.release(room, a, FREED) end
end

local function define(kind)
  -- Fields have a prefix so that a.count or a.data is an unknown method and not a way around the
  -- checks.
  local ct = typeof("struct { union { $ *gb_data; int32_t *gb_bits; }; int64_t gb_count; "
    .. "gb_lua_block *gb_block; uint32_t gb_type, gb_flags; }", kind.ct)
  local write = write_real
  if kind.fields then write = write_fields(kind.ct)
  elseif kind.wide then write = write_wide(kind.ct, kind.name == "int64" and -9007199254740992 or 0)
  elseif kind.low then write = write_int(kind.low, kind.high) end
  ct = metatype(ct, {
    __index = kind.words and read_real(kind.words, kind.least_nan) or read,
    __newindex = write,
    __len = function(a) return tonumber(a.gb_count) end,
    __gc = finalize,
    __tostring = function(a)
      if a.gb_block == nil then
        return ("array %s (%s)"):format(kind.name, a.gb_flags == MOVED and "moved" or "freed")
      end
      return ("array %s[%d]"):format(kind.name, tonumber(a.gb_count))
    end,
  })
  handles[kind.id] = ct
  core.type_kind(tonumber(ct), ARRAY, kind.id)
  if kind.fields then
    core.type_kind(tonumber(kind.ct), ELEMENT, kind.id)
    core.type_kind(tonumber(typeof("$ &", kind.ct)), ELEMENT_REF, kind.id)
  end
  return ct
end
types.on_define = define

-- Compiles, which a function that makes closures does not.
local function fresh(kind)
  local ct = handles[kind.id] or define(kind)
  local a = ct()
  a.gb_type = kind.id
  return a
end

local function is_array(v) return type(v) == "cdata" and core.classify(v) == "array" end

--- The same for one element type; compiles.
function M.is_of(kind, v)
  local ct = handles[kind.id]
  return ct ~= nil and type(v) == "cdata" and istype(ct, v)
end

-- ---- methods ----

local function whole(what, n, level)
  if types.wide(n) then n = tonumber(n) end
  if type(n) ~= "number" or floor(n) ~= n or n - n ~= 0 then
    error(("%s is an integer, got %s"):format(what, types.show(n)), level + 1)
  end
  return n
end

-- offset and count of a part of n elements, checked; level: of the user's line
local function range(a, offset, count, level)
  local n = tonumber(a.gb_count)
  offset = offset == nil and 0 or whole("offset", offset, level + 1)
  if offset < 0 or offset > n then
    error(("offset %s is outside the array: valid 0 .. %d"):format(types.show(offset), n),
      level + 1)
  end
  count = count == nil and n - offset or whole("count", count, level + 1)
  if count < 0 or count > n - offset then
    error(("count %s from offset %d passes the end of the array: valid 0 .. %d"):format(
      types.show(count), offset, n - offset), level + 1)
  end
  return offset, count
end

local function self_check(a, name)
  if not is_array(a) then error(("call it as array:%s(...), with a colon"):format(name), 3) end
  if a.gb_block == nil then dead(a, name, 3) end
end

--- A Lua list (1-based) of all elements; { number = true }: 64-bit elements as Lua numbers.
function methods.totable(a, options)
  self_check(a, "totable")
  near.check_options("totable", options, { number = true }, 2)
  local kind, out = kind_of(a), {}
  local data, n = a.gb_data, tonumber(a.gb_count)
  local number = options and options.number
  if kind.fields then
    for i = 0, n - 1 do out[i + 1] = types.plain(kind, data[i], number) end
  elseif kind.wide and number then
    for i = 0, n - 1 do out[i + 1] = tonumber(data[i]) end
  else
    for i = 0, n - 1 do out[i + 1] = element(a, i) end
  end
  return out
end

--- Sets every element; returns the array.
function methods.fill(a, value)
  self_check(a, "fill")
  if a.gb_block.frozen ~= 0 then error("the array is frozen: it is read-only", 2) end
  local good, why = kind_of(a).set(value)
  if why then error(why, 2) end
  local data, n = a.gb_data, tonumber(a.gb_count)
  if good == 0 and 1 / tonumber(good) > 0 then
    ffi.fill(data, n * kind_of(a).size)
  else
    for i = 0, n - 1 do data[i] = good end
  end
  return a
end

--- An array on the same memory: elements offset .. offset + count - 1.
function methods.view(a, offset, count)
  self_check(a, "view")
  offset, count = range(a, offset, count, 2)
  local out = handles[a.gb_type]()
  api.view(out, a, offset * kind_of(a).size, count)
  return out
end

--- A fresh array with the same elements; nil, message, "ENOMEM".
function methods.copy(a, offset, count)
  self_check(a, "copy")
  offset, count = range(a, offset, count, 2)
  local kind = kind_of(a)
  local out = fresh(kind)
  local ok, message, code = core.array_copy(out, a, offset * kind.size, count * kind.size, count)
  if not ok then return nil, message, code end
  return out
end

--- Read-only from now on, with all views; then it is passed to other grains without a copy. Returns
--- the array.
function methods.freeze(a)
  self_check(a, "freeze")
  api.freeze(a)
  return a
end

--- Lets go of the memory now; views of it keep it. Later use raises; a second free does nothing.
function methods.free(a)
  if not is_array(a) then error("call it as array:free(), with a colon", 2) end
  if a.gb_block ~= nil then api.release(room, a, FREED) end
  return true
end

--- A raw C pointer to the first element, without checks; it does not keep the array alive.
function methods.pointer(a)
  self_check(a, "pointer")
  return a.gb_data
end

--- Element i as a Lua number, also of 64-bit elements.
function methods.number(a, i)
  self_check(a, "number")
  if kind_of(a).fields then
    error(("number needs elements that are numbers, not %s"):format(kind_of(a).name), 2)
  end
  return tonumber(element(a, slow_index(a, i, 2)))
end

--- The element type: a name, or for structs the member of K.types.
function methods.type(a)
  self_check(a, "type")
  local kind = kind_of(a)
  return kind.id >= 64 and kind or kind.name
end

-- ---- making arrays ----

local known_options = { kind = true }

local function make(kind, n, pinned)
  local a = fresh(kind)
  local init = pinned and core.array_pinned or core.array_new
  local ok, message, code = init(a, kind.id, kind.size, n)
  if not ok then return nil, message, code end
  return a
end

-- Both are called by tail calls: level is that of error() here.
local function from_list(kind, list, pinned, level)
  local n = #list
  local most = table.maxn(list)
  if most ~= n or n == 0 and next(list) ~= nil then
    local what = most == 0 and "has named fields and no elements"
      or ("has holes: %s is its last index, and some before it are nil"):format(types.show(most))
    error("a list is wanted, and this table " .. what, level)
  end
  local a, message, code = make(kind, n, pinned)
  if not a then return nil, message, code end
  local data, set = a.gb_data, kind.set
  for i = 1, n do
    local good, why = set(list[i])
    if why then
      api.release(room, a, FREED)
      error(("element %d: %s"):format(i, why), level)
    end
    data[i - 1] = good
  end
  return a
end

local function from_array(kind, other, pinned, level)
  local n = tonumber(other.gb_count)
  if other.gb_block == nil then dead(other, "gb.array", level) end
  local a, message, code = make(kind, n, pinned)
  if not a then return nil, message, code end
  local data, from, set = a.gb_data, other.gb_data, kind.set
  for i = 0, n - 1 do
    local good, why = set(from[i])
    if why then
      api.release(room, a, FREED)
      error(("element %d: %s"):format(i, why), level)
    end
    data[i] = good
  end
  return a
end

--- gb.array(type, count | list | array [, { kind = "pinned" }]): zeroed, or with the elements of a
--- list.
--- nil, message, "ENOMEM" when there is no memory.
function M.array(type_name, what, options)
  local kind = types.check(type_name, 2)
  near.check_options("gb.array", options, known_options, 2)
  local pinned = false
  if options and options.kind ~= nil then
    if options.kind ~= "pinned" and options.kind ~= "pageable" then
      error(near.unknown("kind of array", options.kind, { "pinned", "pageable" }), 2)
    end
    pinned = options.kind == "pinned"
  end
  if types.wide(what) then what = tonumber(what) end
  if type(what) == "table" then return from_list(kind, what, pinned, 2) end
  if is_array(what) then return from_array(kind, what, pinned, 2) end
  if type(what) ~= "number" then
    error(("gb.array takes a count or a list, got %s"):format(type(what)), 2)
  end
  if floor(what) ~= what or what < 0 or what - what ~= 0 then
    error(("the count of an array is an integer from 0, got %s"):format(types.show(what)), 2)
  end
  return make(kind, what, pinned)
end

--- An array of a type object from a Lua list: for buffers. level: of the user's line, counted from
--- the caller.
function M.from(kind, list, level)
  local a, message, code = from_list(kind, list, false, level + 2)
  return a, message, code
end

-- ---- passing ----

local move_meta = { __metatable = "gb.move", __tostring = function() return "gb.move" end }

--- Marks an array or buffer in the arguments or results of a call: it is handed over without a
--- copy, and the sender's handle is dead once it has been sent.
function M.move(value)
  if is_array(value) then
    if value.gb_block == nil then dead(value, "gb.move", 2) end
  elseif not core.is_buffer(value) then
    error(("gb.move takes an array or a buffer, got %s"):format(type(value)), 2)
  end
  return setmetatable({ value }, move_meta)
end

--- "int64", "uint64", "array", "element" (a vector or struct by value), or nil.
M.classify = core.classify

--- An array that takes over one reference of a block: for value.c.
function M.adopt(block, type_name, count)
  local kind = assert(types.from_wire(type_name))
  local a = fresh(kind)
  core.array_adopt(a, block, kind.id, count)
  return a
end

--- Shared with the other modules of this half.
M.new = M.array
M.fresh, M.make, M.is_array, M.kind_of, M.range = fresh, make, is_array, kind_of, range

-- ---- iteration ----

local function next_element(a, i)
  i = i + 1
  if i < #a then return i, a[i] end
end

local plain_ipairs, plain_pairs = ipairs, pairs

--- The global ipairs of our states: arrays go from 0 to #a - 1, everything else as always.
function M.ipairs(t, ...)
  if type(t) == "cdata" and is_array(t) then
    if t.gb_block == nil then dead(t, "ipairs", 2) end
    return next_element, t, -1
  end
  return plain_ipairs(t, ...)
end

--- The global pairs of our states: the same for arrays.
function M.pairs(t, ...)
  if type(t) == "cdata" and is_array(t) then
    if t.gb_block == nil then dead(t, "pairs", 2) end
    return next_element, t, -1
  end
  return plain_pairs(t, ...)
end

-- ---- the C half's hold on this one ----

core.type_kind(tonumber(types.int64), 1, 8)
core.type_kind(tonumber(types.uint64), 2, 9)

local sample = fresh(types.by_wire.double)
core.array_setup({
  fresh = function(wire) return fresh(assert(types.from_message(wire))) end,
  type_id = function(wire) return assert(types.from_message(wire)).id end,
  int64 = function() return types.int64() end,
  uint64 = function() return types.uint64() end,
  move = move_meta,
}, sample, tonumber(typeof(sample)))

return M
