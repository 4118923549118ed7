---@meta
-- Annotations for the Lua language server: gb.lib. Nothing here runs. docs/kernels.md says more.

---An operand: an array stays an array, a buffer stays on its device.
---@alias gb.Operand gb.Array|gb.Buffer

---@class gb.LibOut
---@field out? gb.Operand Where the result goes; may be an input. Fresh by default.

---Every function gives nil, message, code when memory or the device fails, and raises on misuse.
---@class gb.Lib
local Lib = {}

---@param x gb.Operand
---@param y gb.Operand
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.add(x, y, options) end

---@param x gb.Operand
---@param y gb.Operand
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.subtract(x, y, options) end

---@param x gb.Operand
---@param y gb.Operand
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.multiply(x, y, options) end

---@param x gb.Operand float or double
---@param y gb.Operand
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.divide(x, y, options) end

---@param x gb.Operand
---@param y gb.Operand
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.minimum(x, y, options) end

---@param x gb.Operand
---@param y gb.Operand
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.maximum(x, y, options) end

---a x
---@param x gb.Operand
---@param a number
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.scale(x, a, options) end

---y = a x + y, in place.
---@param a number
---@param x gb.Operand
---@param y gb.Operand
---@return gb.Operand? y, string? message, gb.Code? code
function Lib.saxpy(a, x, y) end

---The sum; int64 or uint64 cdata for elements of 64 bits. 0 of nothing.
---@param x gb.Operand
---@return number? sum, string? message, gb.Code? code
function Lib.sum(x) end

---@param x gb.Operand
---@return number? mean, string? message, gb.Code? code
function Lib.mean(x) end

---@param x gb.Operand
---@param y gb.Operand
---@return number? dot, string? message, gb.Code? code
function Lib.dot(x, y) end

---NaNs are passed over.
---@param x gb.Operand
---@return number? min, string? message, gb.Code? code
function Lib.min(x) end

---@param x gb.Operand
---@return number? max, string? message, gb.Code? code
function Lib.max(x) end

---The first place of the least element, and that element.
---@param x gb.Operand
---@return integer? place, number|string value, gb.Code? code
function Lib.argmin(x) end

---@param x gb.Operand
---@return integer? place, number|string value, gb.Code? code
function Lib.argmax(x) end

---@param x gb.Operand float or double
---@param options? { norm: "l1"|"l2"|"max"|"sum" } l2 by default
---@return number? norm, string? message, gb.Code? code
function Lib.norm(x, options) end

---x divided by its norm.
---@param x gb.Operand float or double
---@param options? { norm: "l1"|"l2"|"max"|"sum", out: gb.Operand }
---@return gb.Operand? out, number|string norm, gb.Code? code
function Lib.normalize(x, options) end

---@class gb.LibScan: gb.LibOut
---@field exclusive? boolean Each result leaves its own element out.
---@field op? "sum"|"min"|"max" sum by default

---Running sums. Integers wrap around.
---@param x gb.Operand
---@param options? gb.LibScan
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.scan(x, options) end

---Sorts in place, and values with the keys. Stable. NaNs come behind everything.
---@param keys gb.Operand
---@param values? gb.Operand
---@param options? { descending: boolean }
---@return gb.Operand? keys, gb.Operand|string|nil values, gb.Code? code
function Lib.sort(keys, values, options) end

---The places of the elements in order, as int32.
---@param x gb.Operand
---@param options? { descending: boolean, out: gb.Operand }
---@return gb.Operand? places, string? message, gb.Code? code
function Lib.argsort(x, options) end

---The elements that compare so with a value, or whose flag is not 0, in their order.
---@param x gb.Operand
---@param by "<"|"<="|">"|">="|"=="|"~="|gb.Operand
---@param value? number|gb.LibOut with flags: the options
---@param options? gb.LibOut out: as many elements as are kept, or more
---@return gb.Operand? out, integer|string count, gb.Code? code
function Lib.select(x, by, value, options) end

---As select, but the places (int32) instead of the elements.
---@param x gb.Operand
---@param by "<"|"<="|">"|">="|"=="|"~="|gb.Operand
---@param value? number|gb.LibOut
---@param options? gb.LibOut
---@return gb.Operand? out, integer|string count, gb.Code? code
function Lib.where(x, by, value, options) end

---Counts (int32) of equal bins over low .. high.
---@param x gb.Operand
---@param bins integer
---@param low number
---@param high number
---@param options? gb.LibOut
---@return gb.Operand? counts, string? message, gb.Code? code
function Lib.histogram(x, bins, low, high, options) end

---The product of a (m x k) and b (k x n), row by row.
---@param a gb.Operand
---@param b gb.Operand
---@param m integer
---@param k integer
---@param n integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.matmul(a, b, m, k, n, options) end

---@param a gb.Operand m x n
---@param x gb.Operand n
---@param m integer
---@param n integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.matvec(a, x, m, n, options) end

