-- What the functions of gb.lib share: a job is one call of one function. It takes arrays and
-- buffers as operands, borrows scratch memory, launches kernels, and turns what goes wrong into an
-- error at the user's line (misuse) or into nil, message, code (failure).
local core = require "gb.core"
local near = require "gb.near"
local types = require "gb.types"
local array = require "gb.array"
local buffer = require "gb.buffer"
local kernels = require "gb.kernels"

local M = { tile = 4096, lanes = 256 }

local MISUSE, FAILURE = {}, {}

-- Element types as CUDA C++ writes them.
M.c_names = { float = "float", double = "double", int8 = "signed char", uint8 = "unsigned char",
  int16 = "short", uint16 = "unsigned short", int32 = "int", uint32 = "unsigned int",
  int64 = "long long", uint64 = "unsigned long long" }
M.sum_names = { float = "double", double = "double", int8 = "int64", int16 = "int64",
  int32 = "int64", int64 = "int64", uint8 = "uint64", uint16 = "uint64", uint32 = "uint64",
  uint64 = "uint64" }
M.reals = { float = true, double = true }
M.numbers = {}
for name in pairs(M.c_names) do M.numbers[name] = true end

-- ---- kernels: one module per header and list of instances ----

local opened, device_opened = {}, {}
-- Headers that work differently on one thread per block: see kernels/base.cuh.
local two_ways = { reduce = true, scan = true, sort = true, select = true, histogram = true,
  matrix = true, lu = true, image = true, graph = true }

local function known_modules(unit)
  return M.device_layout and two_ways[unit] and device_opened or opened
end

--- The kernels of "gb/<unit>.cuh" for the instances, as a table by short name. instances: a list of
--- { short, template, argument... }, arguments being C++ text.
local function open(unit, key, instances)
  local names, shorts, modules = {}, {}, known_modules(unit)
  for i, one in ipairs(instances) do
    local arguments = table.concat(one, ",", 3)
    names[i] = arguments == "" and "gb::" .. one[2] or ("gb::%s<%s>"):format(one[2], arguments)
    shorts[i] = one[1]
  end
  -- not the header's own name: NVRTC would say that the header includes itself
  local module, message, code = kernels.kernels { name = "gb.lib." .. unit,
    source = ('#include "gb/%s.cuh"\n'):format(unit), instances = names,
    options = modules == device_opened and { "-DGB_DEVICE_LAYOUT=1" } or nil }
  if not module then return nil, message, code end
  local K = {}
  for i, name in ipairs(names) do K[shorts[i]] = module[name] end
  modules[key] = K
  return K
end

--- For the tests: the GPU's way of working on the cpu backend, with arrays copied to and fro.
function M.set_device_layout(on) M.device_layout = on or nil end

-- ---- scratch memory: kept between calls of a tenant, up to a bound ----

local kept, kept_bytes, KEPT_MAX = {}, 0, 64 * 2 ^ 20
local epochs = {} -- of the devices: what was made in an earlier one is lost

local function class_of(count)
  local size = 64
  while size < count do size = size * 2 end
  return size
end

local function take_scratch(type_name, count, device)
  local size, epoch = class_of(count), core.device_epoch(device)
  if epochs[device] ~= epoch then
    M.drop_scratch()
    epochs[device] = epoch
  end
  local key = type_name .. size .. ":" .. device .. "/" .. core.tenant()
  local list = kept[key]
  if list and #list > 0 then
    local found = table.remove(list)
    kept_bytes = kept_bytes - found.bytes
    return found
  end
  local d, message, code = buffer.buffer(type_name, size, { device = device })
  if not d then return nil, message, code end
  return { buffer = d, key = key, device = device, epoch = epoch,
    bytes = size * types.check(type_name).size }
end

local function give_scratch(one)
  if kept_bytes + one.bytes > KEPT_MAX or core.device_epoch(one.device) ~= one.epoch then
    one.buffer:free()
    return
  end
  kept[one.key] = kept[one.key] or {}
  table.insert(kept[one.key], one)
  kept_bytes = kept_bytes + one.bytes
end

