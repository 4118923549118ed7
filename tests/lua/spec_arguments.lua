-- What a launch takes and refuses: every refusal raises at the caller's line and names the
-- parameter.
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"
local equal, list, raised = spec.equal, spec.list, spec.raised

local K = assert(gb.kernels { name = "arguments", source = [==[
struct Pair { int a; float b; };
extern "C" __global__ void saxpy(float a, const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}
extern "C" __global__ void integers(signed char i8, unsigned char u8, short i16,
    unsigned short u16, int i32, unsigned int u32, long long i64, unsigned long long u64,
    bool b, double d, long long *out)
{
    out[0] = i8; out[1] = u8; out[2] = i16; out[3] = u16; out[4] = i32;
    out[5] = u32; out[6] = i64; out[7] = (long long)u64; out[8] = b; out[9] = (long long)(d * 2);
}
extern "C" __global__ void vectors(const float4 *in, float4 *out)
{
    out[threadIdx.x] = in[threadIdx.x];
}
extern "C" __global__ void anything(void *p, int *is_null) { is_null[0] = p == nullptr; }
extern "C" __global__ void flags(const bool *b, int *out)
{
    out[threadIdx.x] = b[threadIdx.x] ? 1 : 0;
}
extern "C" __global__ void pair(Pair p, Pair *out) { out[0] = p; }
extern "C" __global__ void wide(const unsigned long long *in, int *out)
{
    out[0] = in[0] == 18446744073709551615ull;
}
]==] })

local x, y = gb.array("float", 4), gb.array("float", 4)
local double = gb.array("double", 4)
raised("argument 3 'x': expected float array (const float*), got double array",
  function() K.saxpy:run(4, 1, double, y, 4) end)
raised("argument 4 'y': expected float array (float*), got table", function() K.saxpy:run(4, 1, x,
  {}, 4) end)
raised("argument 4 'y': expected float array (float*), got string", function() K.saxpy:run(4, 1, x,
  "y", 4) end)
raised("argument 2 'a': expected float (float), got string", function() K.saxpy:run(4, "1", x, y,
  4) end)
raised("argument 2 'a': expected float (float), got nil", function() K.saxpy:run(4, nil, x, y,
  4) end)
raised("argument 2 'a': expected float (float), got float array", function() K.saxpy:run(4, x, x, y,
  4) end)
raised("argument 5 'n': 1.5 is no integer (int)", function() K.saxpy:run(4, 1, x, y, 1.5) end)
raised("argument 5 'n': 3000000000 does not fit int (-2147483648 .. 2147483647)",
  function() K.saxpy:run(4, 1, x, y, 3e9) end)
raised("argument 5 'n': expected int32 (int), got boolean", function() K.saxpy:run(4, 1, x, y,
  true) end)
raised("saxpy takes 4 arguments after the shape (float a, const float* x, float* y, int n), got 3",
  function() K.saxpy:run(4, 1, x, y) end)
raised("got 5", function() K.saxpy:run(4, 1, x, y, 4, 5) end)
raised("got 0", function() K.saxpy:async(4) end)

-- shapes
raised("argument 1: expected a number of threads or a table of grid or threads, got string",
  function() K.saxpy:run("4", 1, x, y, 4) end)
raised("argument 1: expected a number of threads", function() K.saxpy:run(nil, 1, x, y, 4) end)
for _, n in ipairs { -1, 1.5, 2 ^ 40 } do
  raised(("the number of threads: expected an integer from 0 to 4294967295, got %s"):format(n),
    function() K.saxpy:run(n, 1, x, y, 4) end)
end
raised("the shape needs grid or threads, and has neither", function() K.saxpy:run({ block = 4 }, 1,
  x, y, 4) end)
raised("the shape needs grid or threads, not both", function() K.saxpy:run({ grid = 1,
  threads = 4 }, 1, x, y, 4) end)
raised("unknown option 'gird'; did you mean 'grid'? (the shape of a launch)",
  function() K.saxpy:run({ gird = 1 }, 1, x, y, 4) end)
raised("grid: expected one to three numbers, got 4", function() K.saxpy:run({ grid = { 1, 1, 1,
  1 } }, 1, x, y, 4) end)
raised("block: expected an integer from 0 to 4294967295, got string", function()
  K.saxpy:run({ grid = 1, block = { "a" } }, 1, x, y, 4)
end)
raised("block: every extent is at least 1", function() K.saxpy:run({ grid = 1, block = { 4, 0 } },
  1, x, y, 4) end)
raised("block: 1024 threads at most on this device, got 2048", function() K.saxpy:run({ grid = 1,
  block = 2048 }, 1, x, y, 4) end)
raised("grid: at most 2147483647 x 65535 x 65535 blocks", function() K.saxpy:run({ grid = { 1,
  70000 } }, 1, x, y, 4) end)
raised("queue: expected gb.queue(), got number", function() K.saxpy:run({ grid = 1, queue = 5 }, 1,
  x, y, 4) end)
raised("timeout must be a number or a text", function() K.saxpy:run({ grid = 1, timeout = {} }, 1,
  x, y, 4) end)
raised("timeout belongs to run", function() K.saxpy:async({ grid = 1, timeout = 1 }, 1, x, y,
  4) end)
raised("shared: ", function() K.saxpy:run({ grid = 1, shared = 2 ^ 31 }, 1, x, y, 4) end)
raised("argument 3 'x'", function() K.saxpy:run({ grid = 1, timeout = 1 }, 1, double, y, 4) end)

