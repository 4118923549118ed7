-- gb.levels{ optimal = fn, reduced = fn, degraded = fn }: the same thing done in several ways, the
-- best one first. A call that fails is done again in the next way. When more than half of at least
-- ten calls fail at a level, calls begin one level lower; below the last one they fail at once.
--
-- The way back: after so long at a level ("5m") with few errors there (under a tenth, or too few
-- calls to tell) calls begin one level higher again, with nothing counted. So a level that still
-- fails is left again after its next ten calls, and one that works is kept.
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"
local breaker = require "gb.breaker"

local M = {}

local names = { "optimal", "reduced", "degraded", "failed" }
local known = { name = true, optimal = true, reduced = true, degraded = true, ratio = true,
  min_calls = true, window = true, up_after = true, up_ratio = true, up_calls = true,
  on_change = true, codes = true }

local methods = {}
local meta = { __gb = "levels", __index = near.methods("levels", methods) }

-- What happened at a level since it was entered, within the window: a breaker's window, whose ratio
-- no share of failures reaches.
local function new_window(self)
  return { calls = 0, bad = 0, slots = {}, span = self.window / 10 }
end

local function forget_old(w, now)
  local oldest = math.floor(now / w.span) - 9
  for at, slot in pairs(w.slots) do
    if at < oldest then
      w.calls, w.bad, w.slots[at] = w.calls - slot[1], w.bad - slot[2], nil
    end
  end
end

local function note(w, bad)
  local now = core.monotonic()
  forget_old(w, now)
  local at = math.floor(now / w.span)
  local slot = w.slots[at] or { 0, 0 }
  w.slots[at] = slot
  slot[1], slot[2] = slot[1] + 1, slot[2] + (bad and 1 or 0)
  w.calls, w.bad = w.calls + 1, w.bad + (bad and 1 or 0)
end

--- Levels: at least one of the three functions; ratio 0.5 of min_calls 10 within window "10m" goes
--- down; after up_after "5m" with under up_ratio 0.1 of errors or under up_calls 5 it goes up.
function M.new(options)
  near.check_options("gb.levels", options, known, true)
  local self = setmetatable({ name = tostring(options.name or "levels"), ways = {}, at = 1,
    ratio = breaker.number(options.ratio or 0.5, "gb.levels: ratio", 0.001, 1),
    min_calls = breaker.number(options.min_calls or 10, "gb.levels: min_calls", 1, 1e9, true),
    window = units.seconds(options.window or "10m", "window"),
    up_after = units.seconds(options.up_after or "5m", "up_after"),
    up_ratio = breaker.number(options.up_ratio or 0.1, "gb.levels: up_ratio", 0, 1),
    up_calls = breaker.number(options.up_calls or 5, "gb.levels: up_calls", 0, 1e9, true),
    codes = breaker.code_set(options.codes, "gb.levels: codes") or breaker.codes,
    on_change = options.on_change or false, downs = 0, ups = 0 }, meta)
  if self.window <= 0 then core.raise("gb.levels: window is longer than nothing") end
  for _, name in ipairs(names) do
    local fn = options[name]
    if fn ~= nil then
      if type(fn) ~= "function" then
        core.raise(("gb.levels: %s is a function, got %s"):format(name, type(fn)))
      end
      self.ways[#self.ways + 1] = { name = name, fn = fn }
    end
  end
  if #self.ways == 0 then core.raise("gb.levels: optimal, reduced or degraded, at least one") end
  self.since, self.seen = core.monotonic(), new_window(self)
  return self
end

local function level_name(self, at) return self.ways[at] and self.ways[at].name or "failed" end

local function move(self, to)
  local from = level_name(self, self.at)
  if to > self.at then self.downs = self.downs + 1 else self.ups = self.ups + 1 end
  self.at, self.since, self.seen = to, core.monotonic(), new_window(self)
  if self.on_change then self.on_change(self, from, level_name(self, to)) end
end

local function look(self)
  local now = core.monotonic()
  if self.at > 1 and now - self.since >= self.up_after then
    local seen = self.seen
    forget_old(seen, now)
    if seen.calls < self.up_calls or seen.bad / seen.calls < self.up_ratio then
      move(self, self.at - 1)
    end
  end
  return self.at
end

local function failed(self, value, code) return value == nil and self.codes[code] == true end

local function pack(...) return { n = select("#", ...), ... } end

--- The results of the level that calls begin at now, or of the first one below it that does not
--- fail; nil, message, code of the last one.
function methods:run(...)
  if getmetatable(self) ~= meta then error("call it as levels:run(...), with a colon", 2) end
  local first = look(self)
  local out = pack(nil, self.name .. ": every level fails", "EBUSY")
  for at = first, #self.ways do
    local seen = self.seen
    local calm = pack(pcall(self.ways[at].fn, ...))
    out = calm[1] and pack(unpack(calm, 2, calm.n)) or pack(nil, tostring(calm[2]), "ERAISED")
    local bad = failed(self, out[1], out[3])
    if at == first and seen == self.seen then
      note(seen, bad)
      if seen.calls >= self.min_calls and seen.bad / seen.calls > self.ratio then
        move(self, at + 1)
      end
    end
    if not bad then break end
  end
  return unpack(out, 1, out.n)
end

--- "optimal" | "reduced" | "degraded" | "failed": where calls begin now.
function methods:level() return level_name(self, look(self)) end

--- Back to the best level, with nothing counted.
function methods:reset()
  if self.at ~= 1 then move(self, 1) end
  self.seen = new_window(self)
  return true
end

--- { level, calls, failures (of that level, within the window), downs, ups }
function methods:stats()
  local level = self:level()
  forget_old(self.seen, core.monotonic())
  return { level = level, calls = self.seen.calls, failures = self.seen.bad, downs = self.downs,
    ups = self.ups }
end

function M.is(value) return type(value) == "table" and getmetatable(value) == meta end

return M
