-- For the specs of gb.lib: random arrays from a printed seed, odd sizes, comparisons. A spec runs
-- on arrays and on buffers, and in both ways that the kernels work in (kernels/base.cuh).
local spec = require "spec"
local gb = require "gb"
local lib_core = require "gb.lib_core"

local kit = { spec = spec, equal = spec.equal, raised = spec.raised, returned = spec.returned }

kit.seed = tonumber(os.getenv("GB_SEED") or "") or os.time() % 1000000
print("seed " .. kit.seed)
local state = kit.seed

--- A number from 0 to 1 (1 excluded).
function kit.uniform()
  state = (state * 1664525 + 1013904223) % 2 ^ 32
  return state / 2 ^ 32
end

function kit.whole(low, high) return low + math.floor(kit.uniform() * (high - low + 1)) end

--- n random elements from low to high; whole numbers for integer types.
function kit.random(type_name, n, low, high)
  local x = assert(gb.array(type_name, n))
  local p, real = x:pointer(), type_name == "float" or type_name == "double"
  for i = 0, n - 1 do
    p[i] = real and low + (high - low) * kit.uniform() or kit.whole(low, high)
  end
  return x
end

function kit.near(got, want, tolerance, what)
  if not (math.abs(got - want) <= tolerance) and got ~= want then
    error(("%s: expected %.17g, got %.17g (tolerance %g)"):format(what or "value", want, got,
      tolerance), 2)
  end
end

--- Two arrays, or an array and a function of the place; nil tolerance: equal.
function kit.all(got, want, n, tolerance, what)
  if #got ~= n then error(("%s: %d elements, expected %d"):format(what, #got, n), 2) end
  local is_function = type(want) == "function"
  for i = 0, n - 1 do
    local a, b = got[i], is_function and want(i) or not is_function and want[i]
    if a ~= b and not (tolerance and math.abs(tonumber(a - b)) <= tolerance) then
      error(("%s[%d] of %d: expected %s, got %s"):format(what, i, n, tostring(b), tostring(a)), 2)
    end
  end
end

--- As an array, whatever it is.
function kit.host(x) return gb.type(x) == "buffer" and assert(x:download()) or x end

--- Runs fn(sizes, put) for arrays and buffers, in both ways of working; put makes the operand.
function kit.both(fn, large)
  for _, layout in ipairs { false, true } do
    lib_core.set_device_layout(layout)
    local sizes = { 0, 1, 31, 32, 33, 1000, 4097 }
    if not layout then sizes[#sizes + 1] = large or 1e6 end
    for _, buffers in ipairs { false, true } do
      local function put(x)
        if not buffers then return x:copy() end
        return assert(gb.buffer(x:type(), x))
      end
      fn(sizes, put, layout)
    end
  end
  lib_core.set_device_layout(false)
end

return kit
