-- Which grains of this worker do what: for gbrun inspect and gbrun grains --sort.
local core = require "gb.core"
local weigh = require "gb.weigh"

local M = {}

local VALUES_ALL, VALUES_ONE = 2000, 1000000 -- looked at to weigh one of many grains, or the one

local function weighed(act, values_max)
  act.bytes, act.more = weigh(act.self, values_max)
  act.self = nil
  act.memory = act.bytes + act.device_bytes
  return act
end

--- The activations of one grain here: a list, mostly of none.
function M.inspect(type_name, key)
  local list = core.inspect(type_name, key)
  for _, act in ipairs(list) do
    local meta = getmetatable(act.self)
    act.tenant = meta and meta.__gb_options.tenant
    weighed(act, VALUES_ONE)
  end
  return list
end

local worth = {
  calls = function(act) return act.calls end,
  queue = function(act) return act.queued end,
  p99 = function(act) return act.p99 or 0 end,
  bytes = function(act) return act.memory end,
}

--- The first `limit` of a list that counts for any, the most first.
function M.most(list, order, limit)
  local value = worth[order]
  table.sort(list, function(a, b)
    local x, y = value(a), value(b)
    if x ~= y then return x > y end
    if a.type ~= b.type then return a.type < b.type end
    return tostring(a.key) < tostring(b.key)
  end)
  for i = #list, limit + 1, -1 do list[i] = nil end
  return list
end

--- The busiest grains of this worker. Turns run between its looks at a thousand places each: with a
--- million grains it takes a while, and holds nobody up.
function M.busiest(order, limit, type_name)
  local best, least, chunk = {}, 0, 0
  while true do
    local some = core.busiest(chunk, order, least, type_name)
    if not some then break end
    for _, act in ipairs(some) do
      if order == "bytes" then weighed(act, VALUES_ALL) end
      best[#best + 1] = act
    end
    M.most(best, order, limit)
    if #best == limit then least = worth[order](best[limit]) end
    chunk = chunk + 1
    core.sleep(0)
  end
  for _, act in ipairs(best) do
    if act.self then weighed(act, VALUES_ALL) end
  end
  return best
end

return M
