-- Matrices: multiply, transpose, inverse of gb.lib on every device and in plain Lua.
--
--   gbrun examples/matrix.lua [ROWS]        320 when not given
local gb = require "gb"
local beside = require "beside"
local lib = gb.lib

local n = arg[1] == nil and 320 or tonumber(arg[1])
if not n or n < 1 or n > 4096 or n % 1 ~= 0 then
  error(("ROWS is a whole number from 1 to 4096, got %s; usage: matrix.lua [ROWS]"):format(arg[1]),
    0)
end

local a = assert(lib.uniform(gb.array("float", n * n), { seed = 1 }))
local b = assert(lib.uniform(gb.array("float", n * n), { seed = 2 }))
-- Weight on the diagonal keeps this one far from a singular matrix.
local d = assert(lib.uniform(gb.array("double", n * n), { seed = 3 }))
for i = 0, n - 1 do d[i * n + i] = d[i * n + i] + n end

-- ---- in plain Lua: element (i, j) is at i * n + j ----

local plain = {}
local p, q = a:pointer(), b:pointer()

function plain.multiply()
  local c = gb.array("float", n * n)
  local r = c:pointer()
  for i = 0, n - 1 do
    for k = 0, n - 1 do
      local factor, row = p[i * n + k], k * n
      for j = 0, n - 1 do r[i * n + j] = r[i * n + j] + factor * q[row + j] end
    end
  end
  return c
end

function plain.transpose()
  local c = gb.array("float", n * n)
  local r = c:pointer()
  for i = 0, n - 1 do
    for j = 0, n - 1 do r[j * n + i] = p[i * n + j] end
  end
  return c
end

-- Gauss and Jordan, in place: column k of the unit matrix takes the place of column k. No rows
-- change places, for the diagonal is heavy.
function plain.inverse()
  local c = assert(d:copy())
  local r = c:pointer()
  for k = 0, n - 1 do
    local top, pivot = k * n, 1 / r[k * n + k]
    r[top + k] = 1
    for j = 0, n - 1 do r[top + j] = r[top + j] * pivot end
    for i = 0, n - 1 do
      local row, factor = i * n, r[i * n + k]
      if i ~= k then
        r[row + k] = 0
        for j = 0, n - 1 do r[row + j] = r[row + j] - factor * r[top + j] end
      end
    end
  end
  return c
end

-- ---- on devices ----

beside.begin(("matrices of %d x %d"):format(n, n))

beside.work { name = "multiply, float", lua = plain.multiply, limit = 1e-5 * n,
  on = function(device)
    local x, y, out = beside.put(device, a), beside.put(device, b), beside.put(device, a)
    return function() return assert(lib.matmul(x, y, n, n, n, { out = out })) end
  end }

beside.work { name = "transpose, float", lua = plain.transpose, limit = 0, on = function(device)
  local x, out = beside.put(device, a), beside.put(device, b)
  return function() return assert(lib.transpose(x, n, n, { out = out })) end
end }

beside.work { name = "inverse, double", lua = plain.inverse, limit = 1e-12, on = function(device)
  local x, out = beside.put(device, d), beside.put(device, d)
  return function() return assert(lib.inverse(x, n, { out = out })) end
end }

-- An inverse that two ways agree on is still to be one: d times it is the unit matrix.
local unit = assert(lib.matmul(d, assert(lib.inverse(d, n)), n, n, n))
local identity = gb.array("double", n * n)
for i = 0, n - 1 do identity[i * n + i] = 1 end
beside.expect("matrix times inverse", beside.difference(identity, unit), 1e-9)

beside.finish()
