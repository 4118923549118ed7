-- luacheck: globals scratch
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"
local equal, list, raised, returned = spec.equal, spec.list, spec.raised, spec.returned

local source = [==[
extern "C" __global__ void saxpy(float a, const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}
namespace shape {
__global__ void where(int *out, int w, int h)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < w && y < h) out[y * w + x] = y * 100 + x;
}
}
__constant__ float weights[4];
__device__ int counter;
extern "C" __global__ void weigh(float *y) { y[threadIdx.x] = weights[threadIdx.x]; }
extern "C" __global__ void count() { atomicAdd(&counter, 1); }
extern "C" __global__ void sum(const float *x, float *out, int n)
{
    extern __shared__ float part[];
    int t = threadIdx.x;
    part[t] = t < n ? x[t] : 0;
    __syncthreads();
    for (int s = blockDim.x / 2; s; s /= 2) {
        if (t < s) part[t] += part[t + s];
        __syncthreads();
    }
    if (t == 0) *out = part[0];
}
struct Body { float3 at; double mass; int tag[2]; };
extern "C" __global__ void heavy(Body *bodies, Body add, float4 push)
{
    bodies[threadIdx.x].mass += add.mass;
    bodies[threadIdx.x].at.x += push.w;
    bodies[threadIdx.x].tag[1] = add.tag[1];
}
extern "C" __global__ void trap() { __trap(); }
extern "C" __global__ void slow(int *go, long long turns)
{
    volatile long long sum = 0;
    for (long long i = 0; i < turns; i++) sum = sum + i;
    go[0] = 1;
}
]==]