--- Frees the scratch memory that is kept for later calls: how many bytes.
function M.drop_scratch()
  local bytes = kept_bytes
  for _, list in pairs(kept) do
    for _, one in ipairs(list) do one.buffer:free() end
  end
  kept, kept_bytes = {}, 0
  return bytes
end

function M.trim()
  M.drop_scratch()
  return true
end

-- ---- jobs ----

local Job = {}
Job.__index = Job

--- Wrong use: an error at the line that called gb.lib.
function Job.misuse(_, format, ...)
  error({ MISUSE, format:format(...) }, 0)
end

--- What a correct program may meet: gb.lib gives nil, message, code.
function Job.fail(_, message, code)
  error({ FAILURE, message, code }, 0)
end

function Job:check(value, message, code)
  if value == nil then self:fail(message, code) end
  return value
end

function Job:options(options, known)
  if options == nil then return {} end
  if type(options) ~= "table" then
    self:misuse("options are a table, got %s", type(options))
  end
  for name in pairs(options) do
    if not known[name] then self:misuse("%s", near.unknown("option", name, near.keys(known))) end
  end
  return options
end

--- A whole number from low to high.
function Job:whole(value, name, low, high)
  if types.wide(value) then value = tonumber(value) end
  if type(value) ~= "number" or value % 1 ~= 0 or value < low or value > (high or 2 ^ 31 - 1) then
    self:misuse("%s is an integer from %s to %.0f, got %s", name, low, high or 2 ^ 31 - 1,
      type(value) == "number" and types.show(value) or type(value))
  end
  return value
end

function Job:number(value, name)
  if type(value) ~= "number" then
    self:misuse("%s is a number, got %s", name, type(value))
  end
  return value
end

-- ---- operands ----

-- Where a job runs: on the device of its buffers, else on the caller's.
local function place(job, device)
  if job.device == nil then
    job.device = device
    -- where kernels work in host memory and a block is one thread
    job.serial = buffer.cpus()[device] and not M.device_layout
  elseif job.device ~= device then
    job:misuse("operands are on devices %d and %d", job.device, device)
  end
end

local function list_of(set)
  return table.concat(near.keys(set), ", ")
end

local function operand(job, value, name, allowed)
  local out = { value = value, name = name }
  if array.is_array(value) then
    if value.gb_block == nil then job:misuse("%s was freed or moved", name) end
    out.type, out.n = array.kind_of(value).name, #value
    out.frozen = value.gb_block.frozen ~= 0
  elseif core.is_buffer(value) then
    local count, type_id, device, _, shared, dead = core.buffer_info(value)
    if dead then job:misuse("%s was %s", name, dead) end
    out.type, out.n, out.device, out.frozen = types.by_id[type_id].name, count, device, shared
  else
    job:misuse("%s is an array or a buffer, got %s", name, type(value))
  end
  if not (allowed or M.numbers)[out.type] then
    job:misuse("%s has elements of %s; possible: %s", name, out.type, list_of(allowed or M.numbers))
  end
  if out.n > 2 ^ 31 - 2 ^ 17 then
    job:misuse("%s has %.0f elements, at most %.0f", name, out.n, 2 ^ 31 - 2 ^ 17)
  end
  if out.device then place(job, out.device) end
  return out
end

