-- y = 2x + y with a CUDA C++ kernel: on a GPU where there is one, else on the CPU.
local gb = require "gb"

local n = 1000000
local x, y = gb.array("float", n):fill(3), gb.array("float", n):fill(1)
local K = assert(gb.kernels { file = "kernels/vector.cu" })
assert(K.saxpy:run(n, 2, x, y, n)) -- n threads; then the arguments of the kernel

local good = 0
for _, value in ipairs(y) do good = good + (value == 7 and 1 or 0) end
print(("%d of %d elements are 7"):format(good, n))
-- expect: 1000000 of 1000000 elements are 7
