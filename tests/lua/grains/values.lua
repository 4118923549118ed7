-- Values: whatever is sent comes back the same, on every way, or is refused with its path.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
local ffi = require "ffi"
require "types.echo"

local near_echo = kit.elsewhere("Echo", true)
local far_echo = kit.elsewhere("Echo", false)
local relay = kit.elsewhere("Echo", true, "relay")

-- The ways of a value: idle and here (a copy), busy and here (bytes), another worker (bytes).
local ways = {
  ["idle, here"] = function(...) return near_echo:echo(...) end,
  ["busy, here"] = function(...)
    local first = near_echo:async("sleep", 0)
    local second = near_echo:async("echo", ...)
    first:await()
    return second:await()
  end,
  ["another worker"] = function(...) return far_echo:echo(...) end,
  ["async"] = function(...) return near_echo:async("echo", ...):await() end,
  ["two grains"] = function(...) return relay:through(far_echo, "echo", ...) end,
}

local function pack(...) return { n = select("#", ...), ... } end

local function check(what, ...)
  local want = pack(...)
  for way, send in pairs(ways) do
    local got = pack(send(...))
    kit.eq(got.n, want.n, what .. ", " .. way)
    for i = 1, want.n do kit.same(got[i], want[i], ("%s, %s, value %d"):format(what, way, i)) end
  end
end

-- ---- random values ----

local element_types = { "float", "double", "int8", "int16", "int32", "int64", "uint8", "uint16",
  "uint32", "uint64" }

