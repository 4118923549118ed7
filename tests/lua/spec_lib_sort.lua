-- gb.lib: scan, sort, select, histogram against loops in Lua.
local kit = require "lib_kit"
local gb = require "gb"
local lib = gb.lib
local equal, raised = kit.equal, kit.raised

kit.both(function(sizes, put)
  for _, name in ipairs { "int32", "float" } do
    for _, n in ipairs(sizes) do
      local x = kit.random(name, n, -100, 100)
      local p, want, before, sum = x:pointer(), {}, {}, 0
      local most = gb.array(name, n)
      local high = -1 / 0
      for i = 0, n - 1 do
        before[i], sum = sum, sum + p[i]
        want[i], high = sum, math.max(high, p[i])
        most[i] = high
      end
      local slack = name == "float" and 1e-3 + n * 1e-5 or nil
      kit.all(kit.host(lib.scan(put(x))), want, n, slack, "scan")
      kit.all(kit.host(lib.scan(put(x), { exclusive = true })), before, n, slack, "exclusive")
      local own = put(x)
      if name == "int32" then
        kit.all(kit.host(lib.scan(own, { out = own, op = "max" })), most, n, nil, "scan of max")
      end
    end
  end
end)
equal(lib.scan(gb.array("uint8", { 200, 100 }))[1], 44) -- integers wrap around

-- Is the array sorted, and each value still beside its key?
local function check_sort(name, n, put, descending, low, high)
  local x = kit.random(name, n, low, high)
  local keys, values = put(x), put(gb.array("int32", n))
  local places = kit.host(values)
  for i = 0, n - 1 do places[i] = i end
  if gb.type(values) == "buffer" then values:upload(places) end
  local got = lib.sort(keys, values, { descending = descending })
  equal(got, keys)
  local k, v, seen = kit.host(keys), kit.host(values), {}
  for i = 0, n - 1 do
    if k[i] ~= x[v[i]] or seen[v[i]] then error("a value is not beside its key") end
    seen[v[i]] = true
    if i > 0 then
      local wrong
      if descending then wrong = k[i] > k[i - 1] else wrong = k[i] < k[i - 1] end
      if wrong or k[i] == k[i - 1] and v[i] < v[i - 1] then
        error(("%s of %d: order at %d"):format(name, n, i))
      end
    end
  end
  local alone = kit.host(lib.sort(put(x), { descending = descending }))
  kit.all(alone, k, n, nil, "keys alone")
  kit.all(kit.host(lib.argsort(put(x), { descending = descending })), v, n, nil, "argsort")
end

kit.both(function(sizes, put, layout)
  for _, n in ipairs(sizes) do
    check_sort("float", n, put, n == 1000, -50, 50)
    if n < 1e5 and not layout then check_sort("int32", n, put, n == 33, -40, 40) end
  end
end, 1e5)
local function same(x) return x:copy() end
for _, name in ipairs { "uint8", "double", "int64" } do
  local low = name == "uint8" and 0 or -120
  local x = kit.random(name, 20000, low, 120)
  lib.sort(x)
  for i = 1, #x - 1 do
    if x[i] < x[i - 1] then error("order of " .. name) end
  end
end
check_sort("int32", 1000, same, false, -2 ^ 31, 2 ^ 31 - 1)
local odd = lib.sort(gb.array("float", { 0 / 0, 1 / 0, 3, -0.0, 0, -1 / 0 }))
equal(odd[0], -1 / 0) equal(1 / odd[1], -1 / 0) equal(1 / odd[2], 1 / 0) equal(odd[4], 1 / 0)
assert(odd[5] ~= odd[5])

kit.both(function(sizes, put)
  for _, n in ipairs(sizes) do
    local x, flags = kit.random("float", n, -1, 1), kit.random("uint8", n, 0, 1)
    local above, flagged, places = {}, {}, {}
    for i = 0, n - 1 do
      if x[i] > 0.25 then
        above[#above + 1] = x[i]
        places[#places + 1] = i
      end
      if flags[i] ~= 0 then flagged[#flagged + 1] = x[i] end
    end
    local got, count = lib.select(put(x), ">", 0.25)
    equal(count, #above)
    kit.all(kit.host(got), function(i) return above[i + 1] end, count, nil, "select")
    local chosen = kit.host(lib.select(put(x), put(flags)))
    kit.all(chosen, function(i) return flagged[i + 1] end, #flagged, nil, "flags")
    local where = kit.host(lib.where(put(x), ">", 0.25))
    kit.all(where, function(i) return places[i + 1] end, #places, nil, "where")
  end
end)
equal(#lib.select(gb.array("int32", { 1, 2, 3 }), "==", 7), 0)
equal(lib.select(gb.array("int32", { 1, 2, 3 }), "~=", 2)[1], 3)

kit.both(function(sizes, put)
  for _, n in ipairs(sizes) do
    local x = kit.random("int32", n, -5, 105)
    local want = {}
    for i = 0, 9 do want[i] = 0 end
    for i = 0, n - 1 do
      local v = x[i]
      if v >= 0 and v <= 100 then
        local bin = math.min(9, math.floor(v / 10))
        want[bin] = want[bin] + 1
      end
    end
    kit.all(kit.host(lib.histogram(put(x), 10, 0, 100)), want, 10, nil, "histogram")
    local many = kit.host(lib.histogram(put(x), 5000, 0, 5000))
    equal(tonumber(lib.sum(many)), #lib.select(x, ">=", 0))
  end
end)
equal(lib.histogram(gb.array("float", { 1, 2, 0 / 0, 3 }), 2, 1, 3)[1], 2)

local x = gb.array("float", 4)
raised("gb.lib.scan: unknown op 'sun'; did you mean 'sum'?",
  function() lib.scan(x, { op = "sun" }) end)
raised("gb.lib.sort: keys has 4 elements, values has 2", function() lib.sort(x, x:view(2)) end)
raised("gb.lib.sort: keys is read-only", function() lib.sort(x:copy():freeze()) end)
raised("gb.lib.sort: unknown option 'desc'; known: descending",
  function() lib.sort(x, { desc = true }) end)
raised("gb.lib.select: unknown comparison '!='; known: < <= > >= == ~=",
  function() lib.select(x, "!=", 1) end)
raised("gb.lib.select: the value to compare with is a number, got nil",
  function() lib.select(x, "<") end)
raised("gb.lib.select: flags has elements of float", function() lib.select(x, x) end)
raised("gb.lib.histogram: bins is an integer from 1 to 16777216, got 0",
  function() lib.histogram(x, 0, 0, 1) end)
raised("gb.lib.histogram: low must be less than high, got 1 and 1",
  function() lib.histogram(x, 4, 1, 1) end)
kit.spec.done()
