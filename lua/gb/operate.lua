-- gbrun call, status, grains, inspect, devices, drain, undrain: what is asked of a cluster, and how
-- it is printed.
local core = require "gb.core"
local ask = require "gb.ask"
local json = require "gb.json"
local near = require "gb.near"
local show = require "gb.show"
local units = require "gb.units"

local commands = {}
local takes_value = { ["--timeout"] = true, ["--type"] = true, ["--silo"] = true,
  ["--sort"] = true, ["--limit"] = true }

local function fail(message, code)
  io.stdout:flush()
  io.stderr:write(("%s: %s\n"):format(tostring(code), tostring(message)))
  os.exit(1)
end

local function good(ok, ...)
  if ok == nil then fail(...) end
  return ok, ...
end

-- In JSON a list is one also when nothing is in it.
local function lists(t, ...)
  for _, name in ipairs { ... } do
    if next(t[name]) == nil then t[name] = json.none end
  end
  return t
end

local function print_rows(head, rows)
  for _, line in ipairs(show.rows(head, rows)) do print(line) end
end

-- ---- call ----

function commands.call(flags, args)
  local type_name, key, method = args[1], args[2], args[3]
  if method:find("^_") or method:find("^on_") then
    fail(("%s:%s is private (names with _ or on_ cannot be called from outside)"):format(type_name,
      method), "ENOMETHOD")
  end
  local values, count = {}, 0
  for i = 4, #args do
    local is_json, value = json.decode(args[i])
    count = count + 1
    if is_json then values[count] = value else values[count] = args[i] end
  end
  core.foreign_type(type_name)
  local ok, target = pcall(require("gb").get, type_name, key)
  if not ok then fail(target, "ENOTYPE") end
  if flags["--timeout"] then target = target:with { timeout = flags["--timeout"] } end
  local function finish(...)
    local n, first, message, code = select("#", ...), ...
    if first == nil and type(code) == "string" and n >= 3 then fail(message, code) end
    if n <= 1 then print(json.encode((first))) else print(json.list({ ... }, n)) end
  end
  finish(require("gb").call(target, method, unpack(values, 1, count)))
end

-- ---- status ----

local function gpus(member)
  local c = member.capacity
  if not c or c.devices == 0 then return "-" end
  return ("%d %s, %s of %s free, queue %d%s"):format(c.devices, c.backend,
    show.bytes(c.memory_free), show.bytes(c.memory_total), c.queue_depth,
    c.stale and ", stale" or "")
end

