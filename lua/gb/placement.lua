-- gb.gpu{ ... }: grains that want a device with room for them; gb.label{ ... }: silos with labels.
-- In a cluster the silo is chosen first (src/cluster/place.h); the device is chosen when the grain
-- activates there.
local core = require "gb.core"
local faults = require "gb.faults"
local near = require "gb.near"
local units = require "gb.units"

local M = {}

local meta = { __gb = "placement" }
local pretend = core.place().pretend_gpus -- cpu devices count as GPUs
local known = { label = true, memory = true, device = true, prefer_local = true, policy = true,
  required = true }
local policies = { score = true, affinity = true, balanced = true }

-- "role=gpu,zone=a", as silos tell theirs.
local function labels_of(labels, what, level)
  if type(labels) ~= "table" or next(labels) == nil then
    error(what .. " takes a table of labels: { zone = \"a\" }", level + 1)
  end
  local list = {}
  for name, value in pairs(labels) do
    local good = type(name) == "string" and name:find("^[%w_.%-]+$")
      and (type(value) == "string" or type(value) == "number")
      and tostring(value):find("^[%w_.%-]+$")
    if not good then
      error(("%s: a label is a name and a value of letters, digits and _ . -, got %s = %s"):format(
        what, tostring(name), tostring(value)), level + 1)
    end
    list[#list + 1] = name .. "=" .. value
  end
  table.sort(list)
  return table.concat(list, ",")
end

--- A placement: any silo that has all of these labels.
function M.label(labels)
  return setmetatable({ labels = labels_of(labels, "gb.label", 2), any_device = true }, meta)
end

local sites = { score = 1, affinity = 2, balanced = 3 }

--- What the C half has to know of a placement to choose a silo.
function M.site(placement)
  if placement.any_device then return { labels = placement.labels } end
  return { site_code = sites[placement.policy], labels = placement.labels,
    prefer_local = placement.prefer_local, demand_gpu = placement.required,
    minimum_mb = math.ceil(placement.memory / 2 ^ 20) }
end

--- Does it want a device, or only a silo?
function M.has_device(value) return M.is(value) and not value.any_device end

function M.is(value) return type(value) == "table" and getmetatable(value) == meta end

--- A placement: memory (bytes or "512MB") that must be free, device (an index), policy "score" |
--- "affinity" | "balanced", required (no CPU instead of a GPU: ENOGPU); in a cluster: prefer_local
--- (the caller's silo when it has the room), label = { zone = "a" }.
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
    labels = options.label ~= nil and labels_of(options.label, "gb.gpu: label", 2) or nil,
  }, meta)
end

-- ---- who was placed where ----

local homes = setmetatable({}, { __mode = "k" }) -- the devices of this worker's placed grains

local function note(self, index)
  homes[self] = index
  core.device_claim(index, 1)
end

--- A grain that was placed is gone.
function M.release(self)
  if homes[self] then core.device_claim(homes[self], -1) end
  homes[self] = nil
end

--- The device is lost: its grains deactivate when their turns are over, and find another one with
--- the next call. Resident grains see to it themselves, for they have state to account for.
function M.leave(index)
  for self, home in pairs(homes) do
    if home == index and not getmetatable(self).__gb_resident then
      pcall(core.self_deactivate, self, true)
    end
  end
end

-- ---- choosing ----

local function hash(text)
  local h = 5381
  for i = 1, #text do h = (h * 33 + text:byte(i)) % 2 ^ 31 end
  return h
end

-- By which the best device is found. Affinity: each device draws a number from the grain's name, so
-- that only the grains of a device that goes or comes move. Balanced: the fewest grains of the
-- silo.
local rules = {
  score = function(_, device) return faults.score(device.index) or -1 end,
  affinity = function(self, device) return hash(self:id() .. "@" .. device.index) * 40503 % 65521
  end,
  balanced = function(_, device) return -core.device_claim(device.index, 0) end,
}

local function pick(self, list, policy)
  local best, best_value
  for _, device in ipairs(list) do
    local value = rules[policy](self, device)
    if not best or value > best_value then best, best_value = device, value end
  end
  return best
end

local function fail(...) return require("gb.fail").raise(...) end

-- What the placement allows and is in order, GPUs and all; raises what is missing.
local function usable_devices(self, placement, all)
  local function is_gpu(device) return pretend or device.backend ~= "cpu" end
  local gpus, usable, lost = {}, {}, false
  for _, device in ipairs(all) do
    if faults.usable(device.index) and not device.lost then
      usable[#usable + 1] = device
      if is_gpu(device) then gpus[#gpus + 1] = device end
    elseif is_gpu(device) then
      lost = true
    end
  end
  if placement.required and #gpus == 0 then
    if lost then
      fail("ELOST", "%s requires a GPU and all are lost or fail too often", self:id())
    end
    fail("ENOGPU", "%s requires a GPU and there is none", self:id())
  end
  return gpus, usable
end

local function with_room(list, memory)
  local out = {}
  for _, device in ipairs(list) do
    if device.memory_free >= memory then out[#out + 1] = device end
  end
  return out
end

--- The device for a grain that activates. Fails the activation with ENOGPU, EDEVICE, ELOST or
--- ENOMEM.
function M.choose(self, placement)
  if not M.has_device(placement) then return core.device_info() end
  local buffer = require "gb.buffer"
  local all = buffer.list(true)
  if placement.device then
    local device = all[placement.device + 1]
    if not device then
      fail("EDEVICE", "%s asks for device %d; there are %d (0 .. %d)", self:id(),
        placement.device, #all, #all - 1)
    end
    if not device.lost and faults.usable(device.index) then
      all = { device }
    elseif placement.required then
      fail("ELOST", "%s requires device %d, which is not in order", self:id(), placement.device)
    end
  end
  local gpus, usable = usable_devices(self, placement, all)
  local fitting = with_room(#gpus > 0 and gpus or usable, placement.memory)
  if #fitting == 0 and #gpus > 0 and not placement.required then
    fitting = with_room(usable, placement.memory) -- the CPU instead
  end
  if #fitting == 0 then
    fail("ENOMEM", "no device has %.0f MB free for %s", placement.memory / 2 ^ 20, self:id())
  end
  local device = pick(self, fitting, placement.policy)
  device.placed, device.required = true, placement.required
  note(self, device.index)
  return device
end

return M
