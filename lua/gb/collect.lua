-- Items of many turns gathered into batches of one kernel: gb.batch(id):call(item), where each
-- caller waits for its own result, and streams (stream.lua). A group is run when it is full, when
-- its first item has waited for the delay, or, where nobody has set one, as soon as nobody is left
-- who could bring more; it runs in a turn of the worker itself, so it outlives the grain that began
-- it. An item is copied into its group at once; all callers of a group wait for one future.
local ffi = require "ffi"
local core = require "gb.core"
local array = require "gb.array"
local catalog = require "gb.catalog"
local grain = require "gb.grain"
local ref = require "gb.ref"
local put = require("gb.batch_items").put

local M = {}
local await_future = core.await

local CALL_SIZE, CALL_DELAY = 1000, 0.001
local FIRST_ROOM = 128 -- items; grows to the size of the group

local groups, last_group = {}, 0 -- those under way, by number, for the worker's turns

local function worker(timeout)
  return ref.make("$worker" .. core.place().worker, 0):with { timeout = timeout }
end

-- ---- the worker's turn ----

-- Results of one element as a list, which costs less to read than an array. The list is the next
-- group's when all of this one are taken.
local function take_results(group, out, failed)
  local side, owner = group.found.layout.result, group.owner
  group.per, group.values, group.left = side.count, out, group.n
  if side.count == 1 and not side.kind.fields then
    local list = owner.list or {}
    owner.list = false
    for i = 1, group.n do list[i] = out[i - 1] end
    group.list = list
  end
  for _, one in ipairs(failed) do
    group.failed = group.failed or {}
    for at = one.first, one.last do group.failed[at] = one end
  end
end

-- Waits for more items. Eager: what comes while another group runs shares one launch; after that,
-- when two passes of the worker bring none (one, and turns that its mail began), whoever could
-- bring more waits itself.
local function gather(owner, group)
  if not owner.eager or owner.launched and not owner.launched:done() then
    core.await(group.full, owner.delay)
  end
  if not owner.eager then return end
  local last, quiet, late = group.n, 0, core.monotonic() + owner.delay
  while owner.open == group and quiet < 2 and core.monotonic() < late do
    core.sleep(0)
    quiet = group.n == last and quiet + 1 or 0
    last = group.n
  end
end

-- The items of a group, in one launch.
local function launch(owner, group)
  owner.launched = group.done
  local out, failed, code = require("gb.batch").run(owner.entry,
    group.items:view(0, group.n * group.side.count), owner.hints)
  if owner.eager and owner.open then core.cancel(owner.open.full) end -- it waits for this one
  return out, failed, code
end

--- Runs a group once it has gathered its items.
function M.run(number)
  local group = groups[number]
  if not group then return nil, "the batch is gone", "ECANCELED" end
  local owner = group.owner
  core.work_for(owner.tenant)
  if owner.open == group then gather(owner, group) end
  if owner.open == group then owner.open = false end
  groups[number] = nil
  local out, failed, code = launch(owner, group)
  if not out then return nil, failed, code == nil and "EINVAL" or code end
  take_results(group, out, failed)
  owner.spare = group.items -- nothing runs on it any more
  return true
end

-- ---- groups ----

--- Whose groups they are: { entry, hints, size, delay, eager, tenant }, which this module adds to.
function M.owner(of)
  of.open, of.launched = false, false -- the group that takes items; of the last that ran, its end
  of.spare, of.list, of.turns = false, false, false -- kept for the next group
  return of
end

-- Memory for the items of a group: what the last one used, when it is large enough to begin with.
local function items_of(owner, side)
  local spare = owner.spare
  owner.spare = false
  if spare and array.kind_of(spare) == side.kind and #spare >= side.count then return spare end
  return array.make(side.kind, math.min(owner.size, FIRST_ROOM) * side.count)
end