-- handles that are gone, frozen or shared
local f = gb.array("float", 4):freeze()
assert(K.saxpy:run(4, 1, f, y, 4))
raised("argument 4 'y': the array is frozen, and float* is written", function() K.saxpy:run(4, 1, x,
  f, 4) end)
local g = gb.array("float", 4)
g:free()
raised("argument 3 'x': the array was freed", function() K.saxpy:run(4, 1, g, y, 4) end)
local d = assert(gb.buffer("float", 4))
local shared = d:share()
assert(K.saxpy:run(4, 1, shared, d, 4))
raised("argument 4 'y': the buffer is shared read-only, and float* is written",
  function() K.saxpy:run(4, 1, d, shared, 4) end)
raised("argument 3 'x': expected float array (const float*), got int32 buffer",
  function() K.saxpy:run(4, 1, gb.buffer("int32", 4), d, 4) end)
d:free()
raised("argument 3 'x': the buffer was freed", function() K.saxpy:run(4, 1, d, y, 4) end)

for _, in_place in ipairs { true, false } do
  core.device_in_place(0, in_place)
  -- scalars keep their values at both ends of their ranges
  local out = gb.array("int64", 10)
  assert(K.integers:run(1, -128, 255, -32768, 65535, -2147483648, 4294967295, -2 ^ 63,
    18446744073709551615ULL, true, 1.5, out))
  local expected = { -128LL, 255LL, -32768LL, 65535LL, -2147483648LL, 4294967295LL,
    -9223372036854775807LL - 1, -1LL, 1LL, 3LL }
  for i = 1, #expected do equal(out[i - 1], expected[i], "integer " .. i) end
  assert(K.integers:run(1, 1LL, 2ULL, 3LL, 4, 5ULL, 6LL, 9007199254740993LL, 9007199254740993LL,
    false, 7LL, out))
  equal(out[6], 9007199254740993LL) equal(out[7], 9007199254740993LL) equal(out[9],
    14LL) equal(out[8], 0LL)
  local function integers(i, value)
    local a = { 0, 0, 0, 0, 0, 0, 0, 0, true, 0, out, n = 11 }
    a[i] = value
    return K.integers:run(1, unpack(a, 1, 11))
  end
  equal(pcall(integers, 1, 128), false) equal(pcall(integers, 2, -1), false) equal(pcall(integers,
    3, 32768), false)
  equal(pcall(integers, 4, 65536), false) equal(pcall(integers, 5, 2 ^ 31),
    false) equal(pcall(integers, 6, -1LL), false)
  equal(pcall(integers, 7, 2 ^ 63), false) equal(pcall(integers, 7, -1ULL),
    false) equal(pcall(integers, 8, -1LL), false)
  equal(pcall(integers, 8, 2 ^ 64), false) equal(pcall(integers, 5, 0 / 0),
    false) equal(pcall(integers, 5, 1 / 0), false)
  equal(pcall(integers, 9, 1), false) equal(pcall(integers, 5, 5e9 * 1LL), false)

  -- vector pointers take arrays of the vector and of its lane
  local four, flat = gb.array("float4", 2), gb.array("float", 8)
  four[1] = { 1, 2, 3, 4 }
  assert(K.vectors:run({ grid = 1, block = 2 }, four, flat))
  list(flat:totable(), { 0, 0, 0, 0, 1, 2, 3, 4 })
  raised("argument 2 'in': expected float4 array (const float4*), got float2 array",
    function() K.vectors:run(1, gb.array("float2", 4), flat) end)
  raised("argument 2 'in': the view begins off the alignment of float4 (16 bytes)",
    function() K.vectors:run(1, flat:view(1), flat) end)
  assert(K.vectors:run({ grid = 1, block = 1 }, flat:view(4), flat))
  equal(flat[0], 1)

  -- null pointers, void pointers, bool, 64 bits
  local is_null = gb.array("int32", 1)
  assert(K.anything:run(1, nil, is_null))
  equal(is_null[0], 1)
  assert(K.anything:run(1, four, is_null))
  equal(is_null[0], 0)
  raised("argument 2 'p': expected an array or buffer (void*), got number",
    function() K.anything:run(1, 5, is_null) end)
  local flags = gb.array("int32", 3)
  assert(K.flags:run({ grid = 1, block = 3 }, gb.array("uint8", { 1, 0, 1 }), flags))
  list(flags:totable(), { 1, 0, 1 })
  assert(K.wide:run(1, gb.array("uint64", { 18446744073709551615ULL }), is_null))
  equal(is_null[0], 1)
  raised("got int64 array", function() K.wide:run(1, gb.array("int64", 1), is_null) end)

  -- structs by value
  local pairs_out = gb.array(K.types.Pair, 1)
  assert(K.pair:run(1, { a = 3, b = 4 }, pairs_out))
  equal(pairs_out[0].a, 3) equal(pairs_out[0].b, 4)
  raised("argument 2 'p': unknown field 'c'", function() K.pair:run(1, { c = 1 }, pairs_out) end)
  raised("argument 2 'p': field 'a': value 1.5 does not fit", function() K.pair:run(1, { a = 1.5 },
    pairs_out) end)
  raised("argument 2 'p': expected Pair (Pair), got number", function() K.pair:run(1, 5,
    pairs_out) end)
  raised("argument 2 'p': expected Pair (Pair), got a float4", function() K.pair:run(1, four[0],
    pairs_out) end)
  raised("argument 3 'out': expected Pair array (Pair*), got float array", function() K.pair:run(1,
    { a = 1 }, flat) end)

  -- empty arrays are null pointers of no use, but no error
  assert(K.saxpy:run(0, 1, gb.array("float", 0), gb.array("float", 0), 0))
end
core.device_in_place(0, true)
spec.done()
