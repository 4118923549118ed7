-- The memory and queues of a batch: how its items are cut into micro-batches, and the lanes that
-- these run on. A lane is one queue with, where kernels do not work in host memory, buffers for the
-- items and results of one micro-batch. All lanes of a batch are there before anything runs.
--
-- A run is batch.lua's: { found, hints, device, in_place, bytes = of one item and its result,
-- most = items of a micro-batch, tuner = of that size, or false }.
local core = require "gb.core"

local M = {}

local LANES = 4
local USABLE = 0.8 -- of the device's free memory, all micro-batches together

-- Items that a lane is to have room for: a size that is measured may double on the way.
local function room_of(run) return run.tuner and 2 * run.tuner.size or run.most end

-- Items in one micro-batch and how many run at once: all of them together fit the usable bytes.
local function cut(run, usable, n)
  if n <= run.most and n * run.bytes <= usable then return n, 1 end
  local lanes = math.min(LANES, math.floor(usable / run.bytes))
  local fit = math.max(1, math.floor(usable / lanes / run.bytes))
  if run.tuner then run.tuner:cap(fit) end
  return math.min(room_of(run), n, fit), lanes
end

-- The bytes that a batch may take of what the device and the tenant have left. When that is not
-- even one item's, state of resident grains that is not in use goes first.
local function usable_bytes(run)
  local device = run.device
  local function look()
    local free, whose = core.device_memory(device), "its %.0f free bytes"
    local left, tenant = core.tenant_left()
    if left and left < free then
      free, whose = left, "the %.0f that tenant '" .. tenant .. "' may still have"
    end
    if run.bytes <= USABLE * free then return USABLE * free end
    return nil, ("one item needs %.0f bytes on the device, and %.0f of " .. whose
      .. " may be used"):format(run.bytes, USABLE * free, free), "ENOMEM",
      left and run.bytes > USABLE * left
  end
  local usable = look()
  if usable then return usable end
  local message, code
  usable, message, code = require("gb.resident").with_room(device, run.bytes / USABLE, 0, look)
  return usable, message, code
end

local function free_lanes(lanes)
  for _, lane in ipairs(lanes) do
    if lane.queue then lane.queue:close() end
    for _, side in ipairs { "item", "result" } do
      if lane[side] then lane[side]:free() end
    end
  end
end

local function open_buffer(run, side, size, reserved)
  local kind, count = side.kind, size * side.count
  return core.buffer_new(kind.id, count * kind.size, count, run.device, "device", reserved)
end

-- One queue, and where kernels do not work in host memory its buffers. The caller frees lane.
local function open_lane(run, lane, size, reserved)
  local layout, message, code = run.found.layout
  lane.queue, message, code = core.queue_new(run.device, run.hints.high_priority)
  if not lane.queue then return nil, message, code end
  if run.in_place then return true end
  lane.item, message, code = open_buffer(run, layout.item, size, reserved)
  if lane.item and not layout.in_place then
    lane.result, message, code = open_buffer(run, layout.result, size, reserved)
  end
  if code then return nil, message, code end
  return true
end

-- All lanes out of one reservation, or none.
local function open_all(run, size, count)
  local lanes, reserved, ok, message, code = {}, nil, true, nil, nil
  if not run.in_place then
    reserved, message, code = core.reserve(run.device, size * count * run.bytes)
    if not reserved then return nil, message, code end
  end
  for i = 1, count do
    lanes[i] = {}
    ok, message, code = open_lane(run, lanes[i], size, reserved)
    if not ok then break end
  end
  if reserved then core.reserve_end(reserved) end -- the buffers have taken theirs
  if ok then return lanes end
  free_lanes(lanes)
  return nil, message, code
end

-- Everything is there before anything runs. Less memory than was said to be free (others may have
-- been quicker) makes smaller micro-batches.
local function open_lanes(run, n)
  local usable, message, code = math.huge
  if not run.in_place then
    usable, message, code = usable_bytes(run)
    if not usable then return nil, message, code end
  end
  local size, count = cut(run, usable, n)
  while true do
    local lanes
    lanes, message, code = open_all(run, size,
      math.min(count, math.ceil(n / math.min(size, run.most))))
    if lanes then return lanes, size end
    if code ~= "ENOMEM" or size == 1 and count == 1 then return nil, message, code end
    if size > 1 then size = math.floor(size / 2) else count = 1 end
  end
end

-- With persistent = true they are kept for the next batch of the same kernel and tenant on the
-- device.
local kept = {}

local function lanes_key(run)
  return ("%s\0%d %d%s"):format(run.entry.key, run.device, core.tenant(),
    run.hints.high_priority and "!" or "")
end

--- Lanes for n items, and how many of them one lane takes; nil, message, code.
function M.take(run, n)
  local key = lanes_key(run)
  local own = run.hints.persistent and kept[key]
  if own then kept[key] = nil end
  if own and (own.lanes[1].item and core.buffer_lost(own.lanes[1].item)
    or own.size * #own.lanes < math.min(n, run.most)
    or own.size > room_of(run) or own.found ~= run.found) then
    free_lanes(own.lanes)
    own = nil
  end
  if own then return own.lanes, own.size end
  return open_lanes(run, n)
end

--- The batch has ended; good: nothing of it is under way any more.
function M.give(run, lanes, size, good)
  if not run.hints.persistent or not good then return free_lanes(lanes) end
  local key = lanes_key(run)
  if kept[key] then free_lanes(kept[key].lanes) end
  kept[key] = { lanes = lanes, size = size, found = run.found }
end

return M
