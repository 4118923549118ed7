-- Subscriptions in a cluster, where they are kept. "$topics/Type/key" knows which processes listen
-- to a grain, and is a grain itself: found by the directory, so that publishers and subscribers
-- meet there whichever comes first, and gone when its silo is; then those who listen say so again
-- (hear.lua). Each process that listens has a queue of its own and one call under way, so a slow or
-- lost one holds up nobody. A process is a silo's worker, which is called through "$silo", or a
-- client, which nobody can call: "$inbox/CLIENT" keeps what came for it until it asks.
local core = require "gb.core"
local fail = require "gb.fail"
local near = require "gb.near"
local ref = require "gb.ref"

local M = {}

local QUEUE_MAX, BATCH_MAX, LINKS_MAX, TOPICS_MAX = 1024, 64, 10000, 1000
local LEASE_S = 180   -- who has not said for so long that it listens is gone
local NEW_S = 10
local TAKE_S = 5      -- a client's question waits so long for messages
local GONE_S = 15     -- ... and a client that does not ask for so long is gone
local LOOK_S = 1      -- ... and whether a silo has gone is looked at so often
local HAND_TIMEOUT = "10s"

M.IDLE_S = 300 -- those whom nobody listens to end

-- ---- a bounded queue ----

--- False: it is full.
function M.push(queue, value)
  if queue.last - queue.first + 1 >= QUEUE_MAX then return false end
  queue.last = queue.last + 1
  queue[queue.last] = value
  return true
end

