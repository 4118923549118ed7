-- What gb offers of arrays and devices, in one table: gb.array, gb.move, gb.buffer, gb.queue, gb.device, gb.devices,
-- gb.kernels; and the names that come later, which say so.
local array = require "gb.array"
local buffer = require "gb.buffer"

local M = {
  array = array.array,
  move = array.move,
  buffer = buffer.buffer,
  queue = buffer.queue,
  device = buffer.device,
  devices = buffer.devices,
  kernels = require("gb.kernels").kernels,
}

local function later(name)
  return function() return nil, name .. " is not in this version yet", "ENOTYET" end
end

M.plan, M.batch, M.pipeline = later "gb.plan", later "gb.batch", later "gb.pipeline"
M.catalog = { register = later "gb.catalog.register" }

return M
