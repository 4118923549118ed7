-- gbrun top: frames of what the silos of a cluster do. Rates and p99 are of the time between two
-- looks.
local core = require "gb.core"
local ask = require "gb.ask"
local show = require "gb.show"

local M = {}

local last = nil -- the look before this one: [silo id] = what it said

-- ---- looking ----

-- What all silos say: { status, silos = { [id] = answer }, errors }, or nil, message, code.
local function look()
  local status, message, code = ask.cluster "status"
  if not status then return nil, message, code end
  local ids, out = {}, { status = status, silos = {} }
  for _, m in ipairs(status.members) do
    if m.state == "active" or m.state == "draining" then ids[m.name] = m.id end
  end
  local answers
  answers, out.errors = ask.silos(status, nil, "look")
  for _, one in ipairs(answers) do out.silos[ids[one.silo]] = one.answer end
  return out
end

local function less(now, before)
  local pace, any = {}, false
  for bucket, count in pairs(now or {}) do
    local more = count - (before and before[bucket] or 0)
    if more > 0 then pace[bucket], any = more, true end
  end
  return any and pace or nil
end

local function add(into, pace)
  for bucket, count in pairs(pace or {}) do into[bucket] = (into[bucket] or 0) + count end
end

local function new_sum() return { active = 0, queued = 0, calls = 0, pace = {} } end

-- Adds one type of one silo: its calls a second, and how long they took, since the look before.
local function sum_up(into, t, before, seconds)
  into.active, into.queued = into.active + t.active, into.queued + t.queued
  if not seconds then return end
  into.calls = into.calls + math.max(t.calls - (before and before.calls or 0), 0) / seconds
  into.known = true
  add(into.pace, less(t.pace, before and before.pace))
end

-- Sums of each silo (by id) and of each type (by name).
local function sums(now)
  local silos, types = {}, {}
  for id, answer in pairs(now.silos) do
    local old, before = last and last.silos[id], {}
    for _, t in ipairs(old and old.grains or {}) do before[t.name] = t end
    local seconds = old and answer.time > old.time and answer.time - old.time or nil
    silos[id] = new_sum()
    for _, t in ipairs(answer.grains) do
      types[t.name] = types[t.name] or new_sum()
      sum_up(silos[id], t, before[t.name], seconds)
      sum_up(types[t.name], t, before[t.name], seconds)
    end
    silos[id].known = seconds ~= nil
  end
  return silos, types
end

-- ---- lines ----

local function rate(sum) return sum and sum.known and show.count(sum.calls) or "-" end
local function slow(sum) return sum and show.time(core.quantile(sum.pace, 0.99)) or "-" end

local function silo_rows(now, silos)
  local rows = {}
  table.sort(now.status.members, function(a, b)
    return a.name ~= b.name and a.name < b.name or a.name == b.name and a.epoch < b.epoch
  end)
  for _, m in ipairs(now.status.members) do
    local answer, sum = now.silos[m.id], silos[m.id]
    rows[#rows + 1] = { m.name, m.state, m.address, sum and show.count(sum.active) or "-",
      rate(sum), sum and show.count(sum.queued) or "-", slow(sum),
      show.bytes(answer and answer.lua_bytes) }
  end
  return show.rows({ "SILO", "STATE", "ADDRESS", ">GRAINS", ">CALLS/S", ">QUEUED", ">P99", ">LUA" },
    rows)
end

-- GPUs, and what is used as one; not the CPU that every silo has.
local function device_rows(now)
  local rows = {}
  for _, m in ipairs(now.status.members) do
    local answer = now.silos[m.id]
    local counted = m.capacity and m.capacity.devices > 0
    for _, d in ipairs(counted and answer and answer.devices or {}) do
      local total, free = tonumber(d.memory_total), tonumber(d.memory_free)
      if d.backend ~= "cpu" or m.capacity.backend == "cpu" then
        rows[#rows + 1] = { m.name, d.index, show.bytes(total - free), show.bytes(total),
          show.percent(d.utilization), d.queue_depth,
          d.temperature and ("%.0f C"):format(d.temperature) or "-",
          d.name .. (d.lost and " (lost)" or "") }
      end
    end
  end
  if #rows == 0 then return {} end
  return show.rows({ "SILO", ">GPU", ">USED", ">MEMORY", ">BUSY", ">QUEUE", ">TEMP", "NAME" }, rows)
end

local function type_rows(types)
  local names, rows = {}, {}
  for name in pairs(types) do names[#names + 1] = name end
  table.sort(names, function(a, b)
    local x, y = types[a], types[b]
    if x.calls ~= y.calls then return x.calls > y.calls end
    if x.active ~= y.active then return x.active > y.active end
    return a < b
  end)
  for i, name in ipairs(names) do
    local sum = types[name]
    rows[i] = { name, show.count(sum.active), rate(sum), show.count(sum.queued), slow(sum) }
  end
  return show.rows({ "TYPE", ">ACTIVE", ">CALLS/S", ">QUEUED", ">P99" }, rows)
end

-- The tables under each other in so many lines: the last one gives way, then the first.
local function fit(lines, tables, rows)
  for i, t in ipairs(tables) do
    local room = rows - #lines - 1
    for k = i + 1, #tables do room = room - math.min(#tables[k], 4) - 1 end
    if #t > 0 and room >= 2 then
      lines[#lines + 1] = ""
      for k = 1, math.min(#t, room) do lines[#lines + 1] = t[k] end
      if #t > room then lines[#lines] = ("... %d more"):format(#t - room + 1) end
    end
  end
end

local function frame(now, rows)
  local silos, types = sums(now)
  local why = ask.ails(now.status)
  local lines = { ("cluster %s, as %s sees it: %s"):format(now.status.self.cluster,
    now.status.self.name, why and "not healthy: " .. why or "healthy") }
  for _, e in ipairs(now.errors) do
    lines[#lines + 1] = ("%s: %s (%s)"):format(e.silo, e.message, e.code)
  end
  fit(lines, { silo_rows(now, silos), device_rows(now), type_rows(types) }, rows)
  return lines
end

-- ---- what the program calls ----

--- One frame as text: two looks, so many seconds apart.
function M.once(every)
  local now, message, code = look()
  if not now then require("gb.fail").raise(code, "%s: %s", code, message) end
  last = now
  core.sleep(tonumber(every))
  now, message, code = look()
  if not now then require("gb.fail").raise(code, "%s: %s", code, message) end
  for _, line in ipairs(frame(now, math.huge)) do print(line) end
end

local shown = nil -- the lines of the last good frame

--- One frame on a terminal, in place of the one before. Without an answer the old one stays, under
--- what is wrong; the first frame must come, or this raises.
function M.draw(columns, rows)
  columns, rows = tonumber(columns), tonumber(rows)
  local now, message, code = look()
  local lines
  if now then
    lines = frame(now, rows - 1)
    last, shown = now, lines
  elseif not shown then
    require("gb.fail").raise(code, "%s: %s", code, message)
  else
    lines = { ("no answer: %s (%s); trying again"):format(message, code) }
    for i = 2, #shown do lines[i] = shown[i] end
  end
  local out = { "\27[H" }
  for i = 1, math.min(#lines, rows - 1) do
    out[#out + 1] = show.cut(lines[i], columns) .. "\27[K\r\n"
  end
  out[#out + 1] = "\27[J\27[7m q: end \27[0m\27[K"
  io.write(table.concat(out))
  io.flush()
end

return M