-- What kernels get: the buffer, or the array itself where the device works in host memory, else a
-- buffer that stands for it during the job. The device is known once all operands are.
local function bind(job, op, write)
  if op.memory then return op end
  if job.device == nil then place(job, core.device_here()) end
  op.memory = op.value
  if not op.device and not job.serial then
    local one = job:check(take_scratch(op.type, op.n, job.device))
    job.taken[#job.taken + 1] = one
    op.memory, op.write = one.buffer, write
    if op.n > 0 then job:check(op.memory:upload(op.value)) end
    job.staged[#job.staged + 1] = op
  end
  return op
end

--- Operands that are only read: input(value, name, allowed types).
function Job:input(value, name, allowed) return operand(self, value, name, allowed) end

--- An operand that is written in place.
function Job:target(value, name, allowed)
  local op = operand(self, value, name, allowed)
  if op.frozen then self:misuse("%s is read-only", name) end
  op.write = true
  return op
end

--- Where a result goes: the option `out`, checked for type and count, or something fresh: a buffer
--- when `like` is one, else an array.
function Job:output(given, like, type_name, n)
  if given ~= nil then
    local op = self:target(given, "out")
    if op.type ~= type_name then
      self:misuse("out has elements of %s, needed %s", op.type, type_name)
    end
    if op.n < n then self:misuse("out has %d elements, needed %.0f", op.n, n) end
    return bind(self, op, true)
  end
  local made
  if like.device then
    made = self:check(buffer.buffer(type_name, n, { device = like.device }))
  else
    made = self:check(array.array(type_name, n))
  end
  local op = operand(self, made, "out")
  op.write = true
  return bind(self, op, true)
end

--- Makes operands ready for kernels; call it once all are known.
function Job:bind(...)
  for i = 1, select("#", ...) do
    local op = select(i, ...)
    bind(self, op, op.write)
  end
end

--- Device memory for the time of this job; what is in it is undefined.
function Job:scratch(type_name, n)
  if self.device == nil then place(self, core.device_here()) end
  local one = self:check(take_scratch(type_name, n, self.device))
  self.taken[#self.taken + 1] = one
  return one.buffer
end

--- The first element of scratch memory, as gb arrays read it.
function Job:read(memory, type_name, offset)
  local one = self:check(array.array(type_name, 1))
  self:check(memory:download(one, { offset = offset, count = 1 }))
  local value = one[0]
  one:free()
  return value
end

-- ---- launches ----

--- The kernels of a header for some instances: see open().
function Job:kernels(unit, key, instances)
  local known = known_modules(unit)[key]
  if known then return known end
  return self:check(open(unit, key, type(instances) == "function" and instances() or instances))
end

--- One thread per element.
function Job:each(kernel, n, ...)
  if n > 0 then self:check(kernel:run(n, ...)) end
end

--- One block per tile: a block is one thread on the cpu backend.
function Job:blocks(kernel, count, ...)
  if count > 0 then
    self:check(kernel:run({ grid = count, block = self.serial and 1 or M.lanes }, ...))
  end
end

--- One thread per element on a GPU, one block per run of elements where a block is one thread.
function Job:runs(kernel, n, count, ...)
  if self.serial then self:blocks(kernel, count, ...) else self:each(kernel, n, ...) end
end

function Job:grid(kernel, x, y, ...)
  if x > 0 and y > 0 then
    self:check(kernel:run({ grid = { x, y }, block = self.serial and 1 or M.lanes }, ...))
  end
end

--- A kernel that copies elements of a type.
function M.copy_kernel(job, type_name)
  local list = { { "copy", "copy", M.c_names[type_name] } }
  return job:kernels("vector", "copy " .. type_name, list).copy
end

function M.tiles(n, size) return math.ceil(n / (size or M.tile)) end

-- ---- the way in and out ----

local function finish(job, ok, ...)
  if ok then
    for _, op in ipairs(job.staged) do
      if op.write and op.n > 0 then
        local done, message, code = op.memory:download(op.value, { count = op.n })
        if not done then return nil, message, code end
      end
    end
  end
  local problem = ...
  -- After a failure a kernel may still run: its scratch memory goes with the last command.
  if ok or type(problem) == "table" and problem[1] == MISUSE then
    for _, one in ipairs(job.taken) do give_scratch(one) end
  end
  if ok then return ... end
  if type(problem) == "table" and problem[1] == MISUSE then
    error(("gb.lib.%s: %s"):format(job.name, problem[2]), 2)
  elseif type(problem) == "table" and problem[1] == FAILURE then
    return nil, problem[2], problem[3]
  end
  error(problem, 0)
end

--- A function of gb.lib made of fn(job, ...).
function M.entry(name, fn)
  return function(...)
    local job = setmetatable({ name = name, taken = {}, staged = {} }, Job)
    return finish(job, pcall(fn, job, ...))
  end
end

--- The C++ text of a list of templates over one type: { { "sum_tiles", "sum_tiles", "float" } }.
function M.instances(names, ...)
  local out = {}
  for i, name in ipairs(names) do out[i] = { name, name, ... } end
  return out
end

return M
