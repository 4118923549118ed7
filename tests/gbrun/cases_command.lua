-- Flags, configuration, subcommands, specs.
local saxpy = [[
extern "C" __global__ void saxpy(int n, float a, const float *x, float *y)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] += a * x[i] * FACTOR;
}
extern "C" __global__ void turn(float *x)
{
    __shared__ float t[64];
    t[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = t[63 - threadIdx.x];
}
]]

local scaled = [[
template <typename T, int N> __global__ void scaled(T *x, T by)
{
    for (int i = 0; i < N; i++) x[i] *= by;
}
]]

-- 64 registers' worth of numbers in the 32 that two such blocks leave each thread.
local spilling = [[
__global__ void __launch_bounds__(1024, 2) many(double *a, double *b, double *c)
{
    double r[40];
    for (int i = 0; i < 40; i++) r[i] = a[i * blockDim.x + threadIdx.x];
    for (int k = 0; k < 40; k++)
        for (int i = 0; i < 40; i++) r[i] = fma(r[(i + 1) % 40], b[k], r[i]);
    for (int i = 0; i < 40; i++) c[i * blockDim.x + threadIdx.x] = r[i];
}
]]

local show = [[
local gb = require "gb"
local app = gb.config.app
print(gb.silo().workers, app.greeting, app.n, app.deep and app.deep.list[2])
]]

local settings = [[return { workers = 2, log_level = "warn", app = {
  greeting = 'hi "you"\n', n = 3.5,
  deep = { list = { 1, 20 } } } }]]

local function wrong(name, run, ...)
  return { name, files = { ["a.lua"] = "" }, run = run, code = 2, out = "", err = { ... } }
end

local function bad_file(text, ...)
  return { "a bad configuration: " .. text, files = { ["gpubridge.lua"] = text, ["a.lua"] = "" },
    run = "a.lua",
    code = 2, err = { ... } }
end

