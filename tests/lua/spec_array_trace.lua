-- Loops over arrays compile, and cost little more than raw pointers. Nothing is asserted about
-- time, which a busy machine can spoil: the ratios are printed.
local spec = require "spec"
local gb = require "gb"

-- How many traces a loop makes and what aborts.
local function watch(fn, ...)
  local traces, aborts = 0, {}
  local function on_trace(what, _, func, _, code, reason)
    if what == "stop" then traces = traces + 1 end
    if what == "abort" then aborts[#aborts + 1] = tostring(code) .. " " .. tostring(reason) end
  end
  jit.attach(on_trace, "trace")
  fn(...)
  jit.attach(on_trace)
  return traces, aborts
end

local loops = {
  sum = "local x, y, n = ... local s = 0 for i = 0, n - 1 do s = s + x[i] end return s",
  saxpy = "local x, y, n = ... for i = 0, n - 1 do y[i] = y[i] + 2 * x[i] end",
  fill = "local x, y, n = ... for i = 0, n - 1 do x[i] = i % 7 end",
  scatter = "local x, y, n = ... local j = 0 "
    .. "for i = 0, n - 1 do j = (j + 7919) % n y[j] = x[i] end",
}
local vector = "local x, y, n = ... "
  .. "for i = 0, n - 1 do y[i].x = y[i].x + 2 * x[i].w y[i].y = x[i].z end"

local function best(fn, ...)
  fn(...)
  local least = math.huge
  for _ = 1, 5 do
    local start = os.clock()
    for _ = 1, 5 do fn(...) end
    least = math.min(least, os.clock() - start)
  end
  return least
end

if not jit.status() then
  spec.done()
  return
end

local n = 200000
local function check(type_name, name, text, raw_text)
  local x, y = gb.array(type_name, n), gb.array(type_name, n)
  local traces, aborts = watch(assert(loadstring(text)), x, y, n)
  if traces == 0 then
    error(("%s over %s is not compiled: %s"):format(name, type_name, table.concat(aborts, "; ")))
  end
  for _, reason in ipairs(aborts) do
    if reason:find("NYI", 1, true) then
      error(("%s over %s: %s"):format(name, type_name, reason))
    end
  end
  spec.equal(true, true)
  local raw = best(assert(loadstring(raw_text or text)), x:pointer(), y:pointer(), n)
  local ours = best(assert(loadstring(text)), x, y, n)
  print(("%-8s %-7s %.2f of a raw pointer (%.2f ns)"):format(type_name, name, ours / raw,
    ours / 5 / n * 1e9))
end

for _, type_name in ipairs { "double", "float", "int32", "uint8", "uint32" } do
  for _, name in ipairs { "sum", "fill", "scatter" } do check(type_name, name, loops[name]) end
end
check("double", "saxpy", loops.saxpy)
check("float", "saxpy", loops.saxpy)
check("float4", "vector", vector)
check("int64", "copy64", "local x, y, n = ... for i = 0, n - 1 do y[i] = x[i] end")
check("double", "length", "local x, y = ... for i = 0, #x - 1 do y[i] = x[i] end",
  "local x, y, n = ... for i = 0, n - 1 do y[i] = x[i] end")
spec.done()
