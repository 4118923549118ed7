-- The nearest known name, for messages about unknown ones.
local core = require "gb.core"

local M = {}

-- Edit distance with neighbours swapped counted as one (Damerau 1964, the restricted form), or
-- limit + 1.
local function distance(a, b, limit)
  if math.abs(#a - #b) > limit then return limit + 1 end
  local before, row, last = {}, {}, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    last, before, row = before, row, last
    row[0] = i
    local ca = a:byte(i)
    for j = 1, #b do
      local cb = b:byte(j)
      local best = math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (ca == cb and 0 or 1))
      if i > 1 and j > 1 and ca == b:byte(j - 1) and a:byte(i - 1) == cb then
        best = math.min(best, last[j - 2] + 1)
      end
      row[j] = best
    end
  end
  return row[#b]
end

--- The name of the list that is nearest to the given one, or nil when none is near (at most so many
--- changes away).
function M.nearest(name, names, limit)
  name = tostring(name)
  limit = limit or math.max(1, math.min(3, math.ceil(#name / 3)))
  local best, best_distance = nil, limit + 1
  for _, known in ipairs(names) do
    local d = distance(name:lower(), known:lower(), limit)
    if d < best_distance then best, best_distance = known, d end
  end
  return best
end

--- "no method 'x'; did you mean 'y'?" or the list of all when none is near.
function M.unknown(what, name, names)
  local near = M.nearest(name, names)
  if near then return ("unknown %s '%s'; did you mean '%s'?"):format(what, tostring(name), near) end
  table.sort(names)
  if #names == 0 then return ("unknown %s '%s'; there are none"):format(what, tostring(name)) end
  return ("unknown %s '%s'; known: %s"):format(what, tostring(name), table.concat(names, ", "))
end

--- The __index of an object: its methods; other names raise at the user's line.
function M.methods(what, methods)
  return setmetatable(methods, { __index = function(_, name)
    if type(name) == "string" then
      local known = {}
      for own, value in pairs(methods) do
        if type(value) == "function" then known[#known + 1] = own end
      end
      table.sort(known) -- of several that are as near the same one is named each time
      error(M.unknown(what .. " method", name, known), 2)
    end
  end })
end

--- The keys of a table that are strings, sorted.
function M.keys(t)
  local names = {}
  for name in pairs(t) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- Raises at the user's line when an options table has a field that is not known. No table at all
--- is fine unless it must be there.
function M.check_options(what, options, known, must)
  if options == nil and must ~= true then return end
  if type(options) ~= "table" then
    core.raise(("%s takes a table of options, got %s"):format(what, type(options)))
  end
  for name in pairs(options) do
    if not known[name] then
      core.raise(M.unknown("option", name, M.keys(known)) .. " (" .. what .. ")")
    end
  end
end

return M
