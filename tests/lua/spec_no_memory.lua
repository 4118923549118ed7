-- Every allocation fails once, in turn: the caller gets nil, message, "ENOMEM" (or an error that
-- says so), nothing is lost (the kit checks the accounts), and the next try works.
-- luacheck: globals fail_at scratch
local spec = require "spec"
local gb = require "gb"
local core = require "gb.core"

local source = [==[
extern "C" __global__ void saxpy(float a, const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}
]==]
local K = assert(gb.kernels { name = "memory", source = source })
local x, y = gb.array("float", { 1, 2, 3, 4 }), gb.array("float", 4)
local d = assert(gb.buffer("float", 4))

gb.catalog.register("memory", { kernel = "twice", source = [==[
extern "C" __global__ void twice(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = 2 * x[i];
}
]==] })

local path = scratch "buffer"
assert(d:save(path))
local plan = gb.plan(K):launch("saxpy", 4, 1, "x", d, 4):map("z", "x * 2"):download("z")
  :reduce("z", "sum", "s")

local work = {
  array = function() return gb.array("float", 100) end,
  pinned = function() return gb.array("float", 100, { kind = "pinned" }) end,
  copy = function() return x:copy() end,
  buffer = function() return gb.buffer("float", 100) end,
  filled_buffer = function() return gb.buffer("float", { 1, 2, 3 }) end,
  run = function() return K.saxpy:run(4, 1, x, y, 4) end,
  run_on_buffers = function() return K.saxpy:run(4, 1, d, d, 4) end,
  async = function() return assert(K.saxpy:async(4, 1, x, y, 4)):await() end,
  timeout = function() return K.saxpy:run({ threads = 4, timeout = 5 }, 1, x, y, 4) end,
  upload = function() return d:upload(x) end,
  download = function() return d:download() end,
  fill = function() return d:fill(1) end,
  save = function() return d:save(path) end,
  load = function() return d:load(path) end,
  batch = function() return gb.batch("memory"):execute(x) end,
  batch_once_more = function() return gb.batch("memory"):execute(x, { persistent = true }) end,
  batch_in_parts = function() return gb.batch("memory"):execute(x, { max_micro_batch = 1 }) end,
  pipeline = function() return gb.pipeline("memory"):batch_size(2):execute(x) end,
  plan = function() return gb.plan(K):launch("saxpy", 4, 1, "x", d, 4):run { x = x } end,
  plan_once_more = function() return plan:run { x = x } end,
  queue = function() return gb.queue() end,
  queued = function()
    return K.saxpy:run({ threads = 4, queue = assert(gb.queue()) }, 1, x, y, 4)
  end,
  kernels = function() return gb.kernels { name = "memory", source = source } end,
  reload = function() return K:reload() end,
}

-- What is said to have worked did.
local function check(name, value)
  if name ~= "pipeline" and not name:find("^batch") then return end
  local from = type(value) == "table" and 1 or 0
  for i = 0, 3 do spec.equal(value[from + i], 2 * x[i], name .. ": result") end
end

local failures = 0
for _, in_place in ipairs { true, false } do
  core.device_in_place(0, in_place)
  for name, fn in pairs(work) do
    -- the memory of a future itself is the business of turn.c
    local futures = name == "async" or name == "timeout"
    for _, account in ipairs { "tenant", "host", "gpu", not futures and "lua" or nil } do
      for n = 1, 60 do
        for i = 0, 3 do x[i] = n + i end -- or what an earlier run left would do
        fail_at(account, n)
        local ok, value, message, code = pcall(fn)
        local reached = fail_at(account, 0)
        if not ok then
          spec.equal(tostring(value):find("memory", 1, true) ~= nil, true,
            name .. ": " .. tostring(value))
        elseif value == nil then
          spec.equal(code, "ENOMEM", ("%s, %s %d: %s"):format(name, account, n, tostring(message)))
        else
          check(name, value)
        end
        if name == "batch_in_parts" then -- what one failure stops is tried again
          spec.equal(ok and value ~= nil, true, ("%s, %s %d: %s"):format(name, account, n,
            tostring(message)))
        end
        if not ok or value == nil then failures = failures + 1 end
        if not reached then break end
      end
      local value, message = fn()
      if not value then error(name .. " afterwards: " .. message) end
    end
  end
end
core.device_in_place(0, true)
print(failures .. " failures were met")
spec.done()
