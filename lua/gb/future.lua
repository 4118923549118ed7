-- Futures: results that come later. The table is made and filled in C (src/lua/future.c).
local core = require "gb.core"
local near = require "gb.near"
local units = require "gb.units"

local M = {}

local meta = core.future_meta
meta.__gb = "future"
local methods = {}
meta.__index = near.methods("future", methods)

local function is(value) return type(value) == "table" and getmetatable(value) == meta end
M.is = is

--- Has the result still to come?
local function pending(future) return rawget(future, 0) ~= nil end -- see src/lua/future.c

local function check(self, name)
  if not is(self) then error(("%s is a method of futures: future:%s()"):format(name, name), 3) end
end

--- Waits for the result; nil, message, "ETIMEDOUT" when it takes longer than the time given.
function methods:await(timeout)
  check(self, "await")
  if timeout ~= nil then return core.await(self, units.seconds(timeout, "timeout", 2)) end
  return core.await(self)
end

function methods:done()
  check(self, "done")
  return not pending(self)
end

--- Gives the result up: true when it was still to come.
function methods:cancel()
  check(self, "cancel")
  return core.cancel(self)
end

function meta.__tostring(self)
  return pending(self) and "future (pending)" or "future (done)"
end

--- A future that has these results already.
function M.ready(...) return setmetatable({ n = select("#", ...), ... }, meta) end

--- A future that has failed already.
function M.failed(message, code)
  return setmetatable({ nil, message, code, n = 3 }, meta)
end

local function listed(what, ...)
  local first = ...
  local list = { ... }
  local as_list = select("#", ...) == 1 and type(first) == "table" and not is(first)
  if as_list then list = first end
  for i = 1, as_list and #list or select("#", ...) do
    if not is(list[i]) then
      error(("%s takes futures: argument %d is a %s"):format(what, i, type(list[i])), 3)
    end
  end
  return list, as_list
end

local function failed(f) return f[1] == nil and type(f[3]) == "string" end

--- The first result of each, in order; a list when given a list. The first failure: nil, message,
--- code, index.
function M.all(...)
  local list, as_list = listed("gb.all", ...)
  local results = {}
  for i = 1, #list do
    core.await(list[i])
    if failed(list[i]) then return nil, list[i][2], list[i][3], i end
    results[i] = list[i][1]
  end
  if as_list then return results end
  return unpack(results, 1, #list)
end

--- The results of the first that succeeds; when all fail, the failure of the last one.
function M.any(...)
  local list = listed("gb.any", ...)
  local open, last = {}, nil
  for i = 1, #list do open[i] = list[i] end
  if #open == 0 then return nil, "gb.any of no futures", "EINVAL" end
  while #open > 0 do
    for i = #open, 1, -1 do
      local f = open[i]
      if not pending(f) then
        if not failed(f) then return unpack(f, 1, f.n) end
        last = f
        table.remove(open, i)
      end
    end
    if #open > 0 then core.await_any(open) end
  end
  return unpack(last, 1, last.n)
end

--- Waits for all: a list of { ok, value, message, code }.
function M.settled(...)
  local list = listed("gb.settled", ...)
  local results = {}
  for i = 1, #list do
    core.await(list[i])
    local f = list[i]
    if failed(f) then
      results[i] = { ok = false, message = f[2], code = f[3] }
    else
      results[i] = { ok = true, value = f[1] }
    end
  end
  return results
end

return M
