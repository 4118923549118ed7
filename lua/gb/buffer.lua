-- Device buffers, queues and devices as users see them. Types and ranges are checked here; gpu.c
-- does the rest.
local core = require "gb.core"
local near = require "gb.near"
local types = require "gb.types"
local array = require "gb.array"

local M = {}
local floor = math.floor

-- ---- devices ----

--- A device index as users give it: a number, or a table of gb.devices(). nil: where the caller is.
local function device_index(value, level)
  if value == nil then return nil end
  if type(value) == "table" then value = rawget(value, "index") end
  if type(value) ~= "number" or floor(value) ~= value then
    error(("device is an index, got %s"):format(type(value) == "number" and types.show(value)
      or type(value)), level + 1)
  end
  local count = core.device_count()
  if value < 0 or value >= count then
    error(("there is no device %s: valid 0 .. %d"):format(types.show(value), count - 1), level + 1)
  end
  return value
end
M.device_index = device_index

local cpus

--- Which devices are cpu devices, by index; read once, for it does not change and the table of a
--- device costs a call to the driver.
function M.cpus()
  if cpus then return cpus end
  cpus = {}
  for i = 0, core.device_count() - 1 do cpus[i] = core.device_info(i).backend == "cpu" end
  return cpus
end

--- Where a launch from here would run.
function M.device() return core.device_info(nil, true) end

--- All devices; a cpu device is always the last. plain: without the figures of this moment, which
--- may take a millisecond.
function M.list(plain)
  local out = {}
  for i = 0, core.device_count() - 1 do out[i + 1] = core.device_info(i, not plain) end
  return out
end
function M.devices() return M.list() end

-- ---- queues ----

local queue_methods = {}
local queue_meta = core.queue_meta
queue_meta.__gb = "queue"
queue_meta.__index = setmetatable(queue_methods, {
  __index = function(_, name)
    error(near.unknown("queue method", name, near.keys(queue_methods)), 2)
  end,
})

local function open_queue(q, name)
  local device = core.queue_info(q)
  if device == nil then error(("call it as queue:%s(), with a colon"):format(name), 3) end
  if not device then error("the queue was closed", 3) end
  return q
end

--- Waits until everything that was queued has ended; true, or the first error of it.
function queue_methods:wait()
  open_queue(self, "wait")
  return core.queue_wait(self, false)
end

--- No more commands; what is queued still runs.
function queue_methods:close()
  if core.queue_info(self) == nil then error("call it as queue:close(), with a colon", 2) end
  core.queue_close(self)
  return true
end

function queue_meta.__tostring(q)
  local device = core.queue_info(q)
  return device and ("queue on device %d"):format(device) or "queue (closed)"
end

local priorities = { normal = true, high = true }

--- A queue of one's own: its commands run in order, and beside those of other queues. priority =
--- "high": before those of others that wait too (on GPUs where the driver has priorities).
function M.queue(options)
  near.check_options("gb.queue", options, { device = true, priority = true }, 2)
  local priority = options and options.priority or "normal"
  if not priorities[priority] then
    error(near.unknown("priority", priority, near.keys(priorities)), 2)
  end
  return core.queue_new(device_index(options and options.device, 2), priority == "high")
end

-- ---- buffers ----

local methods = {}
local meta = core.buffer_meta
meta.__gb = "buffer"
meta.__len = core.buffer_length
meta.__index = setmetatable(methods, {
  __index = function(_, name)
    if type(name) == "number" then
      error("a buffer lies on its device: download it into an array to read elements", 2)
    end
    error(near.unknown("buffer method", name, near.keys(methods)), 2)
  end,
})
function meta.__newindex()
  error("a buffer lies on its device: upload an array to change elements", 2)
end

function meta.__tostring(d)
  local count, type_id, device, kind, shared, dead = core.buffer_info(d)
  if dead then return ("buffer %s (%s)"):format(types.by_id[type_id].name, dead) end
  return ("buffer %s[%d] on device %d (%s%s)"):format(types.by_id[type_id].name, count, device,
    kind,
    shared and ", shared" or "")
end

-- A live buffer: count, type, device. write: it must not be shared. Called by a method, so level 3
-- is the user's line.
local function check(d, name, write)
  local count, type_id, device, _, shared, dead = core.buffer_info(d)
  if not count then error(("call it as buffer:%s(...), with a colon"):format(name), 3) end
  if dead then error(("%s: the buffer was %s"):format(name, dead), 3) end
  if write and shared then error(("%s: the buffer is shared read-only"):format(name), 3) end
  return count, types.by_id[type_id], device
end

local function whole(what, n, level)
  if types.wide(n) then n = tonumber(n) end
  if type(n) ~= "number" or floor(n) ~= n then
    error(("%s is an integer, got %s"):format(what, types.show(n)), level + 1)
  end
  return n
end

