-- What is out of order in this worker: devices that are lost or fail too often, kernels that trap
-- too often. A launch that names no device goes to another one meanwhile; a kernel whose breaker is
-- open is refused. While all is in order nothing here runs: src/lua/fault.c counts, and calls
-- `ended` when something fails.
--
-- Whose fault it is. A trap and a run past its bound are the kernel's. So is a device lost by an
-- error that only a kernel makes: then the device is gone until it is reset, but its breaker hears
-- nothing of it, and the kernel is not carried on to the next GPU. EDEVICE and a device lost by
-- itself are the device's.
local core = require "gb.core"
local near = require "gb.near"
local log = require "gb.log"
local breaker = require "gb.breaker"
local buffer = require "gb.buffer"

local M = {}

local place = core.place()
local devices = {} -- by index, those that anything was ever said of
local kernels = {} -- by number
local defaults = {
  device = { ratio = 0.3, window = 60, min_calls = 5, open = 120 },
  kernel = { ratio = 0.5, window = 120, min_calls = 10, open = 60 },
}
local settings = { device = defaults.device, kernel = defaults.kernel }

-- Launches of this worker under way, its share of the silo's; 0: any number.
local function share(max_kernels)
  return max_kernels == 0 and 0 or math.max(1, math.ceil(max_kernels / place.workers))
end
local limit = share(place.max_kernels)
local waiting = {} -- promises of those that wait for room
local WINDOW_MAX = 300 -- seconds that fault.c keeps counts of launches for

local refresh

-- ---- numbers of kernels ----

local numbers, names, last_number = {}, {}, 0

--- The number of a kernel: equal for equal names and sources, from 1.
function M.number_of(spec, name)
  local by_source = numbers[spec.source] or {}
  numbers[spec.source] = by_source
  local label = spec.name .. ":" .. name
  if limit > 0 and last_number == 0 then refresh() end
  if not by_source[label] then
    last_number = last_number + 1
    by_source[label], names[last_number] = last_number, label
  end
  return by_source[label]
end

-- ---- states ----

function refresh()
  local alert = limit > 0
  for index, d in pairs(devices) do
    local avoid = d.breaker:state() ~= "closed"
    if avoid ~= d.avoided then
      core.device_avoid(index, avoid)
      d.avoided = avoid
    end
    alert = alert or avoid or d.lost ~= false
  end
  for _, k in pairs(kernels) do alert = alert or k.breaker:state() ~= "closed" end
  core.fault_alert(alert)
end

local function say(on_open)
  return function(own, from, to, why)
    if to == "open" then
      if from ~= "half_open" then
        log.warn(("%s fails too often: %s; it is left alone for %g s"):format(own.name, why,
          own.open_s), { state = to })
      end
      on_open(own, why)
    elseif to == "closed" and from ~= "closed" then
      log.info(own.name .. " is used again", { state = to })
    elseif to == "isolated" then
      log.warn(own.name .. " is isolated", { state = to })
    end
    refresh()
  end
end

-- To the other workers, when this turn is over.
local function tell_others(method, ...)
  if place.workers == 1 then return end
  core.spawn(function(...)
    local ref = require "gb.ref"
    for i = 0, place.workers - 1 do
      if i ~= place.worker then ref.make("$worker" .. i, 0):tell(method, ...) end
    end
  end, ...)
end

local function new_breaker(kind, own, name)
  local options = { name = name, on_change = say(function(_, why)
    if kind == "device" and not own.told then tell_others("device_trip", own.index, why) end
  end) }
  for field, value in pairs(settings[kind]) do options[field] = value end
  function options.calls(seconds)
    if kind == "device" then return core.device_launches(own.index, seconds) end
    return core.kernel_launches(own.number, seconds)
  end
  own.breaker, own.ticket = breaker.new(options), false
  return own
end

local function device_at(index)
  local d = devices[index]
  if d then return d end
  d = { index = index, lost = false, why = false, avoided = false, told = false,
    epoch = core.device_epoch(index),
    counts = { failures = 0, lost = 0, moved = 0 } }
  devices[index] = new_breaker("device", d, ("device %d"):format(index))
  return d
