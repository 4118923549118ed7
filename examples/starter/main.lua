-- gbrun main.lua
local gb = require "gb"

local counter = gb.get("Counter", "basket-7")
print("counter", assert(counter:add(5)), assert(counter:add(2)))

local K = assert(gb.kernels { file = "kernels/vector.cu" })
local n = 1000
local x, y = gb.array("float", n), gb.array("float", n)
x:fill(1)
assert(K.saxpy:run(n, n, 2.0, x, y))
print("saxpy", y[0], y[n - 1])