-- offset and count of a command on n elements; `most` is how many the other side has (nil: any
-- number)
local function range(n, options, most, level)
  local offset = options and options.offset or 0
  offset = whole("offset", offset, level + 1)
  if offset < 0 or offset > n then
    error(("offset %s is outside the buffer: valid 0 .. %d"):format(types.show(offset), n),
      level + 1)
  end
  local count = options and options.count
  count = count == nil and (most or n - offset) or whole("count", count, level + 1)
  if count < 0 or count > n - offset then
    error(("count %s from offset %d passes the end of the buffer: valid 0 .. %d"):format(
      types.show(count), offset, n - offset), level + 1)
  end
  if most and count > most then
    error(("count %s is more than the other side has: valid 0 .. %d"):format(types.show(count),
      most), level + 1)
  end
  return offset, count
end

local copy_options = { offset = true, count = true, async = true, queue = true }
local device_copy_options = { offset = true, count = true, from_offset = true, async = true,
  queue = true }

local function queue_option(options, device, level)
  local queue = options and options.queue
  if queue == nil then return nil end
  local index = core.queue_info(queue)
  if index == nil then
    error(("queue: expected gb.queue(), got %s"):format(type(queue)), level + 1)
  end
  if not index then error("queue: it was closed", level + 1) end
  if index ~= device then
    error(("queue: it is on device %d, the buffer on device %d"):format(index, device), level + 1)
  end
  return queue
end

-- the array of a copy: its own, or one made of a list
local function host_array(value, kind, name, level)
  if type(value) == "table" and name == "upload" then
    local a, message, code = array.from(kind, value, level + 1)
    return a, message, code
  end
  if not array.is_array(value) then
    error(("%s: expected %s array, got %s"):format(name, kind.name, core.is_buffer(value)
      and "buffer" or type(value)),
      level + 1)
  end
  if value.gb_block == nil then
    error(("%s: the array was freed or moved"):format(name), level + 1)
  end
  if value.gb_type ~= kind.id then
    error(("%s: expected %s array, got %s array"):format(name, kind.name,
      array.kind_of(value).name), level + 1)
  end
  return value
end

