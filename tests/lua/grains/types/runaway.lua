local gb = require "gb"

-- Short, until the argument says otherwise.
local K = assert(gb.kernels { name = "runaway", source = [==[
extern "C" __global__ void turns(int *n, int endless)
{
    do n[0]++; while (endless);
}
extern "C" __global__ void talk(int *n, int endless)
{
    do printf("%s", ""); while (endless);
}
extern "C" __global__ void meet(int *n, int endless)
{
    do __syncthreads(); while (endless);
}
]==] })
local Runaway = gb.grain("Runaway", {})

function Runaway:on_activate() self.n = gb.array("int32", 1) end

function Runaway:short(name, block)
  for _ = 1, 1000 do assert(K[name]:run({ grid = 1, block = block }, self.n, 0)) end
  return true
end

--- One that never ends: how it failed.
function Runaway:run(name, block, bound, timeout)
  local shape = { grid = 1, block = block, bound = bound, timeout = timeout }
  local _, message, code = K[name]:run(shape, self.n, 1)
  return code, message
end

function Runaway:works()
  local before = self.n[0]
  assert(K.turns:run({ grid = 1, block = 1 }, self.n, 0))
  return self.n[0] - before
end

return Runaway
