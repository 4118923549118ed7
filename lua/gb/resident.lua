-- gb.grain(name, { resident = { ... } }): state that lies in device memory while the grain is used.
-- self.resident.name is a buffer; its bytes are loaded at activation and written back when the
-- grain was idle, when others need the memory, and at deactivation. What was written back is kept
-- by the host (keep.c) for the next time, on whatever worker that is.
--
-- A group is the state of one activation. It moves (is loaded or written back) in a turn of its
-- own, and whoever needs it meanwhile waits. It is in use, and never evicted, while a turn of its
-- grain is under way or a handle or command beside its own holds one of its buffers.
local core = require "gb.core"
local fail = require "gb.fail"
local near = require "gb.near"
local ref = require "gb.ref"
local types = require "gb.types"
local units = require "gb.units"
require "gb.buffer" -- the methods of handles

local M = {}

local ALIGN = 256
local IDLE = "10m"
local HOLD_WAIT = 1 -- seconds that a deactivation waits for commands on its buffers
local LATE = 0.01 -- seconds, or of the idle time: a timer that is later had a turn before it
local ROUNDS = 1000 -- evictions for one allocation
-- Seconds that a load waits for groups that are in use while none of them comes or goes.
local ROOM_WAIT, ROOM_LOOK = 5, 1e-3
local MOST = 32 -- buffers of one grain

local place = core.place()

local counts = { loads = 0, reloads = 0, evictions = 0, evictions_idle = 0, losses = 0,
  bytes_loaded = 0, bytes_saved = 0 }

-- ---- where bytes stay that are not on a device ----

-- The one door to them. A store that is durable needs no more than these.
local keeper = {
  --- An array of so many bytes to write into; nil, message, code.
  room = function(bytes) return core.keep_room(bytes) end,
  --- Takes the array over, all of it or nothing: true, or nil, message, code.
  save = function(id, layout, bytes) return core.keep_put(id, layout, bytes) end,
  --- The array (nil: none), its layout, were newer bytes lost; nothing when the id is not known.
  load = function(id) return core.keep_get(id) end,
  --- Notes that newer bytes were lost, or that this was told.
  mark = function(id, lost) return core.keep_lost(id, lost) end,
  clear = function(id) return core.keep_drop(id) end,
}

-- ---- what gb.grain takes ----

local kinds = { device = true, unified = true }

local function one(name, spec, level)
  local function bad(text, ...)
    error(("resident.%s: " .. text):format(name, ...), level + 3)
  end
  if not name:find("^[%a_][%w_]*$") or #name > 64 then
    bad("a name of letters, digits and _ is wanted, at most 64")
  end
  if type(spec) ~= "table" then
    bad("{ type = \"float\", count = 1000 } is wanted, got %s", type(spec))
  end
  near.check_options("resident." .. name, spec, { type = true, count = true, kind = true }, true)
  local ok, kind = pcall(types.check, spec.type, 1)
  if not ok then bad("%s", (kind:gsub("^[^ ]+%.lua:%d+: ", ""))) end
  local count = spec.count
  if type(count) ~= "number" or count % 1 ~= 0 or count < 1 or count > 2 ^ 50 then
    bad("count is an integer from 1, got %s", tostring(count))
  end
  local where = spec.kind or "device"
  if not kinds[where] then bad("%s", near.unknown("kind of buffer", where, near.keys(kinds))) end
  return { name = name, type = kind, count = count, kind = where, bytes = count * kind.size }
end

