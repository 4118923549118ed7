-- gb.lib: the kernels that every program needs, on arrays (which are uploaded where that is needed)
-- and on device buffers (which stay where they are). docs/kernels.md describes each function. A
-- part is loaded, and its kernels are compiled, when the first of its functions is used.
local near = require "gb.near"

local lib = {}

local homes = {
  lib_vector = { "add", "subtract", "multiply", "divide", "minimum", "maximum", "scale", "saxpy",
    "sum", "mean", "dot", "min", "max", "argmin", "argmax", "norm", "normalize" },
  lib_sort = { "scan", "sort", "argsort", "select", "where", "histogram" },
  lib_matrix = { "matmul", "matvec", "transpose", "solve", "inverse", "determinant" },
  lib_graph = { "bfs", "sssp", "pagerank", "components", "triangles" },
  lib_random = { "uniform", "normal", "integers" },
  lib_image = { "grayscale", "resize", "convolve", "sobel", "equalize", "batch_matmul",
    "batch_solve", "batch_inverse" },
  lib_core = { "trim" },
}

local home_of = {}
for home, names in pairs(homes) do
  for _, name in ipairs(names) do home_of[name] = home end
end

setmetatable(lib, {
  __gb = "lib",
  __index = function(t, name)
    local home = home_of[name]
    if not home then error(near.unknown("function of gb.lib", name, near.keys(home_of)), 2) end
    local fn = require("gb." .. home)[name]
    rawset(t, name, fn)
    return fn
  end,
  __newindex = function() error("gb.lib is read-only", 2) end,
})

return lib