local function random_array()
  local list = {}
  for i = 1, kit.random(20) - 1 do list[i] = kit.random(100) end
  local a = gb.array(element_types[kit.random(#element_types)], list)
  return kit.random(4) == 1 and a:freeze() or a
end

local scalars = {
  function() return kit.random(1000) end,
  function() return -kit.random(1000) end,
  function() return kit.random(2 ^ 31) / 7 end,
  function() return kit.random(2 ^ 32) * 2 ^ 30 end,
  function() return 2 ^ 53 + 2 * kit.random(1000) end,
  function() return -0.0 end,
  function() return 0 end,
  function() return 0 / 0 end,
  function() return 1 / 0 end,
  function() return -1 / 0 end,
  function() return 4.9e-324 end,
  function() return 1.7976931348623157e308 end,
  function() return 2 ^ 53 end,
  function() return -2 ^ 53 end,
  function() return true end,
  function() return false end,
  function() return "" end,
  function() return "7" end,
  function() return "text\0with\255bytes" .. kit.random(100) end,
  function() return ("x"):rep(kit.random(3000)) end,
  function() return ffi.cast("int64_t", kit.random(2 ^ 32)) * kit.random(2 ^ 31) end,
  function() return -ffi.cast("int64_t", kit.random(2 ^ 32)) end,
  function() return -9223372036854775807LL - 1 end,
  function() return 9223372036854775807LL end,
  function() return 18446744073709551615ULL end,
  function() return 0ULL end,
  function() return gb.get("Echo", kit.random(100)) end,
  function() return gb.get("Nobody", "key" .. kit.random(100)) end,
  random_array,
}

local function random_key()
  local kind = kit.random(6)
  if kind == 1 then return kit.random(30) end
  if kind == 2 then return kit.random(100) - 50 end
  if kind == 3 then return kit.random(100) / 4 end
  if kind == 4 then return kit.random(2) == 1 end
  if kind == 5 then return tostring(kit.random(10)) end
  return "key" .. kit.random(50)
end

local function random_value(depth)
  if depth == 0 or kit.random(3) > 1 then return scalars[kit.random(#scalars)]() end
  local t = {}
  local shape = kit.random(5)
  if shape == 1 then
    for i = 1, kit.random(30) - 1 do t[i] = random_value(depth - 1) end
  elseif shape == 2 then -- holes
    for i = 1, kit.random(30) do if kit.random(3) > 1 then t[i] = random_value(depth - 1) end end
  elseif shape == 3 then
    for _ = 1, kit.random(20) - 1 do t[random_key()] = random_value(depth - 1) end
  elseif shape == 4 then -- a list and fields, the list in the hash part
    t.a, t.b, t.c = 1, 2, 3
    for i = 1, kit.random(4) do t[i] = random_value(depth - 1) end
  else -- shared
    local inner = random_value(depth - 1)
    if type(inner) == "cdata" then inner = 1 end
    t[1], t[2], t.again = inner, inner, inner
  end
  return t
end

kit.case("random values are the same on every way", function()
  for round = 1, tonumber(os.getenv("GB_ROUNDS") or "150") do
    local n, list = kit.random(4), {}
    for i = 1, n do list[i] = random_value(4) end
    check("round " .. round .. ", seed " .. kit.seed, unpack(list, 1, n))
  end
end)

kit.case("each kind of value", function()
  for i, make in ipairs(scalars) do
    check("scalar " .. i, make())
    check("in a table " .. i, { make(), x = { make() } })
    check("amid nils " .. i, nil, make(), nil)
  end
  check("nil", nil)
  check("no sign lost", { -0.0, 0.0 })
  check("list and one field", { 1, nil, 3, x = 1 })
  check("hole at the start", { [2] = 2 })
  check("hash of numbers", { [1] = 1, [2] = 2, [4] = 4, [2 ^ 40] = 5, [-1] = 6, [0.5] = 7 })
  check("digits and numbers", { [1] = "number", ["1"] = "string" })
  check("booleans as keys", { [true] = 1, [false] = 2 })
  for n = 20, 60 do
    local t = {}
    for i = 1, n do t["k" .. i] = i end
    check("pairs " .. n, t)
    t = {}
    for i = 1, n do t[i] = i end
    t.x = 1
    check("list and field " .. n, t)
    t = {}
    for i = n, 1, -1 do t[i] = { i } end
    check("backwards " .. n, t)
  end
  for a = 1, 6 do -- the item of a list where it is the last one of the hash part
    local t = {}
    for i = 1, a do t["f" .. i] = i end
    t[1] = "one"
    check("one item and " .. a, t)
  end
end)

kit.case("arrays of every type, frozen, moved, empty, views", function()
  for _, kind in ipairs(element_types) do
    check(kind, gb.array(kind, { 1, 2, 3 }))
    check("empty " .. kind, gb.array(kind, 0))
    check("frozen " .. kind, gb.array(kind, { 1, 2, 3 }):freeze())
    check("view " .. kind, gb.array(kind, { 1, 2, 3, 4 }):view(1, 2))
    check("in a table " .. kind, { items = { gb.array(kind, { 5 }) } })
  end
  for _, name in ipairs { "idle, here", "busy, here", "another worker" } do
    local a = gb.array("int32", { 1, 2, 3 })
    local b = ways[name](gb.move(a))
    kit.same(b:totable(), { 1, 2, 3 }, name)
    kit.raises("~after gb.move", function() return a[0] end)
    local c = gb.array("int32", { 1 })
    kit.raises("~argument 1: an array that was moved", function() return ways[name](a) end)
    kit.raises("~argument 2.x: function", function() ways[name](gb.move(c), { x = print }) end)
    kit.eq(c[0], 1, "it stays when the call was refused")
    c:free()
    kit.raises("~argument 1: an array that was freed", function() ways[name](c) end)
  end
end)

kit.case("an array is copied, a frozen one shared", function()
  for name, send in pairs(ways) do
    local a = gb.array("float", { 1, 2 })
    local b = send(a)
    a[0] = 9
    kit.eq(b[0], 1, name)
    b[1] = 7
    kit.eq(a[1], 2, name)
  end
end)

kit.case("what cannot be sent raises at the line, with its path", function()
  local deep = {}
  deep.self = deep
  local proxy = newproxy(true)
  local cases = {
    { "argument 1: function", print },
    { "argument 2.items[3]: function", 1, { items = { 1, 2, print } } },
    { "argument 1.x[2.5].y: thread", { x = { [2.5] = { y = coroutine.create(print) } } } },
    { "argument 1: userdata", io.stdout },
    { "argument 1[true]: userdata", { [true] = proxy } },
    { "argument 1: a table with a metatable", setmetatable({}, {}) },
    { "argument 1.a: a table with a metatable", { a = setmetatable({}, { __index = {} }) } },
    { "argument 1: a future (await it, and send its result)", gb.spawn(function() end) },
    { "argument 1[table]: a key that is no string, number or boolean", { [{}] = 1 } },
    { "argument 1[function]: a key that is no string, number or boolean", { [print] = 1 } },
    { "argument 1[cdata]: a key that is no string, number or boolean", { [1LL] = 1 } },
    { "argument 1: cdata", ffi.new("int[3]") },
    { "argument 1: cdata", ffi.cast("void *", 0) },
    { "argument 1.z: a vector or struct by itself (send its fields, or an array of it)",
      { z = gb.array("float4", 2)[0] } },
  }
  for _, case in ipairs(cases) do
    for _, name in ipairs { "idle, here", "another worker" } do
      local target = name == "idle, here" and near_echo or far_echo
      kit.raises(kit.here(1) .. ": " .. case[1], function()
        local _ = target:echo(unpack(case, 2))
      end)
      kit.raises(kit.here(1) .. ": " .. case[1], function()
        target:tell("echo", unpack(case, 2))
      end)
      kit.raises(kit.here(1) .. ": " .. case[1], function()
        local _ = target:async("echo", unpack(case, 2))
      end)
    end
  end
  kit.raises("~^values.lua:%d+: argument 1%.self%.self.*: nested more than 100 deep, "
      .. "or it contains itself$",
    function() near_echo:echo(deep) end)
  kit.raises("~nested more than 100 deep", function() far_echo:echo(deep) end)
end)

kit.case("results that cannot be sent fail the call", function()
  for _, echo in ipairs { near_echo, far_echo } do
    kit.fails("EINVAL", "result 1.items[3]: function", echo:bad())
    kit.fails("EINVAL", "result 1.items[3]: function", echo:async("bad"):await())
    kit.eq(echo:echo(1), 1)
  end
end)

kit.case("depth: 100 tables are sent, 101 are not", function()
  local function nest(n, leaf)
    local t = leaf
    for _ = 1, n do t = { t } end
    return t
  end
  for _, leaf in ipairs { 1, "s", 7LL, 7ULL, gb.get("Echo", "leaf"), gb.array("int32", { 1 }) } do
    for name, send in pairs(ways) do
      local t = send(nest(100, leaf))
      for _ = 1, 100 do t = t[1] end
      kit.same(t, leaf, name)
    end
  end
  for name, send in pairs(ways) do
    local ok, message = pcall(send, nest(101, 1))
    kit.eq(ok and "sent" or message:match("nested more than 100 deep"),
      "nested more than 100 deep", name)
  end
end)

kit.case("bounds: a million values, 64 MiB of strings", function()
  local function list(n)
    local t = {}
    for i = 1, n do t[i] = true end
    return t
  end
  local function map(n)
    local t = {}
    for i = 1, n do t["k" .. i] = true end
    return t
  end
  for _, echo in ipairs { near_echo, far_echo } do
    kit.eq(echo:count(list(999999)), 1)
    kit.eq(echo:count(map(600000)), 1)
    kit.raises("~argument 1.*: more than 1000000 values in one message",
      function() echo:count(list(1000000)) end)
    local mib = ("x"):rep(2 ^ 20)
    local many = {}
    for i = 1, 64 do many[i] = mib end
    kit.eq(echo:count(many), 1)
    kit.eq(echo:count(mib:rep(64)), 1)
    kit.eq(echo:count(unpack(many)), 64)
    many[65] = "x"
    kit.raises("~argument 1%[65%]: more than 64 MiB of strings in one message",
      function() echo:count(many) end)
    kit.raises("~argument 65: more than 64 MiB", function() echo:count(unpack(many)) end)
    kit.raises("~argument 1: more than 64 MiB", function() echo:count(mib:rep(64) .. "x") end)
  end
end)

kit.case("a table that is changed after the call does not change on the other side", function()
  for _, echo in ipairs { near_echo, far_echo } do
    local t = { 1, x = { 2 } }
    kit.eq(echo:keep(t), true)
    t[1], t.x[1] = "changed", "changed"
    local kept = echo:kept_values()
    kit.same(kept, { 1, x = { 2 } })
    kept[1] = "changed"
    kept.x[1] = "changed"
    kit.same(echo:kept_values(), { 1, x = { 2 } }, "results are copies too")
    local f = echo:async("echo", t)
    t[1] = "changed again"
    kit.eq(f:await()[1], "changed")
    local given = { 1 }
    local back = echo:change(given)
    kit.same(given, { 1 })
    kit.same(back, { "changed", x = "changed" })
    local shared = { 1 }
    local two = echo:echo({ a = shared, b = shared })
    kit.ok(two.a ~= two.b and two.a ~= shared)
  end
end)

kit.case("references: what with says stays here, on every way", function()
  local ref = gb.get("Echo", "with"):with { timeout = 0.01, raise = true, bag = { a = 1 } }
  for name, send in pairs(ways) do
    local got = send(ref)
    kit.ok(got == ref, name)
    kit.fails("NOPE", "no", got:fail("NOPE", "no"))
    kit.same(got:context().bag, {})
  end
end)

kit.finish()
