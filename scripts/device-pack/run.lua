-- run.lua: the suite and the benchmarks on every backend of this machine; one JSON file.
--
--   ./run [--out FILE] [--quick] [--bound SECONDS] [--total SECONDS] [--only NAME]
--
-- --quick: small counts, for self-checks. --bound: no step runs longer (600, quick 120). --total:
-- what has not begun by then is skipped, and what runs ends (7200, quick 450). --only: the steps
-- whose name holds that text ("cuda.", "bench"). Exit code 1 when a step failed, 77 when none could
-- run.
local spawn, json = require "spawn", require "json"
local pack = require "pack" -- made by scripts/device-pack.sh
local ffi = require "ffi"
ffi.cdef "int mkdir(const char *path, int mode); char *getcwd(char *out, size_t size);"

local options = { out = "results.json", only = "" }

local function usage(why)
  io.stderr:write(why, "\nusage: ./run [--out FILE] [--quick] [--bound SECONDS] [--total SECONDS] "
    .. "[--only NAME]\n")
  os.exit(2)
end

local i = 1
while arg[i] do
  local name = arg[i]:match("^%-%-(%a+)$")
  if name == "quick" then
    options.quick = true
  elseif name == "out" or name == "bound" or name == "total" or name == "only" then
    i = i + 1
    options[name] = arg[i] or usage("--" .. name .. " needs a value")
  else
    usage("unknown argument " .. arg[i])
  end
  i = i + 1
end
for name, default in pairs(options.quick and { bound = 120, total = 450 }
  or { bound = 600, total = 7200 }) do
  options[name] = tonumber(options[name] or default) or usage("--" .. name
    .. " is a number of seconds")
end
local began = spawn.now()

-- ---- the machine ----

local here = ffi.string(ffi.C.getcwd(ffi.new("char[4096]"), 4096))
ffi.C.mkdir("logs", tonumber("700", 8))
ffi.C.mkdir("logs/cache", tonumber("700", 8))

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read("*a")
  if file then file:close() end
  return text
end

local function machine()
  local cpu = read "/proc/cpuinfo" or ""
  local _, cores = cpu:gsub("\nprocessor%s*:", "")
  if cpu:find("^processor") then cores = cores + 1 end
  return {
    cpu = cpu:match("model name%s*:%s*([^\n]*)"), cores = cores, avx2 = cpu:find(" avx2 ") ~= nil,
    kernel = (read "/proc/sys/kernel/osrelease" or ""):gsub("%s+$", ""),
    system = (read "/etc/os-release" or ""):match('PRETTY_NAME="([^"]*)"'),
    nvidia_driver = (read "/proc/driver/nvidia/version" or ""):match("[^\n]+"),
  }
end

local function in_path(names)
  local path = os.getenv "PATH"
  for _, name in ipairs(names) do
    for folder in (path or ""):gmatch("[^:]+") do
      local file = io.open(folder .. "/" .. name, "rb")
      if file then
        file:close()
        return folder .. "/" .. name
      end
    end
  end
end