---@param x gb.Operand m x n
---@param m integer
---@param n integer
---@param options? gb.LibOut not x
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.transpose(x, m, n, options) end

---Solves a x = b. A singular matrix: nil, message, "EINVAL".
---@param a gb.Operand n x n, float or double
---@param b gb.Operand n x m
---@param n integer
---@param m? integer right sides, 1 by default
---@param options? gb.LibOut
---@return gb.Operand? x, string? message, gb.Code? code
function Lib.solve(a, b, n, m, options) end

---@param a gb.Operand n x n, float or double
---@param n integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.inverse(a, n, options) end

---@param a gb.Operand n x n, float or double
---@param n integer
---@return number? determinant, string? message, gb.Code? code
function Lib.determinant(a, n) end

---The level of each vertex (int32; -1: out of reach), and the deepest one.
---@param rows gb.Operand int32, vertices + 1
---@param columns gb.Operand int32
---@param source integer
---@param options? gb.LibOut
---@return gb.Operand? levels, integer|string depth, gb.Code? code
function Lib.bfs(rows, columns, source, options) end

---The distance of each vertex from the source (float; inf: out of reach).
---@param rows gb.Operand int32, vertices + 1
---@param columns gb.Operand int32
---@param weights gb.Operand float, not negative
---@param source integer
---@param options? { delta: number, out: gb.Operand } delta: the mean weight by default
---@return gb.Operand? distances, string? message, gb.Code? code
function Lib.sssp(rows, columns, weights, source, options) end

---The rank of each vertex (double; they sum to 1), and the number of rounds.
---@param rows gb.Operand int32, vertices + 1
---@param columns gb.Operand int32
---@param options? { damping: number, tolerance: number, rounds: integer, out: gb.Operand }
---@return gb.Operand? ranks, integer|string rounds, gb.Code? code
function Lib.pagerank(rows, columns, options) end

---For each vertex the least vertex of its weakly connected component (int32).
---@param rows gb.Operand int32, vertices + 1
---@param columns gb.Operand int32
---@param options? gb.LibOut
---@return gb.Operand? labels, string? message, gb.Code? code
function Lib.components(rows, columns, options) end

---How many triangles; edges lead both ways, columns ascend within each row.
---@param rows gb.Operand int32, vertices + 1
---@param columns gb.Operand int32
---@return integer? triangles, string? message, gb.Code? code
function Lib.triangles(rows, columns) end

---Fills x (float, double) with numbers from low up to high, which is excluded.
---@param x gb.Operand
---@param options? { seed: integer, stream: integer, low: number, high: number }
---@return gb.Operand? x, string? message, gb.Code? code
function Lib.uniform(x, options) end

---Fills x (float, double) with normal numbers.
---@param x gb.Operand
---@param options? { seed: integer, stream: integer, mean: number, deviation: number }
---@return gb.Operand? x, string? message, gb.Code? code
function Lib.normal(x, options) end

---Fills x (int32, uint32) with whole numbers from low to high.
---@param x gb.Operand
---@param low integer
---@param high integer
---@param options? { seed: integer, stream: integer }
---@return gb.Operand? x, string? message, gb.Code? code
function Lib.integers(x, low, high, options) end

---Luma of the first three channels. Images are float or uint8.
---@param x gb.Operand
---@param width integer
---@param height integer
---@param channels integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.grayscale(x, width, height, channels, options) end

---Bilinear.
---@param x gb.Operand
---@param width integer
---@param height integer
---@param channels integer
---@param to_width integer
---@param to_height integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.resize(x, width, height, channels, to_width, to_height, options) end

---Weights (float, kw x kh) as they lie over the image; its edges go on.
---@param x gb.Operand
---@param width integer
---@param height integer
---@param channels integer
---@param weights gb.Operand
---@param kw integer
---@param kh integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.convolve(x, width, height, channels, weights, kw, kh, options) end

---The length of the gradient; one channel.
---@param x gb.Operand
---@param width integer
---@param height integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.sobel(x, width, height, options) end

---Spreads the values of a uint8 image over 0 .. 255.
---@param x gb.Operand
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.equalize(x, options) end

---count products of m x k and k x n.
---@param a gb.Operand
---@param b gb.Operand
---@param count integer
---@param m integer
---@param k integer
---@param n integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.batch_matmul(a, b, count, m, k, n, options) end

---count systems of n x n with m right sides each (1 by default).
---@param a gb.Operand
---@param b gb.Operand
---@param count integer
---@param n integer
---@param m? integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.batch_solve(a, b, count, n, m, options) end

---count inverses of n x n matrices.
---@param a gb.Operand
---@param count integer
---@param n integer
---@param options? gb.LibOut
---@return gb.Operand? out, string? message, gb.Code? code
function Lib.batch_inverse(a, count, n, options) end

---Frees the scratch memory kept for later calls.
---@return true
function Lib.trim() end
