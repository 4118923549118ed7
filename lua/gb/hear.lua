-- Subscriptions in a cluster, where they are heard (topics.lua has the other end). A worker says of
-- each grain which topics it listens to, and says it again when a silo has gone, when the one that
-- kept it leaves, and every minute; what is published in between is missed. Each subscription has a
-- queue of its own, so a slow handler loses messages of its own and no others.
local core = require "gb.core"
local near = require "gb.near"
local ref = require "gb.ref"
local topics = require "gb.topics"

local M = {}

local RENEW_S, LOOK_S, AT_ONCE = 60, 1, 64
local here = core.place().worker
local member = core.export("$self") -- nil: a client, which nobody can call
local client

-- By "Type/key": { topics = { name = list of subscriptions }, changes, said, at }: how often it has
-- changed, up to which change the other end knows it, and since when.
local ids = {}
local number = 0 -- counts what was said
local watching, renewing = false, false

local function of_house(type_name, key, timeout)
  core.foreign_type(type_name)
  return ref.make(type_name, key):with { timeout = timeout }
end

-- Not to be guessed: who knows it takes what is meant for this client.
local function random_name()
  local file = assert(io.open("/dev/urandom", "rb"))
  local bytes = file:read(16)
  file:close()
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function me()
  if not member then
    client = client or random_name()
    return { client = client }
  end
  local self = member()
  return { silo = self.name, life = self.id, worker = here }
end

-- ---- saying it ----

local function entry_of(id)
  local entry = ids[id] or { topics = {}, changes = 0, said = 0, at = core.monotonic() }
  ids[id] = entry
  return entry
end

local function say(id)
  local entry = ids[id]
  if not entry then return true end
  local change, names = entry.changes, near.keys(entry.topics)
  number = number + 1
  local ok, message, code = of_house("$topics", id, "10s"):listen(me(), number, names)
  if not ok then return nil, message, code end
  entry.said, entry.at = math.max(entry.said, change), core.monotonic()
  if entry.said == entry.changes and #names == 0 then ids[id] = nil end
  return true
end

local function unsaid()
  local list = {}
  for id, entry in pairs(ids) do
    if entry.said < entry.changes or core.monotonic() - entry.at > RENEW_S then
      list[#list + 1] = id
    end
    if #list == AT_ONCE then break end
  end
  return list
end

-- What waits here, so many calls, is no work: the program may end meanwhile.
local function idly(calls, fn, ...)
  core.background(calls)
  local a, b, c = fn(...)
  core.background(-calls)
  return a, b, c
end

local function renew()
  local list = unsaid()
  while #list > 0 do
    local all, ok = {}, true
    for i, id in ipairs(list) do all[i] = core.spawn(idly, 2, say, id) end
    for i = 1, #all do ok = idly(1, core.await, all[i]) and ok end
    if not ok then idly(1, core.sleep, LOOK_S) end
    list = unsaid()
  end
  renewing = false
end

-- In turns of the worker.
local function look(all)
  for _, entry in pairs(all and ids or {}) do entry.changes = entry.changes + 1 end
  if renewing or #unsaid() == 0 then return end
  renewing = true
  core.spawn(renew)
end

local function watch_silos()
  local gone = member().gone
  while next(ids) do
    idly(1, core.sleep, LOOK_S)
    local now = member().gone
    look(now ~= gone)
    gone = now
  end
end

local function watch_inbox()
  while next(ids) do
    local inbox = of_house("$inbox", me().client, "60s")
    local items, again, lost = idly(2, inbox.take, inbox)
    look(again or not items)
    for _, item in ipairs(items or {}) do M.hear(item.id, item.batch, item.dropped, item.again) end
    if lost and lost > 0 then M.warn("%d messages for this client were dropped", lost) end
    if not items then idly(1, core.sleep, 0.2) end
  end
end

--- A turn of the worker itself, so that it outlives who subscribed.
function M.watch()
  if watching then return true end
  watching = true
  core.spawn(function()
    (member and watch_silos or watch_inbox)()
    watching = false
  end)
  return true
end

local function begin_watch()
  if not watching then ref.make("$worker" .. here, 0):tell("watch") end
end

-- ---- hearing it ----

function M.warn(...) require("gb").log.warn((...):format(select(2, ...))) end

local function lose(sub, count)
  if not sub.losing then
    M.warn("messages of %s, topic '%s', are dropped: they come faster than they are heard", sub.id,
      sub.topic)
  end
  sub.losing, sub.lost = true, sub.lost + count
end

local function pump(sub)
  while not sub.closed and sub.queue.first <= sub.queue.last do
    local message = topics.shift(sub.queue, 1)[1]
    if not sub.give(unpack(message, 1, message.n)) then M.close(sub) end
  end
  sub.losing = false
end

--- From the silo that keeps the subscriptions, in a turn of the worker; again: it leaves.
function M.hear(id, batch, dropped, again)
  local entry = entry_of(id)
  for _, message in ipairs(batch) do
    again = again or not entry.topics[message.topic] -- nobody here listens any more
    for _, sub in ipairs(entry.topics[message.topic] or {}) do
      if not topics.push(sub.queue, message) then lose(sub, 1) end
      topics.pump(sub, pump, sub)
    end
  end
  for topic, count in pairs(dropped) do
    for _, sub in ipairs(entry.topics[topic] or {}) do lose(sub, count) end
  end
  if again then entry.changes = entry.changes + 1 end
  look()
  begin_watch()
  return true
end

-- ---- subscriptions ----

--- give(...) hands one message over, and may wait; false: its owner is gone. A subscription, or
--- nil, message, code.
function M.open(id, topic, give)
  local sub = { id = id, topic = topic, give = give, queue = topics.queue(), lost = 0 }
  local entry = entry_of(id)
  entry.topics[topic] = entry.topics[topic] or {}
  table.insert(entry.topics[topic], sub)
  entry.changes = entry.changes + 1
  begin_watch()
  local ok, message, code = say(id)
  if ok then return sub end
  M.close(sub)
  return nil, message, code
end

--- When it cannot be said now it is said later.
function M.close(sub)
  if sub.closed then return end
  sub.closed = true
  local entry = ids[sub.id]
  local list = entry.topics[sub.topic]
  for i = #list, 1, -1 do
    if list[i] == sub then table.remove(list, i) end
  end
  if #list > 0 then return end
  entry.topics[sub.topic] = nil
  entry.changes = entry.changes + 1
  if entry.said == 0 and not next(entry.topics) then
    ids[sub.id] = nil
  else
    say(sub.id)
  end
end

return M
