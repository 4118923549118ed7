local spec = require "spec"
local gb = require "gb"
local ffi = require "ffi"
local equal, list, raised, returned = spec.equal, spec.list, spec.raised, spec.returned

-- making, reading, writing
local y = gb.array("float", { 1, 2, 3 })
equal(#y, 3) equal(y[0], 1) equal(y[2], 3)
list(y:totable(), { 1, 2, 3 })
equal(tostring(y), "array float[3]")
equal(gb.type(y), "array")
equal(y:type(), "float")
list(gb.array("int16", 4):totable(), { 0, 0, 0, 0 }, "zeroed")
equal(#gb.array("double", {}), 0)
equal(#gb.array("double", 0), 0)
list(gb.array("int32", y):totable(), { 1, 2, 3 }, "from an array")
for _, name in ipairs { "float", "double", "int8", "int16", "int32", "int64", "uint8", "uint16",
  "uint32", "uint64" } do
  local a = gb.array(name, 5)
  a[4] = 7
  equal(tonumber(a[4]), 7, name) equal(tonumber(a[3]), 0, name)
  equal(#a:fill(3), 5)
  equal(a:number(0), 3)
end

-- every NaN is read as one: LuaJIT keeps all but numbers as NaN of negative sign
for name, row in pairs {
  float = { "uint32_t *", 0xffffffff, 0xffc00001, 0xff800001, 0x7fffffff, 0x7fc00000 },
  double = { "uint64_t *", 0xffffffffffffffffULL, 0xfffe800000001234ULL, 0xfff9000000000000ULL,
    0xfff8000000000000ULL, 0xfff0000000000001ULL, 0x7fffffffffffffffULL },
} do
  for k = 2, #row do
    local a = gb.array(name, { 1, 2, 3 })
    ffi.cast(row[1], a:pointer())[1] = row[k]
    for what, x in pairs { read = function() return a[1] end, slowly = function() return a[1LL] end,
      number = function() return a:number(1) end,
      totable = function() return a:totable()[2] end } do
      equal(type(x()), "number", ("%s %d: %s"):format(name, k, what))
      equal(x() ~= x(), true, ("%s %d: %s"):format(name, k, what))
    end
    for i, x in ipairs(a) do equal(x ~= x, i == 1, "ipairs") end
    equal(a[0], 1) equal(a[2], 3)
    equal(tostring(a:copy()[1]):find("nan", 1, true) ~= nil, true)
  end
end
for name, values in pairs { float = { -1 / 0, 1 / 0, -0.0, -1.5, -2 ^ 127 },
  double = { -1 / 0, 1 / 0, -0.0, -1.5, -1.7976931348623157e308 } } do
  local a = gb.array(name, values)
  for i, v in ipairs(values) do equal(a[i - 1], v) equal(1 / a[i - 1], 1 / v) end
end

-- wrong indices and values raise at the caller's line
raised("index 3 is outside the array: valid 0 .. 2", function() return y[3] end)
raised("index -1 is outside the array: valid 0 .. 2", function() return y[-1] end)
raised("index 3 is outside the array: valid 0 .. 2", function() y[3] = 1 end)
raised("index 0 is outside the array: it is empty", function() return gb.array("float", 0)[0] end)
raised("an array index is an integer, got 1.5", function() return y[1.5] end)
raised("an array index is an integer, got nan", function() return y[0 / 0] end)
raised("an array index is an integer, got inf", function() return y[1 / 0] end)
raised("outside the array: valid 0 .. 2", function() return y[1e300] end)
raised("outside the array: valid 0 .. 2", function() return y[2 ^ 32] end)
raised("outside the array: valid 0 .. 2", function() return y[2 ^ 64] end)
raised("outside the array: valid 0 .. 2", function() y[-2 ^ 63] = 1 end)
raised("an array index is an integer, got boolean", function() return y[true] end)
raised("an array index is an integer, got table", function() y[{}] = 1 end)
equal(y[1LL], 2, "64-bit index") equal(y[2ULL], 3, "64-bit index")
raised("outside the array", function() return y[-1LL] end)
raised("unknown array method 'totabel'; did you mean 'totable'?", function() return y:totabel() end)
raised("unknown array method 'count'", function() return y.count end)
raised("an array has no fields to set, got 'n'", function() y.n = 1 end)
raised("a float element takes a number, got string", function() y[0] = "1" end)
raised("a float element takes a number, got nil", function() y[0] = nil end)
raised("value 128 does not fit an int8 element: integers -128 .. 127", function() gb.array("int8",
  1)[0] = 128 end)
raised("value 1.5 does not fit an int32 element", function() gb.array("int32", 1)[0] = 1.5 end)
raised("value -1 does not fit a uint8 element: integers 0 .. 255", function() gb.array("uint8",
  1)[0] = -1 end)
raised("does not fit a uint32 element: integers 0 .. 4294967295", function() gb.array("uint32",
  1)[0] = 2 ^ 32 end)
raised("value nan does not fit an int16 element", function() gb.array("int16", 1)[0] = 0 / 0 end)
raised("value 9223372036854775808 does not fit an int64 element", function() gb.array("int64",
  1)[0] = 2 ^ 63 end)
raised("value 18446744073709551615 does not fit an int64", function() gb.array("int64",
  1)[0] = -1ULL end)
raised("value -1 does not fit a uint64 element", function() gb.array("uint64", 1)[0] = -1LL end)
raised("element 3: value 300 does not fit an int8 element", function() gb.array("int8", { 1, 2,
  300 }) end)
raised("unknown type 'flaot'; did you mean 'float'?", function() gb.array("flaot", 3) end)
raised("unknown type 'int'; did you mean 'int32'?", function() gb.array("int", 3) end)
raised("a type is a name or a member of K.types, got nil", function() gb.array(nil, 3) end)
raised("gb.array takes a count or a list, got nil", function() gb.array("float") end)
raised("the count of an array is an integer from 0, got -1", function() gb.array("float", -1) end)
raised("the count of an array is an integer from 0, got 2.5", function() gb.array("float", 2.5) end)
raised("the count of an array is an integer from 0, got nan", function() gb.array("float",
  0 / 0) end)
raised("unknown option 'knid'; did you mean 'kind'? (gb.array)", function() gb.array("float", 1,
  { knid = 1 }) end)
raised("unknown kind of array 'pined'; did you mean 'pinned'?", function() gb.array("float", 1,
  { kind = "pined" }) end)
returned("ENOMEM", "out of memory", gb.array("double", 1e18))

-- 64 bits
local w = gb.array("int64", { 1, 2 ^ 53, -5LL, 7ULL })
equal(w[1], 9007199254740992LL) equal(type(w[0]), "cdata") equal(w:number(2), -5)
list(w:totable { number = true }, { 1, 2 ^ 53, -5, 7 })
equal(w:totable()[3], -5LL)
w[0] = 2 ^ 62
equal(w[0], 4611686018427387904LL)
local u = gb.array("uint64", { 18446744073709551615ULL })
equal(u[0], 18446744073709551615ULL)
equal(tostring(u[0]), "18446744073709551615ULL")
raised("unknown option 'numbers'; did you mean 'number'?",
  function() w:totable { numbers = true } end)

-- vectors
local v = gb.array("float4", 3)
v[1] = { 1, 2, 3, 4 }
equal(v[1].x, 1) equal(v[1].w, 4) equal(v[0].w, 0)
v[1].x = 10
equal(v[1].x, 10)
v[0] = v[1]
equal(v[0].x, 10) equal(v[0].z, 3)
v[2] = { x = 1, w = 2 }
equal(v[2].w, 2) equal(v[2].y, 0)
equal(v:totable()[1][3], 3)
local size = { float2 = 8, float3 = 12, float4 = 16, double3 = 24, double4 = 32, uchar3 = 3,
  short4 = 8, longlong2 = 16 }
for name, bytes in pairs(size) do
  local a = gb.array(name, 2)
  equal(tonumber(ffi.cast("char *", a:pointer() + 1) - ffi.cast("char *", a:pointer())), bytes,
    name)
  equal(tonumber(ffi.cast("uintptr_t", a:pointer())) % 64, 0)
end
raised("a float4 element takes 4 numbers, got 3", function() v[0] = { 1, 2, 3 } end)
raised("a float4 element has 4 fields, got [5]", function() v[0] = { 1, 2, 3, 4, 5 } end)
raised("field 'w': a float element takes a number, got string", function() v[0] = { 1, 2, 3,
  "a" } end)
raised("unknown field 'q'", function() v[0] = { q = 3 } end)
raised("a float4 element takes a table or a float4, got number", function() v[0] = 5 end)
raised("field 'x': value 300 does not fit a uint8 element", function() gb.array("uchar2",
  1)[0] = { 300, 1 } end)
raised("number needs elements that are numbers, not float4", function() v:number(0) end)
equal(v[0].x, 10, "unchanged by what was refused")

-- views, copies
local base = gb.array("int32", { 0, 1, 2, 3, 4, 5 })
local view = base:view(2, 3)
list(view:totable(), { 2, 3, 4 })
view[0] = 20
equal(base[2], 20)
equal(#base:view(), 6) equal(#base:view(6), 0) equal(#base:view(4), 2)
list(view:view(1):totable(), { 3, 4 })
local copy = base:copy(1, 3)
list(copy:totable(), { 1, 20, 3 })
copy[0] = 9
equal(base[1], 1)
raised("offset 7 is outside the array: valid 0 .. 6", function() base:view(7) end)
raised("offset -1 is outside the array", function() base:copy(-1) end)
raised("count 3 from offset 4 passes the end of the array: valid 0 .. 2", function() base:view(4,
  3) end)
raised("count is an integer, got 1.5", function() base:view(0, 1.5) end)
raised("offset is an integer, got string", function() base:copy("1") end)
raised("call it as array:view(...), with a colon", function() base.view() end)
equal(base == view, false) equal(base == base, true)

-- fill
list(gb.array("double", 2):fill(1.5):totable(), { 1.5, 1.5 })
equal(1 / gb.array("double", 1):fill(-0.0)[0], -math.huge, "negative zero")
equal(gb.array("float2", 2):fill({ 1, 2 })[1].y, 2)
equal(gb.array("uint64", 2):fill(3ULL)[1], 3ULL)
raised("does not fit an int8", function() gb.array("int8", 1):fill(1000) end)

-- iteration
local seen = {}
for i, e in ipairs(gb.array("float", { 5, 6 })) do seen[#seen + 1] = i .. "=" .. e end
list(seen, { "0=5", "1=6" })
seen = {}
for i, e in pairs(gb.array("float", { 5, 6 })) do seen[#seen + 1] = i .. "=" .. e end
list(seen, { "0=5", "1=6" })
for _ in ipairs(gb.array("float", 0)) do error("an empty array has no elements") end
for i, e in ipairs { "a" } do equal(i .. e, "1a") end
for k, e in pairs { x = 1 } do equal(k .. e, "x1") end
raised("bad argument #1", function() ipairs(5) end)

-- freezing
local f = gb.array("float", { 1, 2 })
local before = f:view()
equal(f:freeze(), f)
raised("the array is frozen: it is read-only", function() f[0] = 1 end)
raised("the array is frozen: it is read-only", function() before[0] = 1 end)
raised("the array is frozen: it is read-only", function() f:view(1)[0] = 1 end)
raised("the array is frozen: it is read-only", function() f:fill(0) end)
equal(f[1], 2)
f:copy()[0] = 5

-- freeing
local g = gb.array("float", { 1, 2 })
local part = g:view(1)
equal(g:free(), true) equal(g:free(), true, "twice")
equal(tostring(g), "array float (freed)")
raised("use of an array after free: the array is gone", function() return g[0] end)
raised("use of an array after free: the array is gone", function() g[0] = 1 end)
raised("totable after free: the array is gone", function() g:totable() end)
raised("view after free", function() g:view() end)
raised("ipairs after free", function() ipairs(g) end)
raised("gb.move after free", function() gb.move(g) end)
raised("gb.array after free", function() gb.array("float", g) end)
equal(part[0], 2, "a view keeps the memory")
equal(#g, 0)

-- moving, classifying
raised("gb.move takes an array or a buffer, got string", function() gb.move("x") end)
equal(tostring(gb.move(part)), "gb.move")
local array = require "gb.array"
equal(array.classify(part), "array") equal(array.classify(1LL), "int64") equal(array.classify(1ULL),
  "uint64")
equal(array.classify(v[0]), "element") equal(array.classify(ffi.new("int")),
  nil) equal(array.classify(5), nil)

-- page-locked memory
local p = assert(gb.array("float", { 1, 2, 3 }, { kind = "pinned" }))
list(p:totable(), { 1, 2, 3 })
raised("index 3 is outside", function() return p[3] end)

-- structs by their wire name, as they come from kernels and other states
local types = require "gb.types"
local vec = "struct 12 4 Vec\n0 1 x float\n4 1 y float\n8 1 z float\n"
local body = vec .. "struct 32 8 Body\n0 1 at Vec\n16 1 mass double\n24 4 tag uint8\n28 1 on bool\n"
local Body = assert(types.from_wire(body))
equal(Body, types.from_wire(body), "the same text is the same type")
equal(Body.size, 32) equal(tonumber(ffi.offsetof(Body.ct, "mass")),
  16) equal(tonumber(ffi.alignof(Body.ct)), 8)
local bodies = gb.array(Body, 2)
bodies[1] = { at = { x = 1, z = 3 }, mass = 2.5, tag = { 1, 2 }, on = true }
equal(bodies[1].at.z, 3) equal(bodies[1].mass, 2.5) equal(bodies[1].tag[1], 2) equal(bodies[1].on,
  true)
bodies[1].mass = 4
equal(bodies[1].mass, 4)
bodies[0] = bodies[1]
equal(bodies[0].at.x, 1)
local plain = bodies:totable()[2]
equal(plain.mass, 4) equal(plain.at.z, 3) equal(plain.tag[2], 2)
equal(Body { mass = 3 }.mass, 3)
equal(tostring(bodies), "array Body[2]")
raised("unknown field 'mas'; did you mean 'mass'? (Body)", function() bodies[0] = { mas = 1 } end)
raised("field 'at': field 'x': a float element takes a number, got boolean",
  function() bodies[0] = { at = { x = true } } end)
raised("field 'tag' takes a list of at most 4", function() bodies[0] = { tag = { 1, 2, 3, 4,
  5 } } end)
raised("field 'tag'[2]: value 300 does not fit a uint8", function() bodies[0] = { tag = { 1,
  300 } } end)
raised("field 'on': a bool takes true or false, got number", function() bodies[0] = { on = 1 } end)
for _, bad in ipairs { "", "float5", "struct 4 4", "struct 4 4 S\n0 1 x nothing\n",
  "struct 3 4 S\n0 1 x float\n", "x\n" } do
  equal((types.from_wire(bad)), nil, "wire name '" .. bad .. "'")
end

spec.done()
