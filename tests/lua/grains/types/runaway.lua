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

--- Many short runs, then one that never ends: how it failed and after how many seconds.
function Runaway:run(name, block, bound, timeout)
  local kernel = K[name]
  for _ = 1, 1000 do assert(kernel:run({ grid = 1, block = block }, self.n, 0)) end
  local start = gb.monotonic()
  local shape = { grid = 1, block = block, bound = bound, timeout = timeout }
  local _, message, code = kernel:run(shape, self.n, 1)
  return code, message, gb.monotonic() - start
end

function Runaway:works()
  local before = self.n[0]
  assert(K.turns:run({ grid = 1, block = 1 }, self.n, 0))
  return self.n[0] - before
end

return Runaway
