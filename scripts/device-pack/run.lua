-- run.lua: the suite and the benchmarks on every backend of this machine; one JSON file.
--
--   ./run [--out FILE] [--quick] [--bound SECONDS] [--only NAME]
--
-- --quick: small counts, for self-checks. --bound: no step runs longer (600). --only: the steps
-- whose name holds that text ("cuda.", "bench"). Exit code 1 when a step failed, 77 when none could
-- run.
local spawn, json = require "spawn", require "json"
local pack = require "pack" -- made by scripts/device-pack.sh
local ffi = require "ffi"
ffi.cdef "int mkdir(const char *path, int mode); char *getcwd(char *out, size_t size);"

local options = { out = "results.json", bound = 600, only = "" }

local function usage(why)
  io.stderr:write(why, "\nusage: ./run [--out FILE] [--quick] [--bound SECONDS] [--only NAME]\n")
  os.exit(2)
end

local i = 1
while arg[i] do
  local name = arg[i]:match("^%-%-(%a+)$")
  if name == "quick" then
    options.quick = true
  elseif name == "out" or name == "bound" or name == "only" then
    i = i + 1
    options[name] = arg[i] or usage("--" .. name .. " needs a value")
  else
    usage("unknown argument " .. arg[i])
  end
  i = i + 1
end
options.bound = tonumber(options.bound) or usage("--bound is a number of seconds")

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

local steps, counts = {}, { passed = 0, failed = 0, skipped = 0, noted = 0 }
local quick = options.quick and "1" or false
local base = { XDG_CACHE_HOME = here .. "/logs/cache", GB_BENCH_QUICK = quick,
  GB_BENCH_DIR = here .. "/bench/kernels", GB_BENCH_PEER = here .. "/bin/peer_lib",
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
  local ran = spawn.run(argv, merged(base, changes or {}),
    ("logs/%s.%s.log"):format(backend, name), options.bound)
  one.status, one.signal, one.timed_out, one.seconds = ran.status, ran.signal, ran.timed_out,
    ran.seconds
  take_output(one, ran.output)
  if ran.status == 0 then
    one.result = "passed"
  elseif ran.status == 77 then
    one.result, one.why = "skipped", one.facts.not_run or "it says so"
  elseif name == "doctor" and ran.status == 1 then
    one.result, one.why = "noted", "something is missing here: logs/all.doctor.log"
  else
    one.result, one.output_end = "failed", ran.output:sub(-2000)
    one.why = ran.timed_out and ("longer than its bound of %g s"):format(options.bound)
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

local function suite(backend, changes)
  step(backend, "conformance", { "bin/test_gpu_conformance" }, changes)
  step(backend, "lib", { "bin/test_lua_lib" }, changes)
  step(backend, "bench.lib_device", { gbrun, "bench/lua/lib_device.lua" }, changes)
  step(backend, "bench.launch", { gbrun, "--workers", "1", "bench/lua/launch.lua" }, changes)
  step(backend, "bench.plan", { gbrun, "--workers", "1", "bench/lua/plan.lua" }, changes)
  for _, name in ipairs { "batch", "coalesce", "resident" } do
    local one = step(backend, "bench." .. name,
      { gbrun, "--workers", "1", "bench/lua/" .. name .. ".lua" }, changes)
    if backend == "software" then one.figures = {} end
  end
end

-- Without a compiler the images of the pack serve; to make them, what is not quick runs too.
local function run_cpu()
  if not compiler and pack.cpu_images == 0 then
    for _, name in ipairs { "conformance", "lib", "bench", "example" } do
      skip("cpu", name, "no C++ compiler in PATH (clang++, g++), and no images in the pack")
    end
    return
  end
  suite("cpu", cpu_only)
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
  examples("cpu", cpu_only)
end

-- backend: cuda, or software, which is a check of these steps alone.
local function run_driver(backend)
  local changes = backend == "software" and { GB_IMAGES = false } or {} -- they are for GPUs
  local raw = step(backend, "raw", { "bin/bench_cuda_raw" }, changes)
  if backend == "software" then raw.figures = {} end -- not to be mistaken for a GPU's
  if raw.result == "skipped" then
    for _, name in ipairs { "conformance", "lib", "bench", "example" } do
      skip(backend, name, raw.why)
    end
    return
  end
  suite(backend, changes)
  local memory = step(backend, "bench.memory", { "bin/bench_memory" }, changes)
  if backend == "software" then memory.figures = {} end
  examples(backend, changes)
end

print(("pack of commit %s%s, built %s"):format(pack.commit, pack.dirty and " (changed)" or "",
  pack.built))
for _, d in ipairs(devices) do
  print(("device %d: %s, %s (%s)"):format(d.index, d.backend, d.name, d.arch))
end
step("all", "version", { gbrun, "version" })
step("all", "doctor", { gbrun, "doctor" })
run_cpu()
local backends = {}
for _, d in ipairs(devices) do backends[d.backend] = true end
if backends.cuda then run_driver "cuda" end
if backends.software then run_driver "software" end
if not backends.cuda then skip("cuda", "everything", "no GPU: gbrun finds no cuda device") end

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
  ran_on_a_gpu = backends.cuda or false, steps = steps, counts = counts, ratios = ratios() })
file:close()
print(("%d passed, %d failed, %d skipped; %s"):format(counts.passed, counts.failed, counts.skipped,
  options.out))
os.exit(counts.failed > 0 and 1 or counts.passed == 0 and 77 or 0)
