-- Kernels that were short a thousand times and then never end.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
require "types.runaway"

-- Loops over a block's threads, and fibers (a block of more threads than loops take).
for _, case in ipairs { { "turns", 1 }, { "talk", 1 }, { "meet", 1 }, { "meet", 32 } } do
  local name, block = case[1], case[2]
  kit.case(("%s in blocks of %d is ended at its bound"):format(name, block), function()
    local ref = gb.get("Runaway", name .. block)
    for _ = 1, 2 do
      assert(ref:short(name, block))
      local code, message = ref:run(name, block, "50ms")
      kit.eq(code, "ETIMEDOUT", message)
      kit.eq(message, ("kernel '%s' is a runaway: it ran past its bound of 0.05 s"):format(name))
    end
    kit.eq(ref:works(), 1)
  end)
end

kit.case("a caller is freed at its deadline, and so is the worker", function()
  local ref = gb.get("Runaway", "deadline")
  assert(ref:short("turns", 1))
  local told, message, code = ref:with { timeout = "3s" }:run("turns", 1, "20s")
  kit.eq(told or code, "ETIMEDOUT")
  -- the turn may still tell how its launch ended, or the caller is told first
  local text = told and "at the deadline of its caller" or "did not answer in time"
  kit.ok(message:find(text, 1, true), message)
  kit.eq(ref:works(), 1)
end)

kit.case("and at the launch's own timeout", function()
  local ref = gb.get("Runaway", "timeout")
  assert(ref:short("turns", 1))
  local code, message = ref:run("turns", 1, "20s", "100ms")
  kit.eq(code, "ETIMEDOUT", message)
  kit.ok(message:find("kernel 'turns'", 1, true), message)
  kit.eq(ref:works(), 1)
end)

kit.finish()