-- What is checked in place is checked again with device buffers in between.
local function check(in_place)
  core.device_in_place(gb.device().index, in_place)
  local K = assert(gb.kernels { name = "spec", source = source })
  equal(gb.type(K), "kernels")

  -- launches
  local n = 1000
  local x, y = gb.array("float", n):fill(2), gb.array("float", n):fill(1)
  equal(assert(K.saxpy:run(n, 3, x, y, n)), true)
  equal(y[0], 7) equal(y[n - 1], 7) equal(x[5], 2)
  assert(K.saxpy:run({ threads = n, block = 64 }, 1, x, y, n))
  equal(y[999], 9)
  assert(K.saxpy:run({ grid = { 4 }, block = { 256 } }, 1, x, y, n))
  equal(y[999], 11)
  equal(K.saxpy:run(0, 1, x, y, n), true, "no threads")
  equal(y[0], 11)
  assert(K.saxpy:run(1, 1, x:view(5), y:view(5), 1))
  equal(y[5], 13) equal(y[4], 11)

  -- the same array twice and views that overlap are one memory
  local z = gb.array("float", { 1, 2, 3, 4 })
  assert(K.saxpy:run(4, 1, z, z, 4))
  list(z:totable(), { 2, 4, 6, 8 })
  assert(K.saxpy:run(2, 1, z:view(0, 3), z:view(2, 2), 2))
  list(z:totable(), { 2, 4, 8, 12 })

  -- grids of two dimensions, qualified names
  local out = gb.array("int32", 6 * 5)
  assert(K.where:run({ threads = { 6, 5 } }, out, 6, 5))
  equal(out[4 * 6 + 3], 403)
  out:fill(0)
  assert(K["shape::where"]:run({ grid = { 2, 2 }, block = { 3, 3 } }, out, 6, 5))
  equal(out[29], 405)

  -- shared memory and barriers
  local total = gb.array("float", 1)
  assert(K.sum:run({ grid = 1, block = 128, shared = 128 * 4 }, x, total, 100))
  equal(total[0], 200)

  -- globals
  K:global("weights"):upload { 1, 2, 3, 4 }
  local w = gb.array("float", 4)
  assert(K.weigh:run({ grid = 1, block = 4 }, w))
  list(w:totable(), { 1, 2, 3, 4 })
  assert(K:global("counter"):fill(0))
  assert(K.count:run { grid = 2, block = 8 })
  equal(K:global("counter"):download()[0], 16)
  equal(#K:global("weights"), 4)
  raised("weigths", function() K:global("weigths") end)

  -- structs
  local Body = K.types.Body
  local bodies = gb.array(Body, 3)
  bodies[1] = { mass = 2, tag = { 7, 8 } }
  assert(K.heavy:run({ grid = 1, block = 3 }, bodies, { mass = 10, tag = { 1, 5 } }, { 1, 2, 3,
    4 }))
  equal(bodies[1].mass, 12) equal(bodies[1].tag[0], 7) equal(bodies[1].tag[1],
    5) equal(bodies[2].at.x, 4)
  assert(K.heavy:run({ grid = 1, block = 3 }, bodies, bodies[1], gb.array("float4", 1)[0]))
  equal(bodies[1].mass, 24) equal(bodies[0].mass, 22)
  assert(K.heavy:run({ grid = 1, block = 3 }, bodies, Body { mass = 1 }, { x = 0 }))
  equal(bodies[0].mass, 23)
  raised("unknown struct 'Bdy'; did you mean 'Body'?", function() return K.types.Bdy end)

  -- futures: in order on the grain's queue
  local futures = {}
  y:fill(0)
  for i = 1, 10 do futures[i] = K.saxpy:async(n, 1, x, y, n) end
  assert(gb.all(futures))
  equal(y[0], 20)
  do -- arguments that nobody holds any more
    local f = K.saxpy:async(n, 1, gb.array("float", n), gb.array("float", n), n)
    collectgarbage() collectgarbage()
    equal(f:await(), true)
  end
  local q = assert(gb.queue())
  local v = gb.array("float", 4)
  local f = K.weigh:async({ grid = 1, block = 4, queue = q }, v)
  assert(f:await())
  equal(v[3], 4)
  assert(q:wait())
  equal(q:close(), true)
  raised("queue: it was closed", function() K.weigh:run({ grid = 1, block = 4, queue = q }, v) end)
  raised("the queue was closed", function() q:wait() end)

  -- what goes wrong in a correct program is returned; later launches are not hurt
  local _, message, code = K.trap:run(1)
  equal(code, "ETRAP") assert(message:find("trap", 1, true), message)
  returned("ETRAP", "trap", K.trap:async(1):await())
  assert(K.count:run(1))

  -- a launch that outlasts its timeout runs on
  local go = gb.array("int32", 1)
  local late = { K.slow:run({ grid = 1, block = 1, timeout = "10ms" }, go, 1e9) }
  returned("ETIMEDOUT", "did not end within its timeout", unpack(late))
  go:free()
  local fresh = gb.array("int32", 1)
  assert(K.slow:run({ grid = 1, block = 1, timeout = "1m" }, fresh, 1000))
  equal(fresh[0], 1)
  equal(select("#", K.slow:run({ grid = 1, block = 1, timeout = "1m" }, fresh, 1000)), 1)
  core.device_in_place(gb.device().index, true)
  return K
end

local K = check(true)
check(false)

-- signatures
local s = K.saxpy.signature
equal(#s, 4) equal(s[1].name, "a") equal(s[1].type, "float") equal(s[1].pointer, nil)
equal(s[2].name, "x") equal(s[2].pointer, true) equal(s[2].const, true) equal(s[3].const, false)
equal(tostring(K.saxpy), "kernel saxpy(float a, const float *x, float *y, int n)")
equal(K.saxpy.name, "saxpy")

-- instances of templates
local T = assert(gb.kernels { name = "templates", instances = { "scale<float,2>" }, source = [==[
template <typename T, int N> __global__ void scale(T *x) { x[threadIdx.x] *= N; }
]==] })
local t = gb.array("float", { 1, 2 })
assert(T["scale<float,2>"]:run({ grid = 1, block = 2 }, t))
assert(T["scale<float, 2>"]:run({ grid = 1, block = 2 }, t))
list(t:totable(), { 4, 8 })

-- a kernel that is called like a field of K does not hide it
local N = assert(gb.kernels { name = "names", source = [==[
struct Body { float x; };
extern "C" __global__ void types(Body *b) { b[threadIdx.x].x = 5; }
]==] })
local bodies = gb.array(N.types.Body, 1)
assert(N:kernel("types"):run({ grid = 1, block = 1 }, bodies))
equal(bodies[0].x, 5)

-- options
local O = assert(gb.kernels { name = "options", options = { "-DN=4" }, source =
  [[extern "C" __global__ void n(int *x) { x[0] = N; }]] })
local o = gb.array("int32", 1)
assert(O.n:run(1, o:view()))
equal(o[0], 4)

-- names and wrong use
raised("unknown kernel 'saxpi'; did you mean 'saxpy'? (spec)", function() return K.saxpi end)
raised("unknown kernel method 'runn'; did you mean 'run'?", function() K.saxpy:runn(1) end)
raised("call it as K.kernel:run(...), with a colon", function() K.saxpy.run(5) end)
raised("K is read-only", function() K.mine = 1 end)
raised("a kernel is read-only", function() K.saxpy.signatur = 1 end)
raised("call it as K:reload(...), with a colon", function() K.reload() end)
raised("unknown option 'fiel'; did you mean 'file'? (gb.kernels)",
  function() gb.kernels { fiel = "x" } end)
raised("gb.kernels needs file or source", function() gb.kernels {} end)
raised("gb.kernels takes file or source, not both", function() gb.kernels { file = "a",
  source = "b" } end)
raised("file is a string, got number", function() gb.kernels { file = 5 } end)
raised("options[1] is a string, got number", function() gb.kernels { source = "",
  options = { 5 } } end)
raised("gb.kernels takes a table", function() gb.kernels(5) end)

-- failures
returned("ENOENT", "cannot open kernels/none.cu", gb.kernels { file = "kernels/none.cu" })
local _, message, code = gb.kernels { name = "broken",
  source = "extern \"C\" __global__ void k(int *x) {\n  x[0] = nothing;\n}\n" }
equal(code, "ECOMPILE")
assert(not spec.compiled(message) or message:find("broken", 1, true)
  and message:find("nothing", 1, true) and message:find("2", 1, true), message)
local _, _, refused = gb.kernels { name = "option", source = "extern \"C\" __global__ void k() {}",
  options = { "-fplugin=x" } }
equal(refused, "EINVAL")

-- files: relative to the script; reload
local path = scratch "reloaded.cu"
local function write(text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end
write [[extern "C" __global__ void one(int *x) { x[0] = 1; }
extern "C" __global__ void gone(int *x) { x[0] = 9; }]]
local R = assert(gb.kernels { file = path })
local held, gone, r = R.one, R.gone, gb.array("int32", 1)
assert(held:run(1, r))
equal(r[0], 1)
write [[extern "C" __global__ void one(int *x) { x[0] = broken; }]]
local _, _, why = R:reload()
equal(why, "ECOMPILE")
assert(held:run(1, r))
equal(r[0], 1, "the old kernels stay")
write [[extern "C" __global__ void one(int *x) { x[0] = 2; }
extern "C" __global__ void two(long long *x) { x[0] = 3; }]]
equal(assert(R:reload()), true)
assert(held:run(1, r))
equal(r[0], 2)
local r64 = gb.array("int64", 1)
assert(R.two:run(1, r64))
equal(r64:number(0), 3)
raised("unknown kernel 'gone'", function() return R.gone end)
returned("ENOENT", "kernel 'gone' is no longer in", gone:run(1, r))
os.remove(path)
returned("ENOENT", "cannot open", R:reload())
spec.done()