end

local function kernel_at(number)
  local k = kernels[number]
  if k then return k end
  k = { number = number, counts = { failures = 0 } }
  kernels[number] = new_breaker("kernel", k, ("kernel '%s'"):format(names[number]))
  return k
end

-- A result: of the trial, if one is under way. That a launch was made was counted where it was.
local function settle(own, good)
  if own.ticket then
    own.breaker:finish(own.ticket, good)
    own.ticket = false
  elseif not good then
    own.breaker:finish(own.breaker.epoch, false, 0)
  end
end

local function forget(own)
  if own.ticket then own.breaker:forget(own.ticket) end
  own.ticket = false
end

-- ---- devices that are lost, and come back ----

--- A device is lost: true when that is news. told: by another worker.
function M.lose(index, why, message, told)
  local d = device_at(index)
  if d.lost then return false end
  d.lost, d.epoch, d.why = why, core.device_epoch(index), message
  d.counts.lost = d.counts.lost + 1
  if not told then
    log.warn(("device %d is lost: %s"):format(index, message), { device = index, blame = why })
    tell_others("device_lost", index, why, message)
  end
  refresh()
  require("gb.placement").leave(index)
  return true
end

--- Another worker's breaker of the device opened.
function M.trip(index, why)
  local d = device_at(index)
  if d.breaker:state() ~= "closed" then return end
  d.told = true
  d.breaker:trip(why)
  d.told = false
end

local function look_again()
  for index, d in pairs(devices) do
    if d.lost and not core.device_info(index).lost then
      d.lost, d.why, d.epoch = false, false, core.device_epoch(index)
      log.info(("device %d is back"):format(index), { device = index })
      refresh()
    end
  end
end

--- May work be given to it: it is in order.
function M.usable(index)
  local d = devices[index]
  if not d then return true end
  if d.lost then look_again() end
  return not d.lost and d.breaker:state() == "closed"
end

-- ---- what has ended ----

local function cause(index, code)
  if code ~= "ELOST" then return nil end
  local info, d = core.device_info(index), device_at(index)
  if info.lost then return info.lost end
  return d.epoch ~= core.device_epoch(index) and info.blame or nil -- lost, and back already
end

local function blame(index, number, code, message)
  local lost = cause(index, code)
  local news = lost and M.lose(index, lost, message)
  local kernel = code == "ETRAP" or code == "ETIMEDOUT"
  if (lost == "kernel" or lost == "bound") and number > 0 then
    -- all that was under way ends so; the kernel is named
    local name = names[number]:match("([%w_]+)[^%w_]*$") or names[number]
    kernel = message:find("'" .. name, 1, true) ~= nil
  end
  return code == "EDEVICE" or news and lost == "device", kernel
end

-- What says nothing of the device or the kernel.
local void = { ECANCELED = true, EINVAL = true, ENOMEM = true, EQUOTA = true }

local function of_device(d, code, bad, launch)
  if bad then
    d.counts.failures = d.counts.failures + 1
    settle(d, false)
  elseif void[code] or code and d.lost then
    forget(d)
  elseif launch then
    settle(d, true) -- it ran, whatever the kernel made of it
  end
end

local function of_kernel(k, code, bad)
  if bad then
    k.counts.failures = k.counts.failures + 1
    settle(k, false)
  elseif code then
    forget(k) -- somebody else's fault
  else
    settle(k, true)
  end
end

core.fault_hook(function(index, number, code, message, launch)
  if #waiting > 0 and launch then core.cancel(table.remove(waiting, 1)) end
  local bad_device, bad_kernel = false, false
  if code then bad_device, bad_kernel = blame(index, number, code, message) end
  local d = bad_device and device_at(index) or devices[index]
  if d then of_device(d, code, bad_device, launch) end
  if number == 0 then return end
  local k = bad_kernel and kernel_at(number) or kernels[number]
  if k then of_kernel(k, code, bad_kernel) end
end)