--- The option, checked: a list of buffers, how many bytes they take, their layout as a text.
function M.check(options, level)
  if type(options) ~= "table" then
    error(("resident is a table of buffers: { cells = { type = \"float\", count = 1000 } }, got %s")
      :format(type(options)), level + 1)
  end
  local spec = { list = {}, bytes = 0, idle = IDLE }
  local layout = {}
  for _, name in ipairs(near.keys(options)) do
    if name == "idle" and type(options.idle) ~= "table" then
      spec.idle = options.idle
    else
      local buffer = one(name, options[name], level)
      buffer.offset = spec.bytes
      spec.bytes = math.ceil((spec.bytes + buffer.bytes) / ALIGN) * ALIGN
      spec.list[#spec.list + 1] = buffer
      layout[#layout + 1] = ("%s %s[%.0f]"):format(name, buffer.type.name, buffer.count)
    end
  end
  if #spec.list == 0 then error("resident names no buffer", level + 1) end
  if #spec.list > MOST then
    error(("resident: at most %d buffers, got %d"):format(MOST, #spec.list), level + 1)
  end
  spec.idle = units.seconds(spec.idle, "resident.idle")
  spec.layout = table.concat(layout, ", ")
  return spec
end

-- ---- groups, by device, the last used first ----

local used = {} -- by device: the head of a ring
local moves = 0 -- how often memory of a group came or went

local function unlink(group)
  if not group.next then return end
  group.before.next, group.next.before = group.next, group.before
  group.next, group.before = nil, nil
end

local function touch(group)
  group.last = core.monotonic()
  local head = used[group.device]
  if head.next == group then return end
  unlink(group)
  group.next, group.before = head.next, head
  head.next.before, head.next = group, group
end

local function enlist(group)
  if not used[group.device] then
    local head = {}
    head.next, head.before = head, head
    used[group.device] = head
  end
  touch(group)
end

local function drop(group)
  unlink(group)
  if group.opened > 0 then moves = moves + 1 end
  group.loaded, group.opened = false, 0
  for _, handle in pairs(group.handles) do core.resident_close(handle) end
end

local function is_lost(group)
  for _, handle in pairs(group.handles) do
    if core.buffer_lost(handle) then return true end
  end
  return false
end

local function held(group)
  for _, handle in pairs(group.handles) do
    if core.buffer_holders(handle) > 1 then return true end
  end
  return false
end

local function moving(group) return group.move and not group.move:done() end

-- own: turns of the grain that ask for this themselves
local function in_use(group, own)
  return not group.loaded or moving(group) or (core.act_turns(group.act) or 0) > own or held(group)
end

-- ---- room on a device ----
-- What stands in the way is a device that is full, and then any group on it may go; or the cap of a
-- tenant, and then only groups of that tenant, wherever they lie.

-- Of this worker: the group that was used least recently of those that may go, or nil; the bytes of
-- these, and of those that are in use or being loaded.
local function look(device, tenant)
  local oldest, bytes, busy = nil, 0, 0
  for at, head in pairs(used) do
    local group = (tenant or at == device) and head.before or head
    while group ~= head do
      local may = not tenant or group.tenant == tenant
      if may and in_use(group, 0) then
        busy = busy + group.opened
      elseif may then
        bytes = bytes + group.opened
        if not oldest or group.last < oldest.last then oldest = group end
      end
      group = group.before
    end
  end
  return oldest, bytes, busy
end

--- What could go on this worker: when the oldest was used (false: none), the bytes of all, those of
--- groups that are in use or being loaded, and how often any came or went.
function M.oldest(device, tenant)
  local oldest, bytes, busy = look(device, tenant)
  return { last = oldest and oldest.last or false, bytes = bytes, busy = busy, moves = moves }
end

local evict

--- Evicts the one of this worker that was used least recently: were there any.
function M.evict(device, tenant)
  local oldest = look(device, tenant)
  return oldest and evict(oldest) or false
end

-- Was one evicted, or is there room by now; may there be room for so many bytes later: groups are
-- in use now; and the moves so far: what two looks with the same number say was so at one moment.
local function evict_somewhere(device, bytes, capped)
  local left = capped and core.tenant_left()
  if left and left >= bytes then return true, true end
  local tenant = capped and core.tenant() or nil
  local answers = place.workers == 1 and { M.oldest(device, tenant) }
    or require("gb.worker").ask_all("resident_oldest", device, tenant) or {}
  local free, busy, moved, at = core.device_info(device).memory_free, 0, 0, nil
  if tenant then free = left end
  for i, answer in ipairs(answers) do
    free, busy, moved = free + answer.bytes, busy + answer.busy, moved + answer.moves
    if answer.last and (not at or answer.last < answers[at].last) then at = i end
  end
  if not at or free < bytes then return false, free + busy >= bytes, moved end
  local gone
  if place.workers == 1 then
    gone = M.evict(device, tenant)
  else
    gone = ref.make("$worker" .. at - 1, 0):resident_evict(device, tenant)
  end
  return gone or false, true, moved
end

--- open(...), which allocates so many bytes on a device: when there is no memory, what gb.lib keeps
--- for later goes, and groups are evicted until there is some, or none is left that may go. open
--- says itself whether the tenant's cap refused it (a value behind the code): by the time that
--- anybody looks, another worker may have made room below the cap. wait: groups that are in use are
--- waited for, until none came or went for so long.
function M.with_room(device, bytes, wait, open, ...)
  local value, message, code, capped = open(...)
  local rounds, collected, before, until_ = 0, false, nil, nil
  local lib = package.loaded["gb.lib_core"]
  if value == nil and code == "ENOMEM" and lib and lib.drop_scratch() > 0 then
    value, message, code, capped = open(...)
  end
  while value == nil and code == "ENOMEM" and rounds < ROUNDS do
    local gone, later, moved = evict_somewhere(device, bytes, capped)
    local now, calm = core.monotonic(), moved == before
    if not calm then before, until_ = moved, now + wait end
    if gone then
      rounds = rounds + 1
    elseif not collected then
      collectgarbage() -- handles that nobody has any more
      collected = true
    elseif wait > 0 and (not calm or later and now < until_) then
      core.sleep(ROOM_LOOK)
    else
      break
    end
    value, message, code, capped = open(...)
  end
  return value, message, code
end

-- ---- loading and writing back ----

local function open_handles(group)
  enlist(group) -- others are to know what it holds
  for _, buffer in ipairs(group.spec.list) do
    local ok, message, code = M.with_room(group.device, buffer.bytes, ROOM_WAIT,
      core.resident_open, group.handles[buffer.name], buffer.bytes, group.device, buffer.kind)
    if not ok then return nil, message, code end
    group.opened, moves = group.opened + buffer.bytes, moves + 1
  end
  return true
end

local function fill(group, saved)
  for _, buffer in ipairs(group.spec.list) do
    local ok, message, code = core.buffer_copy_host(group.handles[buffer.name],
      saved:view(buffer.offset, buffer.bytes), true, 0, buffer.bytes)
    if not ok then return nil, message, code end
  end
  counts.bytes_loaded = counts.bytes_loaded + group.spec.bytes
  return true
end

-- Devices to try: the grain's own; when that is lost, the others.
local function candidates(group)
  local out = { group.device }
  if group.fixed then return out end
  for i = 0, core.device_count() - 1 do
    local gpu = core.device_info(i).backend ~= "cpu"
    if i ~= group.device and (gpu or not group.gpu_only) then out[#out + 1] = i end
  end
  return out
end

local function open_somewhere(group)
  local ok, message, code
  for _, device in ipairs(candidates(group)) do
    group.device = device
    ok, message, code = open_handles(group)
    if ok then
      rawset(group.self, "device", core.device_info(device))
      return true
    end
    drop(group)
    if code ~= "ELOST" then return nil, message, code end
  end
  return nil, message, code
end

local function arm(group, after)
  if not group.armed then
    group.armed = core.self_timer(group.self, "_gb_resident_idle", after, 0) ~= nil
    group.due = core.monotonic() + after
  end
end

local function load(group)
  drop(group) -- of a load that was cut off
  local saved, layout, lost = keeper.load(group.id)
  if saved and layout ~= group.spec.layout then
    return nil, ("%s was kept as %s and is now %s: gb.resident.forget(ref) drops what was kept")
      :format(group.name, layout, group.spec.layout), "ECONFLICT"
  end
  local ok, message, code = open_somewhere(group)
  if ok and saved then ok, message, code = fill(group, saved) end
  if not ok then
    drop(group)
    return nil, message, code
  end
  group.loaded, group.lost = true, group.lost or lost
  touch(group)
  arm(group, group.spec.idle)
  return true
end

local function lose(group)
  drop(group)
  group.lost = true
  keeper.mark(group.id, true)
  counts.losses = counts.losses + 1
end

-- All of it or nothing.
local function write_back(group)
  local bytes, message, code = keeper.room(group.spec.bytes)
  if not bytes then return nil, message, code end
  for _, buffer in ipairs(group.spec.list) do
    local ok
    ok, message, code = core.buffer_copy_host(group.handles[buffer.name],
      bytes:view(buffer.offset, buffer.bytes), false, 0, buffer.bytes)
    if not ok then return nil, message, code end
  end
  local ok
  ok, message, code = keeper.save(group.id, group.spec.layout, bytes)
  if not ok then return nil, message, code end
  counts.bytes_saved = counts.bytes_saved + group.spec.bytes
  return true
end

-- In a turn of its own, so that several may wait for it and none that ends cuts it off.
local function move(group, fn)
  group.move = require("gb").spawn(fn, group)
  return group.move:await()
end

local function leave(group)
  local ok, message, code = write_back(group)
  if ok then
    drop(group)
    counts.evictions = counts.evictions + 1
  elseif code == "ELOST" then
    lose(group)
  end
  return ok, message, code
end

function evict(group)
  local ok, message = move(group, leave)
  if not ok then
    require("gb.log").warn("state could not be written back", { grain = group.name,
      error = message })
  end
  return ok or not group.loaded
end

-- What was lost is told once: to the hook, else as the failure of the turn that asks.
local function tell(group)
  group.lost = false
  keeper.mark(group.id, false)
  local hook = getmetatable(group.self).__gb_methods.on_lost
  if hook then return hook(group.self) end
  fail.raise("ELOST", "%s: its device was lost, and its state is as it was written back last "
    .. "(on_lost hears of this)", group.name)
end

local function ready(group)
  while not group.loaded do
    if moving(group) then
      group.move:await()
    else
      local ok, message, code = move(group, load)
      if not ok then fail.raise(code or "EDEVICE", "%s: %s", group.name, message) end
      counts.reloads = counts.reloads + 1
    end
  end
end

-- ---- self.resident ----

local meta = { __gb = "resident" }

function meta.__index(t, name)
  local group = rawget(t, 1)
  local handle = group.handles[name]
  if not handle then
    error(near.unknown("buffer of self.resident", name, near.keys(group.handles)), 2)
  end
  while moving(group) do group.move:await() end
  if group.loaded and core.buffer_lost(handle) then lose(group) end
  if not group.loaded then ready(group) end
  touch(group)
  if group.lost then tell(group) end
  return handle
end

function meta.__newindex()
  error("self.resident holds the grain's own buffers: upload to one, or fill it", 2)
end

-- ---- the life of a grain ----

-- What a text of C can hold.
local function plain(id) return (id:gsub("\\", "\\\\"):gsub("%z", "\\0")) end

local function open(self, spec, placement)
  local key, type_name = core.self_key(self)
  local wants = type(placement) == "table" and placement or {}
  local name = type_name .. "/" .. ref.key_text(key)
  local group = { self = self, act = rawget(self, "__act"), spec = spec, handles = {},
    name = name, id = plain(name), loaded = false, opened = 0, lost = false, armed = false,
    move = false, last = 0, tenant = core.tenant(), device = rawget(self, "device").index,
    fixed = wants.device ~= nil, gpu_only = wants.required }
  for _, buffer in ipairs(spec.list) do
    group.handles[buffer.name] = core.resident_handle(buffer.type.id, buffer.count)
  end
  rawset(self, "resident", setmetatable({ group }, meta))
  local ok, message, code = load(group)
  if not ok then fail.raise(code or "EDEVICE", "%s: %s", group.name, message) end
  counts.loads = counts.loads + 1
  return group
end

--- At activation, once self.device is known: fails it when there is no memory. Then the grain's own
--- hook.
function M.activate(self, spec, placement, hook)
  local group = open(self, spec, placement)
  if not hook then return end
  local ok, why = pcall(hook, self)
  if ok then return end
  drop(group) -- a failed activation has no other end
  error(why, 0)
end

local function group_of(self)
  local own = type(self) == "table" and rawget(self, "resident")
  return own and getmetatable(own) == meta and rawget(own, 1)
end

local function close(self)
  local group = group_of(self)
  if not group then return end
  while moving(group) do group.move:await() end
  if not group.loaded then return end
  local until_ = core.monotonic() + HOLD_WAIT
  while held(group) and core.monotonic() < until_ and not is_lost(group) do core.sleep(1e-3) end
  local ok, message, code = write_back(group)
  if not ok then
    lose(group)
    require("gb.log").error("state of a resident grain is lost", { grain = group.name,
      error = message, code = code })
  end
  drop(group)
end

--- At deactivation: the grain's own hook, then its state is written back, whatever the hook did.
function M.deactivate(self, reason, hook)
  local ok, why = true, nil
  if hook then ok, why = pcall(hook, self, reason) end
  close(self)
  if not ok then error(why, 0) end
end

--- A method of every resident grain: the timer's.
function M.idle(self)
  local group = group_of(self)
  group.armed = false
  if not group.loaded then return end
  local _, ended = core.act_turns(group.act)
  local now, idle = core.monotonic(), group.spec.idle
  if now - group.due > math.max(LATE, idle * LATE) then ended = now end -- it waited for a turn
  local left = math.max(group.last, ended or 0) + idle - now
  if left > 1e-6 then return arm(group, left) end
  if is_lost(group) then return lose(group) end
  if in_use(group, 1) or not evict(group) then
    touch(group)
    return arm(group, math.max(group.spec.idle, 1e-3))
  end
  counts.evictions_idle = counts.evictions_idle + 1
end

-- ---- gb.resident ----

--- For stats(): this worker's part.
function M.own_stats()
  local out = { grains = 0, bytes = 0 }
  for name, value in pairs(counts) do out[name] = value end
  for _, head in pairs(used) do
    local group = head.next
    while group ~= head do
      out.grains, out.bytes = out.grains + (group.loaded and 1 or 0), out.bytes + group.opened
      group = group.next
    end
  end
  return out
end

M.public = {}

--- Of the silo: grains and bytes on devices now, kept and kept_bytes in memory; since the start:
--- loads (at activation), reloads, evictions (evictions_idle of them for idleness), losses,
--- bytes_loaded, bytes_saved.
function M.public.stats()
  local answers, message, code = require("gb.worker").ask_all("resident_stats")
  if not answers then return nil, message, code end
  local out = {}
  for _, answer in ipairs(answers) do
    for name, value in pairs(answer) do out[name] = (out[name] or 0) + value end
  end
  out.kept, out.kept_bytes = core.keep_count()
  return out
end

--- Inside a grain: writes its state back now, and keeps it on the device. true, or nil, message,
--- code.
function M.public.save(self)
  local group = group_of(self)
  if not group then error("gb.resident.save takes the self of a resident grain", 2) end
  while moving(group) do group.move:await() end
  if not group.loaded then return true end
  return move(group, write_back)
end

--- Drops what is kept of a grain that is not active: true when there was something.
function M.public.forget(target)
  if not ref.is(target) then
    error("gb.resident.forget takes a reference (from gb.get), got " .. type(target), 2)
  end
  return keeper.clear(plain(target:id()))
end

return M