-- Where a toolkit or Python's wheels put NVRTC; what the loader finds by itself needs no path.
local function find_nvrtc()
  local patterns = { "/usr/local/cuda*/lib*/", "/usr/local/cuda*/targets/*/lib/",
    "/opt/cuda/lib*/" }
  local roots = { "/usr/lib/python3*/site-packages", "/usr/local/lib/python3*/site-packages",
    "/usr/local/lib/python3*/dist-packages", "/usr/lib/python3/dist-packages",
    "/opt/*/lib/python3*/site-packages", "/opt/*/.venv/lib/python3*/site-packages" }
  local home, venv = os.getenv "HOME", os.getenv "VIRTUAL_ENV"
  if venv then table.insert(roots, 1, venv .. "/lib/python3*/site-packages") end
  if home then roots[#roots + 1] = home .. "/.local/lib/python3*/site-packages" end
  for _, root in ipairs(roots) do
    patterns[#patterns + 1] = root .. "/nvidia/cu13/lib/"
    patterns[#patterns + 1] = root .. "/nvidia/cuda_nvrtc/lib/"
  end
  ffi.cdef [[
  struct pack_glob { size_t count; char **paths; size_t more[16]; };
  int glob(const char *pattern, int flags, void *error, struct pack_glob *out);
  void globfree(struct pack_glob *out);
  ]]
  for _, pattern in ipairs(patterns) do
    local found, path = ffi.new("struct pack_glob"), nil
    if ffi.C.glob(pattern .. "libnvrtc.so.1[0-9]", 0, nil, found) == 0 then
      path = ffi.string(found.paths[0])
    end
    ffi.C.globfree(found)
    if path then return path end
  end
end

-- ---- steps ----

local compiler = os.getenv "GB_CXX" or in_path { "clang++", "g++" }
local nvrtc = os.getenv "GB_NVRTC_LIBRARY"
local loads = pcall(ffi.load, "libnvrtc.so.13") or pcall(ffi.load, "libnvrtc.so.12")
if not nvrtc and not loads then nvrtc = find_nvrtc() end

local steps, counts = {}, { passed = 0, failed = 0, skipped = 0, noted = 0,
  no_image = 0 }
local quick = options.quick and "1" or false
local base = { XDG_CACHE_HOME = here .. "/logs/cache", GB_BENCH_QUICK = quick,
  GB_BENCH_DIR = here .. "/bench/kernels", GB_BENCH_PEER = here .. "/bin/peer_lib",
  GB_SEED = os.getenv "GB_SEED" or "1", -- what is drawn has its images
  GB_NVRTC_LIBRARY = nvrtc or nil, GB_PACK_LIBRARY_PATH = false, LUA_PATH = false,
  GB_IMAGES = pack.gpu_images + pack.cpu_images > 0 and here .. "/images" or nil }
local library_path = os.getenv "GB_PACK_LIBRARY_PATH" or ""
base.LD_LIBRARY_PATH = library_path ~= "" and library_path
-- A library that is not there: the driver is not looked for, so device 0 is the cpu.
local cpu_only = { GB_CUDA_LIBRARY = here .. "/no-driver", GB_NVRTC_LIBRARY = false,
  GB_NVML_LIBRARY = false }

local function merged(a, b)
  local out = {}
  for name, value in pairs(a) do out[name] = value end
  for name, value in pairs(b) do out[name] = value end
  return out
end

-- What a program printed about itself: figures, facts, and how many tests passed.
local function take_output(step, text)
  for line in text:gmatch("[^\n]+") do
    local name, value = line:match("^R ([%w_]+) ([%d.]+)$")
    if name then step.figures[name] = tonumber(value) end
    local fact, what = line:match("^F ([%w_]+) (.*)$")
    if fact then step.facts[fact] = what end
    local test_count = line:match("^%[  PASSED  %] (%d+) test")
    if test_count then step.tests_passed = (step.tests_passed or 0) + test_count end
    test_count = line:match("^ *(%d+) SKIPPED TEST")
    if test_count then step.tests_skipped = (step.tests_skipped or 0) + test_count end
    test_count = line:match("^ *(%d+) FAILED TEST")
    if test_count then step.tests_failed = (step.tests_failed or 0) + test_count end
    if line:find("not run: no compiler and no image", 1, true) then
      step.no_image = (step.no_image or 0) + 1
      counts.no_image = counts.no_image + 1
    end
    local work, ours, peer, ratio = line:match(
      "^lib (%S+) +([%d.]+) ms +by hand +([%d.]+) ms +ratio ([%d.]+)")
    if work then
      step.figures[work .. "_ms"] = tonumber(ours)
      step.figures[work .. "_by_hand_ms"] = tonumber(peer)
      step.figures[work .. "_ratio"] = tonumber(ratio)
    end
    local bench, measured = line:match("^kernels (%S+) (.*ratio=.*)$")
    for key, number in (bench and measured or ""):gmatch("([%w_]+)=([%d.]+)") do
      step.figures[bench .. "_" .. key] = tonumber(number)
    end
  end
end

local function note(step)
  steps[#steps + 1] = step
  counts[step.result] = counts[step.result] + 1
  print(("%-8s %-24s %6.1f s  %s"):format(step.result, step.name, step.seconds or 0,
    step.why or step.status and "status " .. step.status or ""))
  io.stdout:flush()
end

-- Kernels that had neither a compiler nor an image, as far as they explain what failed.
local function without_image(one, text)
  local _, gpu = text:gsub("no compiler for the GPU: ", "")
  local _, cpu = text:gsub("no image of this source for ", "")
  if gpu + cpu < math.max(one.tests_failed or 1, 1) then return false end
  one.no_image = (one.no_image or 0) + gpu + cpu
  counts.no_image = counts.no_image + gpu + cpu
  return true
end

local function skip(backend, name, why)
  if not (backend .. "." .. name):find(options.only, 1, true) then return end
  note { backend = backend, name = backend .. "." .. name, result = "skipped", why = why }
end

--- Runs a program of the pack. status 77 is a skip, as the program says. What the doctor finds
--- missing is worth knowing and no failure.
local function step(backend, name, argv, changes)
  if not (backend .. "." .. name):find(options.only, 1, true) then
    return { facts = {}, figures = {} }
  end
  local one = { backend = backend, name = backend .. "." .. name, figures = {}, facts = {},
    command = table.concat(argv, " ") }
  local left = options.total - (spawn.now() - began)
  if left <= 0 then
    skip(backend, name, ("not run: the %g s of --total are over"):format(options.total))
    return one
  end
  local bound = math.min(options.bound, left)
  local ran = spawn.run(argv, merged(base, changes or {}),
    ("logs/%s.%s.log"):format(backend, name), bound)
  one.status, one.signal, one.timed_out, one.seconds = ran.status, ran.signal, ran.timed_out,
    ran.seconds
  take_output(one, ran.output)
  if ran.status == 0 then
    one.result = "passed"
  elseif ran.status == 77 then
    one.result, one.why = "skipped", one.facts.not_run or "it says so"
  elseif name == "doctor" and ran.status == 1 then
    one.result, one.why = "noted", "something is missing here: logs/all.doctor.log"
  elseif not ran.timed_out and not ran.signal and without_image(one, ran.output) then
    one.result, one.why = "skipped", "not run to its end: no compiler and no image"
  else
    one.result, one.output_end = "failed", ran.output:sub(-2000)
    one.why = ran.timed_out and ("longer than its bound of %.3g s"):format(bound)
      or ran.signal and "signal " .. ran.signal
  end
  if name:find("^example") or name == "doctor" then one.output_end = ran.output:sub(-2000) end
  note(one)
  return one
end

-- ---- what runs where ----

local gbrun, facts = "bin/gbrun", machine()

local function probe(changes)
  local devices = {}
  local ran = spawn.run({ gbrun, "probe.lua" }, merged(base, changes), "logs/probe.log", 120)
  for line in ran.output:gmatch("[^\n]+") do
    local index, backend, name, arch, memory, units = line:match(
      "^D (%d+)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(%d+)\t(%d+)$")
    if index then
      devices[#devices + 1] = { index = tonumber(index), backend = backend, name = name,
        arch = arch, memory_bytes = tonumber(memory), units = tonumber(units) }
    end
  end
  return devices, ran
end

local devices, probed = probe {}
if #devices == 0 then
  io.stderr:write("run: gbrun does not start here:\n", probed.output, "\n")
  os.exit(1)
end

local function examples(backend, changes)
  local small = options.quick
  step(backend, "example.vector", { gbrun, "examples/vector.lua", small and "10000" }, changes)
  step(backend, "example.matrix", { gbrun, "examples/matrix.lua", small and "64" }, changes)
  step(backend, "example.image", { gbrun, "examples/image.lua" }, changes)
  step(backend, "example.graph", { gbrun, "examples/graph.lua", "examples/data/packages.txt",
    small and "2000" }, changes)
  step(backend, "example.pagerank", { gbrun, "examples/pagerank.lua",
    "examples/data/packages.txt", "--check" }, changes)
end

-- What is right and wrong on a backend; gpus: how many it has.
local function tests(backend, changes, gpus)
  local is_cpu = backend == "cpu"
  local function test(name, argv, more) step(backend, name, argv, merged(changes, more or {})) end
  local function on_cpu(name, why, argv, more)
    if is_cpu then test(name, argv, more) else skip(backend, name, why) end
  end
  test("conformance", { "bin/test_gpu_conformance" })
  if is_cpu then
    test("conformance.fibers", { "bin/test_gpu_conformance" }, { GB_CPU_FIBERS = "1" })
  else
    test("conformance.driver_pool", { "bin/test_gpu_conformance" },
      { GB_CONFORM_DRIVER_POOL = "1", GB_CONFORM_ONLY = "pool" })
    if pcall(ffi.load, os.getenv "GB_CUFILE_LIBRARY" or "libcufile.so.0") then
      test("files.direct", { "bin/test_gpu_conformance" },
        { GB_CONFORM_DIRECT = "1", GB_CONFORM_ONLY = "files" })
    else
      skip(backend, "files.direct", "no libcufile.so.0; files by way of the host: conformance")
    end
  end
  for _, name in ipairs { "mempool", "lanes", "tenants" } do
    on_cpu("gpu." .. name, "its kernels are the CPU's; conformance has the cases of GPUs",
      { "bin/test_gpu_" .. name })
  end
  test("lib", { "bin/test_lua_lib" })
  test("lua.plan", { "bin/test_lua_plan" })
  on_cpu("lua.batch", "needs devices of 64 MB, and three equal ones", { "bin/test_lua_batch" })
  test("lua.kernels", { "bin/test_lua_kernels" }, { GB_SPECS = not is_cpu and "spec_arguments.lua,"
    .. "spec_buffer.lua,spec_devices.lua,spec_launch_cost.lua,spec_no_memory.lua,"
    .. "spec_resident_memory.lua" })
  on_cpu("lua.memory", "needs a device of 64 MB", { "bin/test_lua_memory" })

  local small = { GB_CPU_MEMORY = "64MB" }
  local busted = { LUA_PATH = "./lua/?.lua;./lua/?/init.lua;;", LUA_CPATH = "./lua/?.so;;",
    GB_CPU_MEMORY = "64MB", GB_TENANTS = "acme=8MB,beta=40MB,gamma" }
  test("resident", { gbrun, "test", "tests/lua/resident/spec" }, busted)
  on_cpu("resident.pressure", "needs a device of 64 MB",
    { gbrun, "--workers", "4", "tests/lua/resident/pressure.lua" }, small)
  if gpus and gpus > 1 then
    test("resident.lost", { gbrun, "test", "--owns-devices", "no", "tests/lua/resident/lost" },
      busted)
  elseif os.getenv "GB_IMAGES_MAKE" then -- it compiles its kernels and comes no further
    spawn.run({ gbrun, "test", "tests/lua/resident/lost" }, merged(merged(base, changes), busted),
      "logs/lost.log", 60)
  else
    skip(backend, "resident.lost", "needs two GPUs")
  end
  test("tenants", { gbrun, "test", "tests/lua/tenants/spec" }, busted)
  test("tenants.spread", { gbrun, "--workers", "4", "tests/lua/tenants/spread.lua" }, busted)
  test("stream", { gbrun, "test", "tests/lua/streams" }, busted)
  test("resilience.policy", { gbrun, "--virtual-time", "--seed", "1",
    "tests/lua/resilience/policy.lua" })
  local four = { GB_CPU_DEVICES = "4" }
  on_cpu("resilience.devices", "needs four equal devices", { gbrun, "--virtual-time", "--workers",
    "1", "--log", "error", "tests/lua/resilience/devices.lua" }, four)
  on_cpu("resilience.balance", "needs four equal devices", { gbrun, "--workers", "4", "--log",
    "error", "tests/lua/resilience/balance.lua" }, four)
end

local function benches(backend, changes)
  local function bench(name, argv)
    local one = step(backend, "bench." .. name, argv, changes)
    if backend == "software" then one.figures = {} end -- not to be mistaken for a GPU's
  end
  bench("lib_device", { gbrun, "bench/lua/lib_device.lua" })
  for _, name in ipairs { "launch", "plan", "batch", "coalesce", "resident" } do
    bench(name, { gbrun, "--workers", "1", "bench/lua/" .. name .. ".lua" })
  end
  bench("memory", { "bin/bench_memory" })
end

-- Devices that are given up, in a process each, and after all that wants them whole.
local function faults(backend, changes)
  for _, name in ipairs { "trap", "item", "bound" } do
    step(backend, "faults." .. name, { gbrun, "--workers", "2", "--owns-devices", "no", "--log",
      "error", "faults.lua", name }, changes)
  end
end

-- Peers of the processor. To make the pack's images, what is not quick runs too.
local function peers()
  local why = options.quick and not os.getenv "GB_IMAGES_MAKE" and "not in a quick run"
    or not facts.avx2 and "the peers are built for AVX2" or nil
  if why then
    skip("cpu", "bench.lib", why)
  else
    step("cpu", "bench.lib", { gbrun, "bench/lua/lib.lua" }, cpu_only)
  end
  why = options.quick and "not in a quick run"
    or not compiler and "no C++ compiler in PATH: its peers are compiled here" or nil
  if why then
    skip("cpu", "bench.kernels", why)
  else
    step("cpu", "bench.kernels", { "bin/bench_kernels" }, cpu_only)
  end
end

-- Tests of every backend, then figures, then what costs devices. Without a compiler the images of
-- the pack serve. Software is a check of these steps alone.
local function run_all(backends)
  local runs = {}
  if compiler or pack.cpu_images > 0 then
    runs[1] = { "cpu", cpu_only }
  else
    skip("cpu", "everything", "no C++ compiler in PATH (clang++, g++), and no images in the pack")
  end
  for _, backend in ipairs { "cuda", "software" } do
    -- The images are for GPUs.
    local changes = backend == "software" and { GB_IMAGES = false } or {}
    local raw = backends[backend] and step(backend, "raw", { "bin/bench_cuda_raw" }, changes)
    if raw and raw.result == "skipped" then
      skip(backend, "everything", raw.why)
    elseif raw then
      if backend == "software" then raw.figures = {} end
      runs[#runs + 1] = { backend, changes }
    elseif backend == "cuda" then
      skip("cuda", "everything", "no GPU: gbrun finds no cuda device")
    end
  end
  for _, run in ipairs(runs) do tests(run[1], run[2], run[1] ~= "cpu" and backends[run[1]]) end
  for _, run in ipairs(runs) do
    benches(run[1], run[2])
    if run[1] == "cpu" then peers() end
    examples(run[1], run[2])
  end
  for _, run in ipairs(runs) do faults(run[1], run[2]) end
end

print(("pack of commit %s%s, built %s"):format(pack.commit, pack.dirty and " (changed)" or "",
  pack.built))
for _, d in ipairs(devices) do
  print(("device %d: %s, %s (%s)"):format(d.index, d.backend, d.name, d.arch))
end
step("all", "version", { gbrun, "version" })
step("all", "doctor", { gbrun, "doctor" })
local backends = {}
for _, d in ipairs(devices) do backends[d.backend] = (backends[d.backend] or 0) + 1 end
run_all(backends)

-- ---- the file ----

-- Figures of different steps of one run, against their bars. None for software.
local function ratios()
  local by_name, out = {}, {}
  for _, one in ipairs(steps) do by_name[one.name] = one.figures end
  local raw, lua = by_name["cuda.raw"], by_name["cuda.bench.launch"]
  if not raw then return nil end
  local function put(name, ours, peer, bar)
    if ours and peer then out[name] = { value = ours / peer, bar = bar } end
  end
  put("launch_from_lua_over_raw", lua and lua.launch_async_us, raw.launch_raw_us, 1.25)
  put("launch_and_wait_from_lua_over_raw", lua and lua.launch_1000_threads_us,
    raw.launch_wait_raw_us, 1.15)
  put("launch_and_wait_from_c_over_raw", raw.launch_wait_ours_us, raw.launch_wait_raw_us, 1.15)
  put("upload_of_raw", raw.pinned_upload_ours_gbs, raw.pinned_upload_raw_gbs, 0.95)
  put("download_of_raw", raw.pinned_download_ours_gbs, raw.pinned_download_raw_gbs, 0.95)
  local plan = by_name["cuda.bench.plan"] or {}
  put("plan_replayed_of_queued", plan.plan_us, plan.plan_queued_us, 0.5)
  put("plan_fused_of_unfused", plan.plan_fused_ms, plan.plan_unfused_ms, 0.4)
  put("graph_from_c_over_raw", raw.graph_ours_us, raw.graph_raw_us, 1.25)
  put("graph_of_launches", raw.graph_ours_us, raw.launch_ours_us, 0.5)
  local memory = by_name["cuda.bench.memory"] or {}
  if memory.cuda_overlapped_us then
    put("overlapped_of_the_longer", memory.cuda_overlapped_us,
      math.max(memory.cuda_copies_us, memory.cuda_work_us), 1.15)
  end
  put("rent_in_us", memory.cuda_rent_4k_pool_us, 1, 1)
  put("rent_of_the_drivers_pool", memory.cuda_rent_4k_pool_us, memory.cuda_rent_4k_driver_us)
  put("utilization_in_pipelined", memory.cuda_utilization, 1, 0.8)
  put("utilization_in_pipelined_by_nvml", memory.cuda_utilization_by_nvml, 1, 0.8)
  local coalesce = by_name["cuda.bench.coalesce"] or {}
  put("coalesced_of_single_calls", coalesce.coalesce_of_single, 1, 20)
  local batch = by_name["cuda.bench.batch"] or {}
  put("batched_items_in_a_microsecond", 1e3, batch.batch_array_1000000_ns_per_item, 1)
  local kernels = by_name["cuda.bench.lib_device"] or {}
  for _, name in ipairs { "add", "saxpy", "sum", "dot", "scan", "select", "histogram",
    "transpose" } do
    put(name .. "_of_device_copy", kernels[name .. "_gbs"], raw.device_copy_raw_gbs, 0.85)
  end
  return out
end

local file, message = io.open(options.out, "wb")
if not file then
  io.stderr:write("run: cannot write the results: ", message, "\n")
  os.exit(1)
end
file:write(json.encode { pack = pack, machine = facts, devices = devices, compiler = compiler,
  kernels = compiler and "compiled here" or "images of the pack",
  nvrtc = nvrtc or loads and "in the loader's path", is_quick = options.quick or false,
  ran_on_a_gpu = backends.cuda ~= nil, steps = steps, counts = counts, ratios = ratios() })
file:close()
print(("%d passed, %d failed, %d skipped; %s"):format(counts.passed, counts.failed, counts.skipped,
  options.out))
os.exit(counts.failed > 0 and 1 or counts.passed == 0 and 77 or 0)
