-- One item of a batch in an array of items: what may be one, and how it gets there.
local ffi = require "ffi"
local array = require "gb.array"

local M = {}
local copy, fill, is_of = ffi.copy, ffi.fill, array.is_of

-- Puts a list or an element in its place: what is wrong with it, or nothing.
local function put_value(all, first, item, side)
  local per, set = side.count, side.kind.set
  if per == 1 then
    local good, why = set(item)
    if not why then all[first] = good end
    return why
  end
  local from = 1
  if array.is_array(item) then
    from = 0
  elseif type(item) ~= "table" then
    return ("an item is a list of %d, got %s"):format(per, type(item))
  end
  if #item ~= per then return ("an item has %d elements, not %d"):format(#item, per) end
  for k = 0, per - 1 do
    local good, why = set(item[from + k])
    if why then return why end
    all[first + k] = good
  end
end

--- Puts an item into an array of items at number `at`, from 0: why it cannot be one, or nothing.
--- Compiles for arrays of the kernel's own type.
function M.put(all, at, item, side)
  local per, kind = side.count, side.kind
  if per > 1 and is_of(kind, item) and item.gb_count == per and item.gb_block ~= nil then
    copy(all.gb_data + at * per, item.gb_data, per * kind.size)
    return nil
  end
  local why = put_value(all, at * per, item, side)
  if why then fill(all.gb_data + at * per, per * kind.size) end
  return why
end

return M