-- ---- scores ----

--- How good a place a device is, 0 .. 100: free memory, waiting work, failures, kind; nil when it
--- is lost.
local function score_of(index)
  local score, d = core.device_score(index), devices[index]
  if not score or not d then return score end
  local stats = d.breaker:stats()
  return score - 20 * (stats.calls > 0 and stats.failures / stats.calls or 0)
end
M.score = score_of

local known_count
local function device_count() -- asking for the first time opens them
  known_count = known_count or core.device_count()
  return known_count
end
local function cpu_at(index) return buffer.cpus()[index] end

-- The best other device: a GPU, or a cpu device where the wanted one is a cpu device or the caller
-- takes that. tried (or nil): those that are out of question too.
local function instead_of(wanted, cpu_too, tried)
  local best, best_score
  for i = 0, device_count() - 1 do
    local cpu = cpu_at(i)
    local out = i == wanted or tried and tried[i]
    local score = not out and (not cpu or cpu_too or cpu_at(wanted)) and M.usable(i)
      and score_of(i)
    if score and cpu and not cpu_at(wanted) then score = score - 1000 end
    if score and (not best or score > best_score) then best, best_score = i, score end
  end
  return best
end

--- Where kernels can be compiled now, to learn their signatures: here, or on a device in order.
function M.home()
  local here = core.device_here()
  return M.usable(here) and here or instead_of(here, true) or here
end

--- Another device in order than that one and those tried; nil: there is none.
function M.elsewhere(index, tried) return instead_of(index, true, tried) end

-- ---- before a launch, while something is out of order ----

-- A grain that was placed with gb.gpu takes the CPU unless it required a GPU.
local function takes_cpu()
  local self = core.self()
  local device = self and rawget(self, "device")
  return device and device.placed and not device.required or false
end

local function target_of(wanted, fixed)
  local d = devices[wanted]
  if not d or not d.lost and d.breaker:state() == "closed" then return wanted end
  local message, code
  if not d.lost then
    d.ticket, message, code = d.breaker:begin()
    if d.ticket then return wanted end
    d.ticket = false
  end
  local other = not fixed and instead_of(wanted, takes_cpu())
  if not other then
    if d.lost then return wanted end -- the driver's own answer says it best
    return nil, message, code
  end
  d.counts.moved = d.counts.moved + 1
  return other
end

