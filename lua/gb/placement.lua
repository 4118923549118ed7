-- gb.gpu{ ... }: grains that want a device with room for them. The device is chosen when the grain
-- activates.
local near = require "gb.near"
local units = require "gb.units"

local M = {}

local meta = { __gb = "placement" }
local known = { memory = true, device = true, prefer_local = true, policy = true, required = true }
local policies = { score = true, affinity = true, balanced = true }
local chosen = {} -- grains of this worker that got each device, for "balanced"

function M.is(value) return type(value) == "table" and getmetatable(value) == meta end

--- A placement: memory (bytes or "512MB") that must be free, device (an index), policy "score" |
--- "affinity" | "balanced", required (no CPU instead of a GPU: ENOGPU), prefer_local.
function M.gpu(options)
  options = options or {}
  near.check_options("gb.gpu", options, known, 2)
  local policy = options.policy or "score"
  if not policies[policy] then error(near.unknown("policy", policy, near.keys(policies)), 2) end
  for _, name in ipairs { "required", "prefer_local" } do
    if options[name] ~= nil and type(options[name]) ~= "boolean" then
      error(("gb.gpu: %s is true or false, got %s"):format(name, type(options[name])), 2)
    end
  end
  local device = options.device
  if device ~= nil and (type(device) ~= "number" or device < 0 or device ~= math.floor(device)) then
    error("gb.gpu: device is the index of a device, from 0", 2)
  end
  return setmetatable({
    memory = options.memory and units.bytes(options.memory, "memory", 2) or 0,
    device = device, policy = policy, required = options.required or false,
    prefer_local = options.prefer_local or false,
  }, meta)
end

-- 0 .. 80: free memory, waiting work, and what kind of device it is.
local function score(device)
  return 40 * device.memory_free / device.memory_total + math.max(0, 30 - device.queue_depth / 10)
    + (device.backend == "cpu" and 5 or 10)
end

local function hash(text)
  local h = 5381
  for i = 1, #text do h = (h * 33 + text:byte(i)) % 2 ^ 31 end
  return h
end

local function pick(self, list, policy)
  if policy == "affinity" then return list[hash(self:id()) % #list + 1] end
  local best, best_value
  for _, device in ipairs(list) do
    local value = policy == "balanced" and -(chosen[device.index] or 0) or score(device)
    if not best or value > best_value then best, best_value = device, value end
  end
  return best
end

--- The device for a grain that activates. Fails with ENOGPU, EDEVICE, ELOST or ENOMEM.
function M.choose(self, placement)
  if not M.is(placement) then return require("gb.core").device_info() end
  local gb, buffer = require "gb", require "gb.buffer"
  local all = buffer.list(true)
  if placement.device then
    local device = all[placement.device + 1]
    if not device then
      gb.fail("EDEVICE", "%s asks for device %d; there are %d", self:id(), placement.device, #all)
    end
    if device.lost then
      gb.fail("ELOST", "%s asks for device %d, which is lost", self:id(), placement.device)
    end
    all = { device }
  end
  local gpus, usable, fitting = {}, {}, {}
  for _, device in ipairs(all) do
    if not device.lost then usable[#usable + 1] = device end
    if not device.lost and device.backend ~= "cpu" then gpus[#gpus + 1] = device end
  end
  if placement.required and #gpus == 0 then
    if #usable < #all then gb.fail("ELOST", "%s requires a GPU and all are lost", self:id()) end
    gb.fail("ENOGPU", "%s requires a GPU and there is none", self:id())
  end
  local among = #gpus > 0 and gpus or usable
  for _, device in ipairs(among) do
    if device.memory_free >= placement.memory then fitting[#fitting + 1] = device end
  end
  if #fitting == 0 and among == gpus and not placement.required then
    for _, device in ipairs(usable) do -- the CPU instead
      if device.memory_free >= placement.memory then fitting[#fitting + 1] = device end
    end
  end
  if #fitting == 0 then
    gb.fail("ENOMEM", "no device has %.0f MB free for %s", placement.memory / 2 ^ 20, self:id())
  end
  local device = pick(self, fitting, placement.policy)
  chosen[device.index] = (chosen[device.index] or 0) + 1
  return device
end

return M