--- Copies an array (or list) into the buffer. Options: offset (in the buffer), count, queue, async
--- (gives a future).
function methods:upload(from, options)
  local n, kind, device = check(self, "upload", true)
  near.check_options("upload", options, copy_options, 2)
  local a, message, code = host_array(from, kind, "upload", 2)
  if not a then return nil, message, code end
  local offset, count = range(n, options, #a, 2)
  local queue = queue_option(options, device, 2)
  return core.buffer_copy_host(self, a, true, offset * kind.size, count * kind.size,
    options and options.async, queue)
end

--- Copies the buffer into an array; without one, gives a fresh array. Options as for upload.
function methods:download(into, options)
  local n, kind, device = check(self, "download")
  near.check_options("download", options, copy_options, 2)
  local queue = queue_option(options, device, 2)
  if into == nil then
    if options and options.async then
      error("download with async = true needs an array to fill", 2)
    end
    local offset, count = range(n, options, nil, 2)
    local out, message, code = array.make(kind, count)
    if not out then return nil, message, code end
    local ok
    ok, message, code = core.buffer_copy_host(self, out, false, offset * kind.size,
      count * kind.size, false, queue)
    if not ok then return nil, message, code end
    return out
  end
  local a = host_array(into, kind, "download", 2)
  if a.gb_block.frozen ~= 0 then error("download: the array is frozen: it is read-only", 2) end
  local offset, count = range(n, options, #a, 2)
  return core.buffer_copy_host(self, a, false, offset * kind.size, count * kind.size,
    options and options.async, queue)
end

--- Copies from another buffer of the same type. Options: offset, from_offset, count, queue, async.
function methods:copy_from(other, options)
  local n, kind, device = check(self, "copy_from", true)
  near.check_options("copy_from", options, device_copy_options, 2)
  local other_n, other_type, other_device, _, _, dead = core.buffer_info(other)
  if not other_n then error(("copy_from: expected a buffer, got %s"):format(type(other)), 2) end
  if dead then error(("copy_from: the buffer was %s"):format(dead), 2) end
  if other_type ~= kind.id then
    error(("copy_from: expected %s buffer, got %s buffer"):format(kind.name,
      types.by_id[other_type].name), 2)
  end
  local start = whole("from_offset", options and options.from_offset or 0, 2)
  if start < 0 or start > other_n then
    error(("from_offset %s is outside the other buffer: valid 0 .. %d"):format(types.show(start),
      other_n), 2)
  end
  local offset, count = range(n, options, other_n - start, 2)
  local queue = queue_option(options, device, 2)
  if device == other_device or core.device_info(device).backend
    == core.device_info(other_device).backend then
    return core.buffer_copy(self, offset * kind.size, other, start * kind.size, count * kind.size,
      options and options.async, queue)
  end
  -- Between a GPU and a cpu device through the host.
  local between, message, code = array.make(kind, count)
  if not between then return nil, message, code end
  local ok
  ok, message, code = core.buffer_copy_host(other, between, false, start * kind.size,
    count * kind.size)
  if not ok then return nil, message, code end
  return core.buffer_copy_host(self, between, true, offset * kind.size, count * kind.size,
    options and options.async, queue)
end

--- Sets every element, or those of offset and count.
function methods:fill(value, options)
  local n, kind, device = check(self, "fill", true)
  near.check_options("fill", options, copy_options, 2)
  local good, why = kind.set(value)
  if why then error(why, 2) end
  local offset, count = range(n, options, nil, 2)
  local queue = queue_option(options, device, 2)
  local one, message, code = array.make(kind, 1)
  if not one then return nil, message, code end
  one[0] = good
  return core.buffer_fill(self, one, offset * kind.size, count, options and options.async, queue)
end

local file_options = { offset = true, count = true, from = true, async = true }

-- What load and save have in common: the options, and the bytes of the range.
local function file(self, name, n, kind, path, options)
  if type(path) ~= "string" or path == "" or path:find("%z") then
    error(("%s takes the path of a file, got %s"):format(name, type(path) == "string"
      and ("%q"):format(path) or type(path)), 3)
  end
  near.check_options(name, options, file_options, 3)
  local from = options and options.from
  if from ~= nil and name == "save" then
    error("save writes a whole file: from is an option of load", 3)
  end
  from = whole("from", from or 0, 3)
  if from < 0 or from > 2 ^ 53 then
    error(("from is a byte of the file, got %s"):format(types.show(from)), 3)
  end
  local offset, count = range(n, options, nil, 3)
  local ok, message, code = core.buffer_settle(self)
  if not ok then return nil, message, code end
  return core.buffer_file(self, name == "save", path, offset * kind.size, count * kind.size, from,
    options and options.async)
end

--- Reads a file into the buffer, past the host's caches where the system can. Options: offset and
--- count (in the buffer), from (the first byte in the file: 0), async. What was queued by the
--- caller on the device ends first. The file must have as many bytes and must not change meanwhile.
function methods:load(path, options)
  local n, kind = check(self, "load", true)
  local ok, message, code = file(self, "load", n, kind, path, options)
  return ok, message, code
end

--- Writes a file with the elements of the buffer (or those of offset and count), all or nothing.
function methods:save(path, options)
  local n, kind = check(self, "save")
  local ok, message, code = file(self, "save", n, kind, path, options)
  return ok, message, code
end

--- A read-only handle on the same memory, which may be passed to other grains.
function methods:share()
  check(self, "share")
  return core.buffer_share(self)
end

--- Lets go now; the memory goes with its last holder and the last command that uses it.
function methods:free()
  if not core.is_buffer(self) then error("call it as buffer:free(), with a colon", 2) end
  if not core.buffer_free(self) then
    error("free: the buffer is the state of a resident grain and goes with it", 2)
  end
  return true
end

--- The element type: a name, or for structs the member of K.types.
function methods:type()
  local _, kind = check(self, "type")
  return kind.id >= 64 and kind or kind.name
end

--- The index of its device.
function methods:device()
  local _, _, device = check(self, "device")
  return device
end

local kinds = { device = true, pinned = true, unified = true }

--- gb.buffer(type, count | list | array [, { device =, kind = "device" | "pinned" | "unified" }]):
--- zeroed, or with the elements of a list. nil, message, code when there is no memory.
function M.buffer(type_name, what, options)
  local kind = types.check(type_name, 2)
  near.check_options("gb.buffer", options, { device = true, kind = true }, 2)
  local where = options and options.kind or "device"
  if not kinds[where] then error(near.unknown("kind of buffer", where, near.keys(kinds)), 2) end
  local device = device_index(options and options.device, 2)
  if types.wide(what) then what = tonumber(what) end
  local from, count, message, code
  if type(what) == "number" then
    count = what
    if floor(count) ~= count or count < 0 or count - count ~= 0 then
      error(("the count of a buffer is an integer from 0, got %s"):format(types.show(count)), 2)
    end
  elseif type(what) == "table" then
    from, message, code = array.from(kind, what, 2)
    if not from then return nil, message, code end
  elseif array.is_array(what) then
    from = host_array(what, kind, "gb.buffer", 2)
  else
    error(("gb.buffer takes a count, a list or an array, got %s"):format(type(what)), 2)
  end
  count = count or #from
  local d
  local raw = from ~= nil -- it is filled at once
  d, message, code = core.buffer_new(kind.id, kind.size * count, count, device, where, nil, raw)
  if code == "ENOMEM" and where ~= "pinned" then -- others may lie there that can go
    d, message, code = require("gb.resident").with_room(device or core.device_here(),
      kind.size * count, 0, core.buffer_new, kind.id, kind.size * count, count, device, where, nil,
      raw)
  end
  if not d then return nil, message, code end
  if from and count > 0 then
    local ok
    ok, message, code = core.buffer_copy_host(d, from, true, 0, count * kind.size)
    if not ok then return nil, message, code end
  end
  return d
end

M.new = M.buffer

return M