local function labels_of(member)
  local parts = {}
  for name, value in pairs(member.labels) do parts[#parts + 1] = name .. "=" .. value end
  table.sort(parts)
  return table.concat(parts, ",")
end

-- What is nothing is a dash.
local function dash(text) return text ~= "" and text or "-" end

local function print_status(status)
  local rows = {}
  for _, m in ipairs(status.members) do
    rows[#rows + 1] = { m.name, m.state, m.epoch, m.address, m.grains or "-",
      show.age(core.time() - m.started), gpus(m), dash(labels_of(m)),
      dash(table.concat(m.types, " ")) }
  end
  print(("cluster %s, as %s sees it"):format(status.self.cluster, status.self.name))
  print_rows({ "SILO", "STATE", ">EPOCH", "ADDRESS", ">GRAINS", ">SINCE", "GPUS", "LABELS",
    "TYPES" }, rows)
  local g, c = status.gpus, status.calls
  if g.gpu_silos > 0 then
    print(("silos with GPUs: %d; %s of %s free, at most %s on one; mean queue %.1f"):format(
      g.gpu_silos, show.bytes(g.memory_free), show.bytes(g.memory_total),
      show.bytes(g.memory_largest), g.queue_depth))
  end
  print(("calls of %s to and from others: %d sent, %d served, %d moved, %d lost, %d tried again")
    :format(status.self.name, c.sent, c.served, c.moved, c.lost, c.retried))
  print(status.why and "not healthy: " .. status.why or "healthy")
end

function commands.status(flags)
  local status = good(ask.cluster "status")
  table.sort(status.members, function(a, b)
    return a.name ~= b.name and a.name < b.name or a.name == b.name and a.epoch < b.epoch
  end)
  local why = ask.ails(status)
  status.healthy, status.why = not why, why
  if flags["--json"] then
    for _, m in ipairs(status.members) do lists(m, "types") end
    print(json.encode(status))
  else
    print_status(status)
  end
  if why and flags["--check"] then
    io.stdout:flush()
    os.exit(1)
  end
end

-- ---- of each silo ----

-- The answers of the silos that serve, in the order of their names; who does not answer is told.
local function each_silo(flags, method, ...)
  local status, only = good(ask.cluster "status"), flags["--type"]
  local types = ask.types(status)
  if only and not types[only] then
    fail(near.unknown("grain type", only, near.keys(types)), "ENOTYPE")
  end
  local list, errors, names = ask.silos(status, flags["--silo"], method, ...)
  for _, one in ipairs(errors) do
    io.stderr:write(("gbrun: %s: %s (%s)\n"):format(one.silo, one.message, one.code))
  end
  if flags["--silo"] and #names == 0 then
    fail(near.unknown("silo", flags["--silo"], ask.serving(status)), "ENOENT")
  end
  if #list == 0 and #errors > 0 then os.exit(1) end
  return list
end

local orders = { calls = true, queue = true, p99 = true, bytes = true }

-- Single grains, the busiest first.
local function print_busiest(flags)
  local order, limit = flags["--sort"], tonumber(flags["--limit"] or 20)
  if not orders[order] then fail(near.unknown("order", order, near.keys(orders)), "EINVAL") end
  if not limit or limit < 1 or limit > 1000 or limit % 1 ~= 0 then
    fail(("--limit is a whole number from 1 to 1000, not '%s'"):format(flags["--limit"]), "EINVAL")
  end
  local all, rows = {}, {}
  for _, one in ipairs(each_silo(flags, "busiest", order, limit, flags["--type"])) do
    for _, act in ipairs(one.answer) do
      act.silo = one.silo
      all[#all + 1] = act
    end
  end
  require("gb.busy").most(all, order, limit)
  if flags["--json"] then return print(json.list(all, #all)) end
  for i, act in ipairs(all) do
    rows[i] = { act.type .. "/" .. show.key(act.key), act.silo, show.count(act.calls),
      show.count(act.queued), show.time(act.p99), show.bytes(act.bytes) .. (act.more and "+" or ""),
      act.device_bytes > 0 and show.bytes(act.device_bytes) or "-" }
  end
  print_rows({ "GRAIN", "SILO", ">CALLS", ">QUEUED", ">P99", ">BYTES", ">ON DEVICES" }, rows)
end

function commands.grains(flags)
  if flags["--sort"] then return print_busiest(flags) end
  if flags["--limit"] then fail("--limit is for --sort", "EINVAL") end
  local rows, all = {}, {}
  for _, one in ipairs(each_silo(flags, "grains")) do
    for _, t in ipairs(one.answer) do
      if not flags["--type"] or flags["--type"] == t.name then
        all[#all + 1] = { type = t.name, silo = one.silo, count = t.active, calls = t.calls,
          queued = t.queued, p99 = core.quantile(t.pace, 0.99) }
      end
    end
  end
  table.sort(all, function(a, b)
    return a.type < b.type or a.type == b.type and a.silo < b.silo
  end)
  if flags["--json"] then return print(json.list(all, #all)) end
  for i, t in ipairs(all) do
    rows[i] = { t.type, t.silo, show.count(t.count), show.count(t.calls), show.count(t.queued),
      show.time(t.p99) }
  end
  print_rows({ "TYPE", "SILO", ">ACTIVE", ">CALLS", ">QUEUED", ">P99" }, rows)
end

-- Rows of several silos; here: of this machine alone, without their first column.
local function print_places(head, rows, here)
  for _, row in ipairs(here and rows or {}) do table.remove(row, 1) end
  if here then table.remove(head, 1) end
  print_rows(head, rows)
end

-- What tenants have of the devices' memory, where there are some.
local function print_tenants(found, here)
  local rows, any = {}, false
  for _, one in ipairs(found) do
    for _, t in ipairs(one.answer.tenants) do
      any = any or t.name ~= "default"
      rows[#rows + 1] = { one.silo, t.name, show.bytes(tonumber(t.memory)),
        t.memory_max and show.bytes(tonumber(t.memory_max)) or "-" }
    end
  end
  if not any then return end
  print()
  print_places({ "SILO", "TENANT", ">MEMORY", ">LIMIT" }, rows, here)
end

--- Of all silos, or without a cluster those of this machine.
function commands.devices(flags)
  local here, gb = flags["--here"], require "gb"
  local found
  if here then
    found = { { silo = "", answer = { devices = gb.devices(), tenants = gb.tenants() } } }
  else
    found = each_silo(flags, "devices")
  end
  local rows, all = {}, {}
  for _, one in ipairs(found) do
    for _, d in ipairs(one.answer.devices) do
      rows[#rows + 1] = { one.silo, d.index, d.backend, d.arch, d.units,
        show.bytes(tonumber(d.memory_free)), show.bytes(tonumber(d.memory_total)), d.queue_depth,
        show.percent(d.utilization), d.name .. (d.lost and " (lost)" or "") }
      d.silo = not here and one.silo or nil
      all[#all + 1] = lists(d, "peers")
    end
  end
  if flags["--json"] then return print(json.list(all, #all)) end
  print_places({ "SILO", ">DEVICE", "BACKEND", "ARCH", ">UNITS", ">FREE", ">TOTAL", ">QUEUE",
    ">BUSY", "NAME" }, rows, here)
  print_tenants(found, here)
end

-- ---- one grain ----

function commands.inspect(flags, args)
  local type_name, key = args[1], args[2]
  local found = {}
  flags["--type"] = type_name
  for _, one in ipairs(each_silo(flags, "inspect", type_name, key)) do
    for _, act in ipairs(one.answer) do
      act.silo = one.silo
      found[#found + 1] = lists(act, "turns", "queue")
    end
  end
  if #found == 0 then
    fail(("%s/%s is active on no silo: its next call activates it"):format(type_name, key),
      "ENOENT")
  end
  if flags["--json"] then return print(json.list(found, #found)) end
  for i, act in ipairs(found) do
    if i > 1 then print() end
    for _, line in ipairs(require("gb.inspect")(act)) do print(line) end
  end
end

-- ---- drain ----

function commands.drain(flags, args)
  local name = args[1]
  repeat
    local left = good(ask.silo(name, "drain"))
    if left == 0 then return print(name .. " is drained") end
    if flags["--wait"] then core.sleep(0.2) end
  until not flags["--wait"]
  print(name .. " is draining")
end

function commands.undrain(_, args)
  local name = args[1]
  local state = good(ask.silo(name, "undrain"))
  if state == "active" then return print(name .. " is active") end
  fail(("%s is still %s: the membership table does not answer (see the log of the silo)"):format(
    name, state), "ETIMEDOUT")
end

--- gbrun NAME FLAG [VALUE]... -- ARG...
return function(name, ...)
  local words, flags, args, at = { ... }, {}, {}, 1
  while words[at] ~= "--" do
    local flag = words[at]
    if takes_value[flag] then at = at + 1 end
    flags[flag] = takes_value[flag] and words[at] or true
    at = at + 1
  end
  for i = at + 1, #words do args[#args + 1] = words[i] end
  if flags["--timeout"] then
    local ok, why = pcall(units.seconds, flags["--timeout"], "--timeout")
    if not ok then fail(why, "EINVAL") end
  end
  commands[name](flags, args)
end
