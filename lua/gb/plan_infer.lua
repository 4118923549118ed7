-- Plans: what every slot of a plan is for what a run binds, and which stages touch it. b holds what
-- is known so far: { state =, given =, device =, slots = by name, map_n = elements by stage }.
local core = require "gb.core"
local types = require "gb.types"
local array = require "gb.array"
local kernels = require "gb.kernels"
local lib = require "gb.lib_core"
local source = require "gb.plan_source"

local M = {}

local MISUSE, FAILURE = {}, {}
local COUNT_MAX = 2 ^ 31 - 2 ^ 17

function M.misuse(stage, format, ...)
  error({ MISUSE, ("%s: %s"):format(stage.text, format:format(...)) }, 0)
end

function M.check(value, message, code)
  if value == nil then error({ FAILURE, message, code }, 0) end
  return value
end

local misuse, check = M.misuse, M.check

-- ---- what the slots are ----

local function slot_of_value(name, value)
  local slot = { name = name, value = value, given = true, accesses = {} }
  if array.is_array(value) then
    slot.array, slot.kind, slot.n = true, array.kind_of(value), #value
  elseif core.is_buffer(value) then
    local count, type_id = core.buffer_info(value)
    slot.buffer, slot.kind, slot.n = true, types.by_id[type_id], count
  else
    slot.scalar = true
  end
  return slot
end

-- The slot of a stage, which must be there by now. access: nil, "read", "write" (all of it), "both"
local function use(b, stage, name, access)
  local slot = b.slots[name]
  if not slot then
    for i = stage.index + 1, #b.state.stages do
      local later = b.state.stages[i]
      if (later.into or later.to or (later.what == "map" or later.what == "make") and later.slot)
        == name then
        misuse(stage, "nothing binds '%s' yet: %s makes it, and comes later", name, later.text)
      end
    end
    misuse(stage, "nothing binds '%s': give it to run, or make it in an earlier stage", name)
  end
  if access then
    table.insert(slot.accesses, { stage = stage.index, read = access ~= "write",
      write = access ~= "read" })
  end
  return slot
end

local function memory(b, stage, name, access)
  local slot = use(b, stage, name, access)
  if slot.scalar then misuse(stage, "'%s' is a number, and an array is needed", name) end
  return slot
end

local function made(b, stage, name, kind, n, single)
  local slot = { name = name, kind = kind, n = n, single = single, accesses = {} }
  b.slots[name] = slot
  return use(b, stage, name, "write")
end

--- A number of a shape, which may be a slot.
function M.resolve(b, stage, value)
  if type(value) ~= "string" then return value end
  local slot = use(b, stage, value)
  if type(slot.value) ~= "number" then
    misuse(stage, "'%s' is part of a shape and must be a number", value)
  end
  return slot.value
end

local infer = {}

