-- Vectors: add, dot, normalize of gb.lib and a kernel of one's own (y = a x + y), on every device
-- and in plain Lua.
--
--   gbrun examples/vector.lua [ELEMENTS]        one million when not given
local gb = require "gb"
local beside = require "beside"
local lib = gb.lib

local n = arg[1] == nil and 1000000 or tonumber(arg[1])
if not n or n < 1 or n % 1 ~= 0 then
  error(("ELEMENTS is a whole number from 1, got %s; usage: vector.lua [ELEMENTS]"):format(arg[1]),
    0)
end

local x = assert(lib.uniform(gb.array("float", n), { seed = 1 }))
local y = assert(lib.uniform(gb.array("float", n), { seed = 2 }))
local z = gb.array("float", n) -- what plain Lua finds

-- ---- in plain Lua ----

local plain = {}
local p, q, r = x:pointer(), y:pointer(), z:pointer()

function plain.add()
  for i = 0, n - 1 do r[i] = p[i] + q[i] end
  return z
end

function plain.dot()
  local sum = 0
  for i = 0, n - 1 do sum = sum + p[i] * q[i] end
  return sum
end

function plain.normalize()
  local squares = 0
  for i = 0, n - 1 do squares = squares + p[i] * p[i] end
  local factor = 1 / math.sqrt(squares)
  for i = 0, n - 1 do r[i] = factor * p[i] end
  return z
end

function plain.saxpy()
  for i = 0, n - 1 do r[i] = 2 * p[i] + q[i] end
  return z
end

-- ---- on devices ----

beside.begin(("vectors of %d floats"):format(n))

beside.work { name = "add", lua = plain.add, limit = 1e-6, on = function(device)
  local a, b = beside.put(device, x), beside.put(device, y)
  local sum = beside.put(device, y)
  return function() return assert(lib.add(a, b, { out = sum })) end
end }

beside.work { name = "dot", lua = plain.dot, limit = 1e-6 * n, on = function(device)
  local a, b = beside.put(device, x), beside.put(device, y)
  return function() return assert(lib.dot(a, b)) end
end }

beside.work { name = "normalize", lua = plain.normalize, limit = 1e-6, on = function(device)
  local a, unit = beside.put(device, x), beside.put(device, y)
  return function() return (assert(lib.normalize(a, { out = unit }))) end
end }

local K = assert(gb.kernels { file = "kernels/vector.cu" })

beside.work { name = "saxpy, a kernel of our own", lua = plain.saxpy, limit = 1e-6,
  on = function(device)
    local a, b, sum = beside.put(device, x), beside.put(device, y), beside.put(device, y)
    return function()
      assert(sum:copy_from(b)) -- the kernel works in place
      assert(K.saxpy:run(n, 2, a, sum, n)) -- n threads; then the arguments of the kernel
      return sum
    end
  end }

beside.finish()