local specs = [[
local gb = require "gb"
local Clock = gb.grain("Clock", { idle = "1h" })
function Clock:on_activate() self.ticks = 0 self:timer { every = "1s", call = "tick" } end
function Clock:tick() self.ticks = self.ticks + 1 end
function Clock:count() return self.ticks end
function Clock:mail() return gb.get("Mailer", 1):send("x") end
describe("clock", function()
  it("advances", function()
    local c = gb.get("Clock", 1)
    assert.equal(0, c:count())
    gb.test.advance("10m")
    assert.equal(600, c:count())
  end)
  it("waits in coroutines and under pcall", function()
    local co = coroutine.wrap(function() coroutine.yield(gb.get("Clock", 2):count()) end)
    assert.equal(0, co())
    assert.is_true(pcall(function() assert(gb.sleep("1h")) end))
    assert.has_error(function() gb.sleep("1h") error("late") end)
  end)
  it("replaces and fails", function()
    gb.test.replace("Mailer", { send = function(_, text) return text .. "!" end })
    local c = gb.get("Clock", 3)
    assert.equal("x!", c:mail())
    gb.test.fail("Mailer.send", "ETIMEDOUT", 1)
    assert.equal("ETIMEDOUT", (select(3, c:mail())))
    assert.equal("x!", c:mail())
    gb.test.reset()
    assert.equal(0, gb.count("Clock"))
    assert.equal("ENOMETHOD", (select(3, c:mail())))
  end)
  it("deactivates", function()
    local c = gb.get("Clock", 4)
    c:count()
    assert.is_true(gb.test.deactivate(c))
    assert.is_false(gb.test.deactivate(c))
  end)
  it("compares numbers", function()
    gb.test.near(gb.array("float", { 1, 2.5 }), { 1, 2.5000001 }, 1e-5)
    assert.has_error(function() gb.test.near({ 1 }, { 2 }, 0.5) end)
    assert.has_error(function() gb.test.near({ 1 }, { 1, 2 }) end)
  end)
  it("has arrays of every type and struct", function()
    local seven = {}
    for _, name in ipairs { "float", "int32", "int8", "float2", "int2", "uint64" } do
      local a = gb.array(name, 2)
      assert.equal("array " .. name .. "[2]", tostring(a))
      assert.equal(name, a:type())
      if not name:find("t2$") then
        a[1] = 7
        seven[#seven + 1] = tostring(a[1])
      end
    end
    assert.equal("7 7 7 7ULL", table.concat(seven, " "))
    local A = assert(gb.kernels { source = "struct S { int x; }; __global__ void a(S *s) {}" })
    local B = assert(gb.kernels { source = "struct S { float x; }; __global__ void b(S *s) {}" })
    local s, t = gb.array(A.types.S, 1), gb.array(B.types.S, 1)
    s[0], t[0] = { x = 3 }, { x = 0.5 }
    assert.equal("3 0.5", s[0].x .. " " .. t[0].x)
  end)
  it("gathers items into batches by count and by time", function()
    gb.catalog.register("add", { kernel = "add", source = "extern \"C\" __global__ void add("
      .. "const int *x, int *y, int n) { int i = threadIdx.x; if (i < n) y[i] = x[i] + 1; }" })
    assert.equal(8, gb.batch("add"):execute({ 7 })[1])
    local out = {}
    local s = gb.batch("add"):stream { size = 3, delay = "100ms", buffer = 6,
      out = function(value) out[#out + 1] = value end }
    for i = 1, 3 do assert(s:push(i)) end
    gb.test.idle()
    assert.same({ 2, 3, 4 }, out)
    assert(s:push(4))
    gb.test.advance("99ms")
    assert.equal(3, #out)
    gb.test.advance("2ms")
    assert.same({ 2, 3, 4, 5 }, out)
    for i = 5, 40 do assert(s:push(i)) assert.is_true(s:stats().waiting <= 6) end
    assert(s:stop())
    assert.equal(40, #out)
    for i = 1, 40 do assert.equal(i + 1, out[i]) end
    assert.equal("ECLOSED", (select(3, s:push(1))))
    local gathers = gb.batch("add"):coalesce { max_delay = "1ms" }
    local early = gb.spawn(function() return gathers:call(1) end)
    gb.test.advance("500us")
    assert.is_false(early:done())
    gb.test.advance("600us")
    assert.equal(2, early:await())
  end)
  it("says what is not there yet", function()
    assert.equal("ENOTYET", (select(3, gb.test.silos(3))))
    assert.equal("ENOTYET", (select(3, gb.test.fail("store.save", "ETIMEDOUT"))))
    assert.has_error(function() gb.test.fail("Clock.cont", "ETIMEDOUT") end)
  end)
end)
]]

local bad_kernel = [[
local gb = require "gb"
local K = assert(gb.kernels { name = "bad.cu", source =
  "extern \"C\" __global__ void bad(int n, float *x)\n"
  .. "{\n    x[threadIdx.x + n] = 1;\n}\n" })
print(K.bad:run(32, 32, gb.array("float", 32)))
]]

return {
  { "no arguments", run = "", code = 2, err = { "usage: gbrun" } },
  { "help", run = "--help", has = { "--workers N", "GB_CACHE_DIR", "gbrun doctor" } },
  { "help of a command", run = "help kernel", has = { "usage: gbrun kernel FILE.cu",
    "--arch ARCH" } },
  { "version", run = "version", has = { "gpubridge ", "commit ", "backends: cpu, cuda (" } },
  { "version with a driver that is none", run = "version", env = "GB_CUDA_LIBRARY=/nope",
    has = { "cuda (no CUDA driver here)" } },
  { "devices", run = "devices", env = "GB_CPU_DEVICES=2",
    has = { "DEVICE  BACKEND", "     1  cpu" } },
  { "devices as JSON", run = "devices --json", has = { '"backend":"cpu"', '"queue_depth":0' } },
  { "doctor", run = "doctor", has = { "C++ compiler", "NVRTC", "cache", "mode 0700", "verdict" } },
  { "doctor without NVIDIA's libraries", run = "doctor",
    env = "GB_CUDA_LIBRARY=/nope/a GB_NVML_LIBRARY=/nope/b GB_NVRTC_LIBRARY=/nope/c",
    has = { "CUDA driver", "/nope/a", "-> GB_CUDA_LIBRARY names this file: unset it", "/nope/b",
      "-> GB_NVML_LIBRARY names", "/nope/c", "-> GB_NVRTC_LIBRARY names",
      "usable: kernels run here" } },
  { "doctor and images that others can write", run = "doctor", env = "GB_IMAGES=/tmp",
    has = { "images ", "can be written by others", "-> GB_IMAGES names a folder" } },
  { "doctor and a cache that cannot be written", run = "doctor --cache /proc", code = 1,
    has = { "name a folder of your own with --cache DIR", "kernels cannot run here" } },
  { "doctor and a cache that is a file", files = { file = "" }, run = "doctor --cache file",
    code = 1, has = { "-> name a folder of your own with --cache DIR" } },
  { "doctor without a compiler", run = "doctor", env = "GB_CXX=/nope", code = 1,
    has = { "the C++ compiler '/nope'", "kernels cannot run here" } },
  wrong("an unknown command", "dcotor", "unknown command 'dcotor'; did you mean 'doctor'?"),
  wrong("an unknown flag", "--worker=3 a.lua",
    "unknown flag '--worker'; did you mean '--workers'?"),
  wrong("a flag of another command", "--gpu a.lua", "unknown flag '--gpu'"),
  wrong("a script that would join a cluster", "--cluster sqlite:c.db a.lua",
    "--cluster is for gbrun silo; --connect HOST:PORT makes a client"),
  { "a cluster in the environment", files = { ["a.lua"] = "print(1)" }, run = "a.lua",
    env = "GB_CLUSTER=sqlite:c.db", out = "1\n" },
  wrong("a flag without its value", "--workers", "--workers needs a value"),
  wrong("a wrong value", "--workers many a.lua",
    "--workers: an integer from 0 to 256 is wanted, not 'many'"),
  wrong("a level", "--log loud a.lua", "debug, info, warn, error or off is wanted"),
  wrong("a command that comes later", "profile",
    "gbrun profile: not in this version yet (ENOTYET)"),
  wrong("a silo without a table", "silo",
    "gbrun silo: --cluster names the membership table; on one machine sqlite:./cluster.db needs "
    .. "nothing else"),
  { "an address that is none", files = { ["a.lua"] = "" }, run = "--connect h a.lua", code = 1,
    err = { "must be HOST:PORT" } },
  wrong("too few arguments", "kernel", "usage: gbrun kernel FILE.cu"),
  { "a wrong variable", files = { ["a.lua"] = "" }, run = "a.lua", env = "GB_SPIN_US=x", code = 2,
    err = { "GB_SPIN_US: a number of microseconds is wanted" } },
  { "a wrong pool", files = { ["a.lua"] = "" }, run = "--memory-pool much a.lua", code = 2,
    err = { "--memory-pool: a size (bytes, or \"512MB\"), off or driver is wanted, not 'much'" } },
  { "no pool", files = { ["a.lua"] = 'print(require("gb").device().pool.bytes_max)' },
    run = "a.lua", env = "GB_MEMORY_POOL=off", out = "0\n" },
  { "a pool", files = { ["a.lua"] = 'print(require("gb").device().pool.bytes_max)' },
    run = "--memory-pool 2MB a.lua", out = "2097152\n" },
  { "the configuration file", files = { ["gpubridge.lua"] = settings, ["a.lua"] = show },
    run = "a.lua",
    out = "2\thi \"you\"\n\t3.5\t20\n" },
  { "variables are stronger, flags strongest", files = { ["gpubridge.lua"] = settings,
    ["a.lua"] = show },
    run = "--workers=1 a.lua", env = "GB_WORKERS=3 GB_APP_N=7", out = "1\thi \"you\"\n\t7\t20\n" },
  { "no configuration", files = { ["a.lua"] = show }, run = "--workers 1 a.lua",
    out = "1\tnil\tnil\tnil\n" },
  { "tenants", files = { ["gpubridge.lua"] =
      "return { tenants = { beta = {}, acme = { memory = \"20MB\" } } }" }, run = "config",
    has = { "= acme=20MB,beta " } },
  bad_file("return { tenants = true }", "gpubridge.lua: tenants: a table is wanted"),
  bad_file("return { tenants = {} }", "gpubridge.lua: tenants: names nobody"),
  bad_file("return { tenants = { [\"a b\"] = {} } }", "the name of a tenant is of letters"),
  bad_file("return { tenants = { default = {} } }", "no tenant can be called 'default'"),
  bad_file("return { tenants = { acme = 5 } }", "tenants.acme: a table is wanted"),
  bad_file("return { tenants = { acme = { memry = 5 } } }",
    "unknown setting of tenants.acme in gpubridge.lua 'memry'; did you mean 'memory'?"),
  bad_file("return { tenants = { acme = { memory = \"5XB\" } } }",
    "gpubridge.lua: tenants.acme.memory: a size is wanted"),
  bad_file("return { tenants = { acme = { memory = 0 } } }", "from 1 byte"),
  wrong("tenants on the command line", "--tenants acme=1MB,acme a.lua",
    "gbrun: --tenants: tenant 'acme' is named twice"),
  wrong("a tenant's cap that is none", "--tenants acme=much a.lua",
    "tenant 'acme': a size (bytes, or \"512MB\") is wanted, not 'much'"),
  { "tenants of the devices", files = {}, run = "--tenants acme=1MB,beta devices",
    has = { "TENANT", "acme        0 B  1.00 MB", "beta        0 B        -" } },
  { "a grain of a tenant that is not there", files = { ["a.lua"] =
      "require('gb').grain('A', { tenant = 'acne' })" }, run = "--tenants acme a.lua", code = 1,
    err = { "a.lua:1: the setting tenants names no 'acne'; did you mean 'acme'?" } },
  { "config shows origins", files = { ["gpubridge.lua"] = settings }, run = "config --spin 9",
    env = "GB_CALL_TIMEOUT=2s", has = { "gpubridge.lua\n", "GB_CALL_TIMEOUT\n", "--spin\n",
      "default\n", "app.n " } },
  bad_file("return { wrkers = 3 }",
    "unknown setting in gpubridge.lua 'wrkers'; did you mean 'workers'?"),
  bad_file("return { stores = {} }", "stores is not in this version yet"),
  bad_file("return { name = 'a' }", "name is a flag; the setting is called 'silo_name'"),
  bad_file("return { workers = 257 }", "workers: an integer from 0 to 256 is wanted, not '257'"),
  bad_file("return 3", "gpubridge.lua: the file must return a table"),
  bad_file("return {", "gpubridge.lua:1: "),
  bad_file("return { app = { f = print } }", "app.f: a function cannot be a setting"),
  bad_file("local t = {} t.t = t return { app = t }", "too deep"),
  bad_file("return { call_timeout = 'soon' }", "gpubridge.lua: call_timeout: a duration"),
  { "a file that is not there", files = { ["a.lua"] = "" }, run = "--config c.lua a.lua", code = 2,
    err = { "c.lua: cannot be opened" } },
  { "kernel", files = { ["k.cu"] = saxpy }, run = "kernel k.cu -DFACTOR=2", has = {
    "saxpy(int n, float a, const float *x, float *y)", "turn(float *x)",
      "registers: unknown on the cpu",
    "barriers: yes", "barriers: no" } },
  { "kernel that does not compile", files = { ["k.cu"] = saxpy }, run = "kernel k.cu", code = 1,
    err = { "k.cu:4:", "FACTOR", "y[i] += a" } },
  { "kernel for an unknown GPU", files = { ["k.cu"] = saxpy },
    run = "kernel k.cu -DFACTOR=2 --arch sm_1", code = 1,
    env = "GB_NVRTC_LIBRARY=/nope/libnvrtc.so", err = { "GB_NVRTC_LIBRARY" }, out = "" },
  { "kernel for a GPU",
    files = { ["k.cu"] = saxpy .. "namespace deep { __global__ void low() {} }" },
    run = "kernel k.cu -DFACTOR=2 --arch sm_90", nvrtc = true,
    has = { "sm_90 by NVRTC ", "saxpy(int n, float a, const float *x, float *y)\n  registers: ",
      "turn(float *x)\n", "shared memory: 256 bytes; spills: 0 bytes stored, 0 loaded",
      "barriers: yes", "deep::low()\n" }, lacks = { "on the cpu", "unknown" } },
  { "kernel and instances of a template", files = { ["k.cu"] = scaled },
    run = "kernel k.cu --instance 'scaled<float,4>' --instance 'scaled<double, 2>'",
    has = { "scaled<float,4>(float *x, float by)", "scaled<double, 2>(double *x, double by)" } },
  { "kernel for a GPU and instances of a template", files = { ["k.cu"] = scaled }, nvrtc = true,
    run = "kernel k.cu --arch sm_80 --instance 'scaled<float,4>' --instance 'scaled<double, 2>'",
    has = { "scaled<float,4>(float *x, float by)\n  registers: ",
      "scaled<double, 2>(double *x, double by)\n  registers: " }, lacks = { "unknown" } },
  { "kernel and an instance that is none", files = { ["k.cu"] = scaled },
    run = "kernel k.cu --instance 'scald<float,4>'", code = 1,
    err = { "the instance 'scald<float,4>' names no template kernel" } },
  { "kernel for a GPU and an instance that is none", files = { ["k.cu"] = scaled }, nvrtc = true,
    run = "kernel k.cu --arch sm_80 --instance 'scald<float,4>'", code = 1,
    err = { "the instance 'scald<float,4>' names no template kernel" } },
  { "kernel without an instance", files = { ["k.cu"] = scaled }, run = "kernel k.cu",
    has = { "no kernels (templates need --instance 'name<types>')" } },
  { "kernel for a GPU that spills", files = { ["k.cu"] = spilling }, nvrtc = true,
    run = "kernel k.cu --arch sm_90", has = { "registers: 32; ", "stored, ", "stack: " },
    lacks = { "spills: 0 bytes" } },
  { "kernel for a GPU and the CPU", files = { ["k.cu"] = saxpy },
    run = "kernel k.cu -DFACTOR=2 --cpu --arch sm_90", nvrtc = true,
    has = { "sm_90 by NVRTC ", "registers: unknown on the cpu" } },
  { "kernel for a GPU that NVRTC has not", files = { ["k.cu"] = saxpy },
    run = "kernel k.cu --arch sm_1", nvrtc = true, code = 1,
    err = { "--arch sm_1: NVRTC ", "compiles for", "sm_90" } },
  { "kernel for a GPU with an error", files = { ["k.cu"] = saxpy }, nvrtc = true,
    run = "kernel k.cu --arch sm_90", code = 1,
    err = { "k.cu:4: error: identifier \"FACTOR\" is undefined", "y[i] += a" } },
  { "kernel for a GPU without a header", files = { ["k.cu"] = '#include "none.h"\n' }, nvrtc = true,
    run = "kernel k.cu --arch sm_90", code = 1, err = { "k.cu:1: ", '"none.h"' } },
  { "specs for a GPU where there is none", files = { ["a_spec.lua"] = "error('it ran')" },
    run = "test . --gpu", env = "GB_CUDA_LIBRARY=/nope",
    out = "0 passed, 0 failed, all skipped: not run, there is no GPU here (see gbrun doctor)\n" },
  { "specs", files = { ["spec/clock_spec.lua"] = specs }, run = "test spec",
    has = { "8 successes / 0 failures / 0 errors", "8 passed, 0 failed\n" } },
  { "specs of a pattern", files = { ["spec/clock_spec.lua"] = specs },
    run = "test spec --filter advances",
    has = { "1 passed, 0 failed\n" } },
  { "specs that fail", files = { ["a_spec.lua"] = [[
    describe("a", function()
      it("is right", function() end)
      it("is wrong", function() assert.equal(1, 2) end)
      it("raises", function() error("oops") end)
    end)]] }, run = "test .", code = 2, has = { "1 passed, 2 failed\n", "a_spec.lua:3:", "oops" } },
  { "no specs", files = { ["a.lua"] = "" }, run = "test .", code = 1, has = {
    "0 passed, 1 failed" } },
  { "a pattern that no test has", files = { ["spec/clock_spec.lua"] = specs },
    run = "test spec --filter nothing", code = 1,
    has = { "no test ran: spec has none whose name has the pattern 'nothing'\n",
      "0 passed, 1 failed\n" } },
  { "a pattern that is none", files = { ["spec/clock_spec.lua"] = specs },
    run = "test spec --filter '['", code = 1, out = "",
    err = { "--filter '[' is no Lua pattern: malformed pattern (missing ']')" } },
  { "a script as a spec", files = { ["a.lua"] = "print('ran')" }, run = "test a.lua", code = 1,
    has = { "ran\n", "no test ran: a.lua has none\n0 passed, 1 failed\n" } },
  { "pending tests", files = { ["a_spec.lua"] = "it('will be', function() pending('soon') end)" },
    run = "test .", has = { "0 passed, 0 failed\n" } },
  { "specs and no app", files = { ["spec/clock_spec.lua"] = specs }, run = "test spec --app nope",
    code = 1, err = { "the app folder nope is not there" } },
  { "no folder", run = "test nowhere", code = 1, err = { "cannot open nowhere" } },
  { "gb.test outside of specs", files = { ["a.lua"] = "require('gb').test.advance(1)" },
    run = "a.lua", code = 1,
    err = { "a.lua:1: gb.test.advance works only in specs that `gbrun test DIR` runs" } },
  { "sanitize", files = { ["a.lua"] = bad_kernel }, run = "--sanitize a.lua", code = 1,
    err = { "heap-buffer-overflow", "bad.cu:3" }, sanitize = true },
  { "sanitize with g++", files = { ["a.lua"] = bad_kernel }, run = "--sanitize a.lua", code = 1,
    env = "GB_CXX=g++", err = { "heap-buffer-overflow", "bad.cu:3" }, sanitize = true },
  { "a new app runs and passes its specs",
    run = "new shop && cd shop && \"$GBRUN\" main.lua && \"$GBRUN\" test .",
    has = { "counter\t5\t7\n", "saxpy\t2\t2\n", "4 passed, 0 failed\n" } },
  { "certificates for development",
    run = "certs keys --host node-1 --days 30 && ls keys && stat -c %a keys keys/silo.key",
    has = { "ca.crt\nca.key\nclient.crt\nclient.key\nsilo.crt\nsilo.key\n", "for 30 days",
      "700\n600" } },
  { "certs does not touch what is there", files = { ["keys/ca.key"] = "" }, run = "certs keys",
    code = 1, err = { "is there already; nothing was written" } },
  wrong("certs for no time", "certs keys --days 0", "--days is a number from 1 to 36500"),
  { "new does not touch what is there", files = { ["shop/main.lua"] = "" }, run = "new shop",
    code = 1, err = { "shop is there already" } },
}