function infer.launch(b, stage)
  local kernel, args = stage.kernel, stage.args
  check(kernels.handle(kernel, b.device))
  local signature = kernel.signature
  if args.n ~= #signature then
    misuse(stage, "%s takes %d arguments after the shape, got %d", kernel.name, #signature, args.n)
  end
  for i, param in ipairs(signature) do
    local name = args[i].slot
    if name then
      local slot = use(b, stage, name, param.pointer and not param.const and "both" or "read")
      if slot.single and not param.pointer then
        misuse(stage, "argument %d '%s' is a number, and '%s' lies on the device", i + 1,
          param.name, name)
      end
    end
  end
end

-- Of arrays: double before float before the widest integers; a vector as it is.
local function wider(a, other)
  if not a then return other end
  local function rank(kind)
    if not lib.c_names[kind.name] then return 1000 end
    return (kind.name == "double" and 200 or kind.name == "float" and 100 or 0) + kind.size
  end
  return rank(other) > rank(a) and other or a
end

function infer.map(b, stage)
  local widest, n, of
  for _, one in ipairs(stage.names) do
    if not (one.upper and not b.slots[one.name]) then
      local slot = use(b, stage, one.name, "read")
      if not slot.scalar then
        if not source.c_name(slot.kind) then
          misuse(stage, "map works on numbers and vectors; '%s' has elements of %s", one.name,
            slot.kind.name)
        end
        widest = wider(widest, slot.kind)
        if not slot.single then
          if n and n ~= slot.n then
            misuse(stage, "'%s' has %.0f elements and '%s' has %.0f", of, n, slot.name, slot.n)
          end
          n, of = slot.n, slot.name
        end
      end
    end
  end
  local slot = b.slots[stage.slot]
  if slot then
    memory(b, stage, stage.slot, "write")
    if slot.single then misuse(stage, "'%s' is the result of a reduction", stage.slot) end
    if not source.c_name(slot.kind) then
      misuse(stage, "map works on numbers and vectors; '%s' has elements of %s", slot.name,
        slot.kind.name)
    end
    if stage.kind and stage.kind ~= slot.kind then
      misuse(stage, "'%s' has elements of %s, not %s", slot.name, slot.kind.name, stage.kind.name)
    end
    if n and n ~= slot.n then
      misuse(stage, "'%s' has %.0f elements and '%s' has %.0f", of, n, slot.name, slot.n)
    end
  elseif not n then
    misuse(stage, "the expression names no array, so '%s' has no size: make it first", stage.slot)
  else
    slot = made(b, stage, stage.slot, stage.kind or widest, n)
  end
  if slot.n > COUNT_MAX then
    misuse(stage, "'%s' has %.0f elements, at most %.0f", slot.name, slot.n, COUNT_MAX)
  end
  b.map_n[stage.index] = slot.n
end

function infer.reduce(b, stage)
  local slot = memory(b, stage, stage.slot, "read")
  local name = slot.kind.name
  if not lib.c_names[name] then
    misuse(stage, "'%s' has elements of %s; numbers can be reduced", slot.name, name)
  end
  if slot.n > COUNT_MAX then
    misuse(stage, "'%s' has %.0f elements, at most %.0f", slot.name, slot.n, COUNT_MAX)
  end
  if slot.n == 0 and stage.op ~= "sum" then misuse(stage, "the %s of nothing", stage.op) end
  if b.slots[stage.into] then
    misuse(stage, "'%s' is bound or made already; a reduction makes its result", stage.into)
  end
  local result = stage.op == "sum" and lib.sum_names[name] or stage.op:find "^arg" and "int32"
    or name
  made(b, stage, stage.into, types.check(result), 1, true)
end

function infer.download(b, stage)
  local slot = memory(b, stage, stage.slot, "read")
  if slot.single then misuse(stage, "'%s' is a number: run gives it anyway", slot.name) end
  slot.downloaded = stage.index
end

function infer.make(b, stage)
  if b.slots[stage.slot] then misuse(stage, "'%s' is bound or made already", stage.slot) end
  local n = M.resolve(b, stage, stage.count)
  if n % 1 ~= 0 or n < 0 or n > 2 ^ 53 then
    misuse(stage, "%s is no count of elements", tostring(n))
  end
  made(b, stage, stage.slot, stage.kind, n)
end

function infer.fill(b, stage)
  local slot = memory(b, stage, stage.slot, "write")
  slot.moved = true
  local _, why = slot.kind.set(stage.value)
  if why then misuse(stage, "%s", why) end
end

function infer.copy(b, stage)
  local from, to = memory(b, stage, stage.slot, "read"), b.slots[stage.to]
  if not to then
    made(b, stage, stage.to, from.kind, from.n)
  elseif memory(b, stage, stage.to, "write") and (to.kind ~= from.kind or to.n ~= from.n) then
    misuse(stage, "'%s' is %s[%.0f] and '%s' is %s[%.0f]", from.name, from.kind.name, from.n,
      to.name, to.kind.name, to.n)
  elseif to == from then
    misuse(stage, "'%s' is copied to itself", to.name)
  end
  b.slots[stage.to].moved = true
end

--- The slots of b. Misuse and failures are raised for M.protect.
function M.slots(b)
  for name, value in pairs(b.state.constants) do b.slots[name] = slot_of_value(name, value) end
  for name, value in pairs(b.given) do b.slots[name] = slot_of_value(name, value) end
  for _, stage in ipairs(b.state.stages) do infer[stage.what](b, stage) end
  for _, slot in pairs(b.slots) do
    local device = slot.buffer and select(3, core.buffer_info(slot.value))
    if device and device ~= b.device then
      misuse(b.state.stages[(slot.accesses[1] or { stage = 1 }).stage],
        "the buffer '%s' is on device %d, another one on device %d", slot.name, device, b.device)
    end
  end
end

--- Runs fn(b): true; false, message of a misuse; or nil, message, code of a failure.
function M.protect(fn, b)
  local ok, problem = pcall(fn, b)
  if ok then return true end
  if type(problem) == "table" and problem[1] == MISUSE then return false, problem[2] end
  if type(problem) == "table" and problem[1] == FAILURE then return nil, problem[2], problem[3] end
  error(problem, 0)
end

return M