-- The group that takes the next item; nil, message, code.
local function open_group(owner)
  local found, message, code = catalog.open(owner.entry)
  if not found then return nil, message, code end
  if owner.open then return owner.open end -- another turn was quicker while this one compiled
  local side = found.layout.item
  local items, why, why_code = items_of(owner, side)
  if not items then return nil, why, why_code end
  last_group = last_group + 1
  owner.turns = owner.turns or worker(owner.hints.timeout + owner.delay + 60)
  local group = { number = last_group, owner = owner, found = found, side = side, n = 0,
    items = items, room = math.floor(#items / side.count), full = core.promise(),
    done = owner.turns:async("collect_run", last_group), -- and later:
    failed = false, values = false, per = 0, list = false, left = 0 }
  groups[group.number] = group
  owner.open = group
  return group
end

-- Twice the room: true, or nil, message, code.
local function grow(group)
  local side, room = group.side, math.min(2 * group.room, math.max(group.owner.size, group.n + 1))
  local items, message, code = array.make(side.kind, room * side.count)
  if not items then return nil, message, code end
  ffi.copy(items:pointer(), group.items:pointer(), group.n * side.count * side.kind.size)
  group.items:free()
  group.items, group.room = items, room
  return true
end

--- Takes no more items into a group: it runs.
function M.close(group)
  local owner = group.owner
  if owner.open ~= group then return end
  owner.open = false
  core.cancel(group.full)
end

-- The group and the item's place in it. What is no item keeps its place and fails alone.
local function add(owner, item)
  local group = owner.open
  if not group then
    local message, code
    group, message, code = open_group(owner)
    if not group then return nil, message, code end
  end
  local n = group.n
  if n == group.room then
    local ok, message, code = grow(group)
    if not ok then return nil, message, code end
  end
  local why = put(group.items, n, item, group.side)
  n = n + 1
  group.n = n
  if why then
    group.failed = group.failed or {}
    group.failed[n] = { message = why, code = "EINVAL" }
  end
  if n >= owner.size then M.close(group) end
  return group, n
end

-- Waits until the group has run: true, or nil, message, code.
local function await(group)
  if group.values then return true end
  local ok, message, code = await_future(group.done)
  if ok then return true end
  local owner = group.owner -- its turn may never have begun
  if owner.open == group then owner.open = false end
  groups[group.number] = nil
  return nil, message, code
end

local function result_at(group, at)
  local failed = group.failed and group.failed[at]
  if failed then return nil, failed.message, failed.code end
  local list = group.list
  if list then
    local left = group.left - 1
    group.left = left
    if left == 0 then group.owner.list = list end
    return list[at]
  end
  local values, per = group.values, group.per
  if per == 1 then return values[at - 1] end
  return values:view((at - 1) * per, per)
end

-- ---- calls that are coalesced ----

-- By the key of the entry, how its calls are gathered: { entry, hints, size, delay, eager, of =
-- whose groups, by tenant }.
local rules = {}

--- At most so many items, so many seconds after the first (nil: no longer than somebody may bring
--- more).
function M.tune(entry, hints, size, delay)
  local rule = rules[entry.key] or { entry = entry }
  rules[entry.key] = rule
  rule.hints, rule.size, rule.delay, rule.eager = hints, size, delay or CALL_DELAY, not delay
  rule.of = { [0] = false }
end

--- The rule of an entry, from now on.
function M.rule(entry, check_hints)
  if not rules[entry.key] then M.tune(entry, check_hints(nil, 1), CALL_SIZE) end
  return rules[entry.key]
end

-- Items of one tenant share a group, which counts to it.
local function owner_of(rule, tenant)
  local owner = M.owner { entry = rule.entry, hints = rule.hints, size = rule.size,
    delay = rule.delay, eager = rule.eager, tenant = tenant }
  rule.of[tenant] = owner
  return owner
end

--- The result of one item, which runs in one launch with those that other turns ask for now.
function M.call(rule, item)
  local tenant = grain.tenants and core.tenant() or 0 -- a look from Lua costs less than the call
  local group, at, code = add(rule.of[tenant] or owner_of(rule, tenant), item)
  if not group then return nil, at, code end
  local ok, message
  ok, message, code = await(group)
  if not ok then return nil, message, code end
  return result_at(group, at)
end

-- ---- for streams ----

M.add, M.await, M.result_at = add, await, result_at

return M
