-- gbrun call, status, grains, devices, drain: what is asked of a cluster, and how it is printed.
local core = require "gb.core"
local json = require "gb.json"
local ref = require "gb.ref"
local units = require "gb.units"

local commands = {}
local takes_value = { ["--timeout"] = true, ["--type"] = true, ["--silo"] = true }

local function fail(message, code)
  io.stdout:flush()
  io.stderr:write(("%s: %s\n"):format(tostring(code), tostring(message)))
  os.exit(1)
end

local function good(ok, ...)
  if ok == nil then fail(...) end
  return ok, ...
end

local function ask(type_name, key, method, ...)
  core.foreign_type(type_name)
  local target = ref.make(type_name, key)
  return target[method](target, ...)
end

-- Columns as wide as they need; numbers to the right.
local function print_rows(head, rows)
  local width = {}
  table.insert(rows, 1, head)
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do width[i] = math.max(width[i] or 0, #tostring(cell)) end
  end
  for _, row in ipairs(rows) do
    local parts = {}
    for i, cell in ipairs(row) do
      local right = type(rows[2] and rows[2][i]) == "number"
      parts[i] = ("%" .. (right and "" or "-") .. width[i] .. "s"):format(tostring(cell))
    end
    print((table.concat(parts, "  "):gsub(" +$", "")))
  end
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

local function mb(bytes) return ("%.0f"):format(bytes / 2 ^ 20) end

local function gpus(member)
  local c = member.capacity
  if not c or c.devices == 0 then return "-" end
  return ("%d (%s), %s of %s MB free, queue %d%s"):format(c.devices, c.backend, mb(c.memory_free),
    mb(c.memory_total), c.queue_depth, c.stale and ", stale" or "")
end

-- What keeps a cluster from being healthy; nil: nothing.
local function ails(status)
  local active = 0
  for _, m in ipairs(status.members) do
    if m.state == "active" then
      active = active + 1
      if not m.capacity or m.capacity.stale then
        return ("%s has told nothing of itself for two minutes"):format(m.name)
      end
    elseif m.state == "dead" then
      local lives = false
      for _, other in ipairs(status.members) do
        lives = lives or other.name == m.name and other.epoch > m.epoch
      end
      if not lives then return m.name .. " is dead" end
    end
  end
  return active == 0 and "no silo is active" or nil
end

function commands.status(flags)
  local status = good(ask("$cluster", 0, "status"))
  table.sort(status.members, function(a, b)
    return a.name ~= b.name and a.name < b.name or a.name == b.name and a.epoch < b.epoch
  end)
  local why = ails(status)
  status.healthy, status.why = not why, why
  if flags["--json"] then
    print(json.encode(status))
  else
    local rows = {}
    for _, m in ipairs(status.members) do
      rows[#rows + 1] = { m.name, m.state, m.epoch, m.address, m.grains or "?", gpus(m),
        m.labels ~= "" and m.labels or "-", m.types ~= "" and m.types or "-" }
    end
    print(("cluster %s, asked %s"):format(status.self.cluster, status.self.name))
    print_rows({ "SILO", "STATE", "EPOCH", "ADDRESS", "GRAINS", "GPUS", "LABELS", "TYPES" }, rows)
    local g, c = status.gpus, status.calls
    print(("silos with GPUs: %d, %s of %s MB free, the largest part %s MB; mean queue %.1f"):format(
      g.gpu_silos, mb(g.memory_free), mb(g.memory_total), mb(g.memory_largest), g.queue_depth))
    print(("calls of %s: %d sent, %d served, %d moved, %d lost, %d tried again"):format(
      status.self.name, c.sent, c.served, c.moved, c.lost, c.retried))
    print(why and "not healthy: " .. why or "healthy")
  end
  if why and flags["--check"] then
    io.stdout:flush()
    os.exit(1)
  end
end

-- ---- of each silo ----

-- The answers of the silos that serve, in the order of their names; who does not answer is told.
local function each_silo(flags, method)
  local status = good(ask("$cluster", 0, "status"))
  local list, found = {}, false
  for _, m in ipairs(status.members) do
    if (m.state == "active" or m.state == "draining")
      and (not flags["--silo"] or flags["--silo"] == m.name) then
      local target = ref.make("$silo", m.name):with { timeout = "10s" }
      core.foreign_type("$silo")
      local answer, message, code = target[method](target)
      found = true
      if answer then
        list[#list + 1] = { silo = m.name, answer = answer }
      else
        io.stderr:write(("gbrun: %s: %s (%s)\n"):format(m.name, message, code))
      end
    end
  end
  if flags["--silo"] and not found then
    fail(("no silo '%s' is active"):format(flags["--silo"]), "ENOENT")
  end
  table.sort(list, function(a, b) return a.silo < b.silo end)
  return list
end

function commands.grains(flags)
  local rows, all = {}, {}
  for _, one in ipairs(each_silo(flags, "grains")) do
    for name, count in pairs(one.answer) do
      if not flags["--type"] or flags["--type"] == name then
        rows[#rows + 1] = { name, one.silo, count }
        all[#all + 1] = { type = name, silo = one.silo, count = count }
      end
    end
  end
  if flags["--json"] then return print(json.list(all, #all)) end
  table.sort(rows, function(a, b) return a[1] < b[1] or a[1] == b[1] and a[2] < b[2] end)
  print_rows({ "TYPE", "SILO", "ACTIVE" }, rows)
end

local function device_row(d, silo)
  local row = { d.index, d.backend, d.arch, d.units,
    mb(d.memory_free) .. " of " .. mb(d.memory_total) .. " MB", d.queue_depth,
    d.utilization and d.utilization .. " %" or "-", d.name .. (d.lost and " (lost)" or "") }
  if silo then table.insert(row, 1, silo) end
  return row
end

--- Of all silos, or without a cluster those of this machine.
function commands.devices(flags)
  local head = { "DEVICE", "BACKEND", "ARCH", "UNITS", "FREE", "QUEUE", "BUSY", "NAME" }
  local here = flags["--here"]
  local found = here and { { answer = require("gb").devices() } } or each_silo(flags, "devices")
  local rows, all = {}, {}
  for _, one in ipairs(found) do
    for _, d in ipairs(one.answer) do
      rows[#rows + 1] = device_row(d, one.silo)
      d.silo = one.silo
      all[#all + 1] = d
    end
  end
  if flags["--json"] then return print(json.list(all, #all)) end
  if not here then table.insert(head, 1, "SILO") end
  print_rows(head, rows)
end

-- ---- drain ----

function commands.drain(flags, args)
  local name = args[1]
  repeat
    local left = good(ask("$silo", name, "drain"))
    if left == 0 then return print(name .. " is drained") end
    if flags["--wait"] then core.sleep(0.2) end
  until not flags["--wait"]
  print(name .. " is draining")
end

function commands.undrain(_, args)
  local name = args[1]
  local state = good(ask("$silo", name, "undrain"))
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