-- Room among the launches under way, in the order of those who ask.
local function await_room()
  while limit > 0 and core.launches() >= limit do
    local left = core.deadline() or 1
    if left <= 0 then
      return nil, ("%d launches are under way already"):format(limit), "EBUSY"
    end
    local promise = core.promise()
    waiting[#waiting + 1] = promise
    core.await(promise, math.min(left, 1))
    for i, one in ipairs(waiting) do
      if one == promise then table.remove(waiting, i) end
    end
    core.cancel(promise)
  end
  return true
end

--- Whether a launch may be made, and where: true; nil, message, code.
function M.admit(kernel, load_on, shape, ...)
  local ok, message, code = await_room()
  if not ok then return nil, message, code end
  look_again()
  local handle, k = kernel.gb_handle, kernels[kernel.gb_number]
  local wanted, fixed, in_grain = core.launch_where(handle, shape, ...)
  local queued = type(shape) == "table" and shape.queue ~= nil
  local ticket
  local own = in_grain and not queued and not rawget(kernel, "gb_quiet")
  if k and own and k.breaker:state() ~= "closed" then
    ticket, message, code = k.breaker:begin()
    if not ticket then return nil, message, code end
    k.ticket = ticket
  end
  local target
  target, message, code = target_of(wanted, fixed)
  if target then
    if not core.launch_on(target, handle) then
      ok, message, code = load_on(kernel, target)
      if not ok then target = nil end
    end
  end
  if not target then
    if ticket then k.breaker:forget(ticket) end
    return nil, message, code
  end
  if not fixed then core.launch_on(target, handle) end
  return true
end

-- ---- work that can be done again on another device ----

local moves = { ELOST = true, EDEVICE = true }

-- The index of the best device that was not tried: what the hints ask for, a GPU, the CPU. Also: is
-- it where a launch from here would run; do its kernels work on host memory. A score costs
-- microseconds, so it is asked for only where two are equal otherwise.
local function pick(hints, tried, cpu_only)
  local wants_cpu, n = hints.prefer_gpu == false and not hints.required, device_count()
  local here = n == 1 and 0 or core.device_here()
  local best, best_class, best_score, best_in_place = nil, -1, nil, nil
  for i = 0, n - 1 do
    local cpu = cpu_at(i)
    local out = tried and tried[i] or cpu and hints.required or cpu_only and not cpu
    local class = hints.device == i and 4 or cpu == wants_cpu and 2 or 0
    if cpu and i == here then class = class + 1 end
    local lost, in_place = true, nil
    if not out and class >= best_class then lost, in_place = core.device_state(i) end
    if not lost and M.usable(i) then
      local score
      if class == best_class then
        score = score_of(i) or -1
        best_score = best_score or score_of(best) or -1
      end
      if not score or score > best_score then
        best, best_class, best_score, best_in_place = i, class, score, in_place
      end
    end
  end
  return best, best == here, best_in_place
end

local function none_left(hints, last)
  if last then return unpack(last, 1, last.n) end
  if hints.required then
    for i = 0, device_count() - 1 do
      if not cpu_at(i) then return nil, "a GPU is required, and none is in order", "ELOST" end
    end
    return nil, "a GPU is required and there is none", "ENOGPU"
  end
  return nil, "no device is in order", "EDEVICE"
end

-- What may go on elsewhere failed on a device: the next ones.
local function over_others(hints, fn, arg, index, message, code)
  local tried, cpu_only = {}, false
  local last, here, in_place, out, more
  repeat
    last = { nil, message, code, n = 3 }
    -- what lost this device would lose the next one too; on the CPU a trap is only a trap
    local blame_now = core.device_info(index).blame
    if code == "ELOST" and (blame_now == "kernel" or blame_now == "bound") then cpu_only = true end
    tried[index] = true
    device_at(index).counts.moved = device_at(index).counts.moved + 1
    index, here, in_place = pick(hints, tried, cpu_only)
    if not index then return none_left(hints, last) end
    out, message, code, more = fn(arg, index, here, in_place)
  until out ~= nil or not moves[code]
  return out, message, code, more
end

--- fn(arg, index, here, in_place), which gives at most four values, on the best device for the
--- hints (here: where a launch from here would run; in_place: kernels work on host memory); where
--- the device fails (not the work), again on the next one: fn changes nothing that it reads.
--- Compiles: no loop before something has failed.
function M.over_devices(hints, fn, arg)
  if hints.required and hints.device and cpu_at(hints.device) then
    return nil, ("a GPU is required and device %d is none"):format(hints.device), "ENOGPU"
  end
  local index, here, in_place = pick(hints)
  if not index then return none_left(hints) end
  local out, message, code, more = fn(arg, index, here, in_place)
  if out ~= nil or not moves[code] then return out, message, code, more end
  return over_others(hints, fn, arg, index, message, code)
end

--- The launches of this kernel are batches, which M.begin and M.finish count.
function M.only_batches(kernel)
  core.kernel_quiet(kernel.gb_handle)
  rawset(kernel, "gb_quiet", true)
end

--- May a batch of this kernel begin: a ticket for finish; nil, message, code while its breaker is
--- open.
function M.begin(number) return kernel_at(number).breaker:begin() end

local function trapped_items(failed)
  local items = 0
  for _, one in ipairs(failed) do
    if one.code == "ETRAP" then items = items + one.last - one.first + 1 end
  end
  return items
end

--- It gave results, failures, n; nil, message, code; or false: misuse. It counts as failed when all
--- of it trapped, and not at all when something else than the kernel failed.
function M.finish(number, ticket, out, failed, n)
  local own, bad = kernel_at(number).breaker, nil
  if out then
    bad = #failed > 0 and trapped_items(failed) == n
  elseif out == nil then
    bad = n == "ETRAP" or n == "ELOST" and failed:find("kernel '", 1, true) ~= nil or nil
  end
  if bad == nil then own:forget(ticket) else own:finish(ticket, not bad) end
end

-- ---- gb.resilience ----

local known_settings = { device = true, kernel = true, max_kernels = true }
local breaker_options = { ratio = true, failures = true, window = true, min_calls = true,
  open = true }

--- This worker's part of gb.resilience.
function M.serve(what, name)
  if what == "configure" then
    for kind, options in pairs(name) do
      if kind == "max_kernels" then
        limit = share(options)
      else
        settings[kind] = {}
        for field, value in pairs(defaults[kind]) do settings[kind][field] = value end
        for field, value in pairs(options) do settings[kind][field] = value end
        for _, own in pairs(kind == "device" and devices or kernels) do
          local isolated = own.breaker:state() == "isolated"
          new_breaker(kind, own, own.breaker.name)
          if isolated then own.breaker:isolate() end
        end
      end
    end
    refresh()
    return true
  elseif what == "stats" then
    local out = { devices = {}, kernels = {} }
    for index, d in pairs(devices) do
      out.devices[#out.devices + 1] = { index = index, lost = d.lost or nil, breaker =
        d.breaker:stats(), failures = d.counts.failures, times_lost = d.counts.lost,
        moved = d.counts.moved }
    end
    for number, k in pairs(kernels) do
      out.kernels[#out.kernels + 1] = { name = names[number], breaker = k.breaker:stats(),
        failures = k.counts.failures }
    end
    return out
  end
  local found = false
  if type(name) == "number" then
    if what == "isolate" or devices[name] then
      local d = device_at(name)
      d.breaker[what](d.breaker)
    end
    found = true
  else
    for number, label in ipairs(names) do
      if label == name or label:match(":(.*)$") == name then
        local k = kernel_at(number)
        k.breaker[what](k.breaker)
        found = true
      end
    end
  end
  refresh()
  return found
end

local R = {}

local function ask(...) return require("gb.worker").ask_all("resilience", ...) end

--- Breakers of devices and kernels: { device = { ratio, failures, window, min_calls, open }, kernel
--- = { the same }, max_kernels = launches under way at once (0: any number) }. Those that are open
--- close.
function R.configure(options)
  near.check_options("gb.resilience.configure", options, known_settings, true)
  for kind, own in pairs(options) do
    if kind == "max_kernels" then
      breaker.number(own, "max_kernels", 0, 1e9, true)
    else
      near.check_options(kind, own, breaker_options, true)
      local made = breaker.new(own, kind) -- its values are checked
      if made.window > WINDOW_MAX then
        core.raise(("%s: window is at most %d s"):format(kind, WINDOW_MAX))
      end
    end
  end
  local ok, message, code = ask("configure", options)
  if not ok then return nil, message, code end
  return true
end

local function each(what, name)
  if type(name) == "table" then name = rawget(name, "index") or rawget(name, "name") end
  if type(name) == "number" then
    buffer.device_index(name, 3)
  elseif type(name) ~= "string" then
    error(("%s takes the index of a device or the name of a kernel, got %s"):format(what,
      type(name)), 3)
  end
  local answers, message, code = ask(what, name)
  if not answers then return nil, message, code end
  for _, found in ipairs(answers) do
    if found then return true end
  end
  error(near.unknown("kernel", name, names), 3)
end

--- A device (its index) or a kernel (its name) is not used any more, until reset.
function R.isolate(name) return each("isolate", name) end

--- It is in order again, with nothing counted.
function R.reset(name) return each("reset", name) end

--- What is or was out of order: a list for each worker, { devices = { { index, lost, breaker,
--- failures, times_lost, moved } }, kernels = { { name, breaker, failures } } }.
function R.stats() return ask("stats") end

M.resilience = setmetatable(R, { __index = function(_, name)
  error(near.unknown("function of gb.resilience", name, near.keys(R)), 2)
end })

return M