--- At most so many, in order; an empty list when there is none.
function M.shift(queue, most)
  local list = {}
  while #list < most and queue.first <= queue.last do
    list[#list + 1], queue[queue.first] = queue[queue.first], nil
    queue.first = queue.first + 1
  end
  return list
end

function M.queue() return { first = 1, last = 0 } end

--- Runs fn(...) in a turn of its own while `owner.pumping`, which it unsets in the end.
function M.pump(owner, fn, ...)
  if owner.pumping then return end
  owner.pumping = true
  core.spawn(function(...)
    local ok, why = pcall(fn, ...)
    owner.pumping = false
    if not ok then require("gb").log.error("messages were lost: " .. tostring(why)) end
  end, ...)
end

-- ---- $topics ----

local topics = {}

function topics:on_activate()
  self.grain, self.links = core.self_key(self), {}
end

-- A future of a call to a process.
local function hand(link, ...)
  local to = link.to
  local target = to.client and ref.make("$inbox", to.client) or ref.make("$silo", to.silo)
  return core.async(target:with { timeout = HAND_TIMEOUT }, ref.type_id(getmetatable(target)),
    ref.syms._hand, to.life, to.worker, ...)
end

local way_failed = { ETIMEDOUT = true, ELOST = true, ECLOSED = true, EBUSY = true }

local function drop(link, topic, count) link.dropped[topic] = (link.dropped[topic] or 0) + count end

-- False: nobody is there any more. (Who has just said that it listens is: its silo is so new that
-- it is not known here yet.) What fails for what is in it is sent again one by one.
local function send(self, link, batch, dropped)
  local ok, _, code = core.await(hand(link, self.grain, batch, dropped))
  if ok then return true end
  local is_new = core.monotonic() - link.at < NEW_S
  if code == "ENOENT" and not is_new then return false end
  if way_failed[code] or code == "ENOENT" then
    for topic, count in pairs(dropped) do drop(link, topic, count) end
    for _, message in ipairs(batch) do drop(link, message.topic, 1) end
  elseif #batch > 1 then
    for _, message in ipairs(batch) do core.await(hand(link, self.grain, { message }, {})) end
  end
  return true
end

local function pump(self, link)
  while self.links[link.key] == link and link.queue.first <= link.queue.last do
    local dropped = link.dropped
    link.dropped = {}
    if not send(self, link, M.shift(link.queue, BATCH_MAX), dropped) then
      self.links[link.key] = nil
    end
  end
end

local function forget_late(self)
  local now = core.monotonic()
  for key, link in pairs(self.links) do
    if now - link.at > LEASE_S then self.links[key] = nil end
  end
end

local function check(ok)
  if not ok then fail.raise("EINVAL", "$topics: no subscription looks like this") end
end

-- Who asks may be a client, which knows of no type.
local function check_type(grain)
  local name, all = grain:match("^(.-)/"), {}
  for _, silo in ipairs(core.export("$members")()) do
    for _, type_name in ipairs(silo.types) do all[type_name] = true end
  end
  if not all[name] then
    fail.raise("ENOTYPE", "%s (no silo of the cluster hosts it)",
      near.unknown("grain type", name or grain, near.keys(all)))
  end
end

--- `to` listens to these topics, and to no others; a later number counts.
function topics:listen(to, number, names)
  check(type(to) == "table" and type(number) == "number" and type(names) == "table")
  check(type(to.client) == "string" or type(to.silo) == "string" and type(to.life) == "string" and
    type(to.worker) == "number")
  local key = to.client or ("%s/%s/%d"):format(to.silo, to.life, to.worker)
  local link = self.links[key]
  if link and number < link.number then return true end
  local wanted, count = {}, 0
  for _, name in ipairs(names) do
    check(type(name) == "string")
    wanted[name], count = true, count + 1
  end
  check(count <= TOPICS_MAX)
  if count == 0 then
    self.links[key] = nil
    return true
  end
  forget_late(self)
  if not link then
    check_type(self.grain)
    if topics.count(self) >= LINKS_MAX then
      fail.raise("EBUSY", "%d processes listen to %s", LINKS_MAX, self.grain)
    end
    link = { key = key, to = to, queue = M.queue(), dropped = {} }
    self.links[key] = link
  end
  link.number, link.names, link.at = number, wanted, core.monotonic()
  return true
end

--- How many processes listen.
function topics:count()
  local count = 0
  for _ in pairs(self.links) do count = count + 1 end
  return count
end

function topics:_spread(topic, ...)
  for _, link in pairs(self.links) do
    if link.names[topic] then
      if not M.push(link.queue, { topic = topic, n = select("#", ...), ... }) then
        drop(link, topic, 1)
      end
      M.pump(link, pump, self, link)
    end
  end
  return true
end

--- Its silo leaves: who listens says so again, and then another one is made.
function topics:on_deactivate()
  local all = {}
  for _, link in pairs(self.links) do
    all[#all + 1] = hand(link, self.grain, {}, {}, true)
  end
  for _, one in ipairs(all) do core.await(one, 2) end
end

-- ---- $inbox ----

local inbox = {}

function inbox:on_activate() self.queue, self.since = M.queue(), nil end

function inbox:_hand(_, _, id, batch, dropped, again)
  if not self.since or core.monotonic() - self.since > GONE_S then
    self.since = nil -- should it come back, it says again what it listens to
    fail.raise("ENOENT", "the client is gone")
  end
  if not M.push(self.queue, { id = id, batch = batch, dropped = dropped, again = again }) then
    self.lost = (self.lost or 0) + #batch
    return true
  end
  if self.wake then core.cancel(self.wake) end
  return true
end

--- What came since the last time; waits a while for it. Second: the client is to say again what it
--- listens to, since a silo has gone or this is its first question here.
function inbox:take()
  local member = core.export("$self")
  local fresh, began = not self.since, core.monotonic()
  self.since = began
  local function is_quiet()
    local now = member()
    fresh = fresh or now.gone ~= self.gone
    self.gone = now.gone
    return self.queue.first > self.queue.last and not fresh and now.state == "active" and
      core.monotonic() - began < TAKE_S
  end
  while is_quiet() do
    self.wake = core.promise()
    core.await(self.wake, LOOK_S)
  end
  self.since = core.monotonic()
  local lost = self.lost
  self.lost = nil
  return M.shift(self.queue, BATCH_MAX), fresh, lost
end

M.types = {
  ["$topics"] = topics,
  ["$inbox"] = inbox,
}

return M
