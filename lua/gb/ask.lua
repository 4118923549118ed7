-- Questions to the grains of the house that each silo has (gb/silo.lua), from gbrun's commands.
local core = require "gb.core"
local ref = require "gb.ref"
require "gb.future" -- what futures can do

local M = {}

local PATIENCE = "10s"

-- Who does not know a question is of another version than who asks.
local function explain(ok, message, code, ...)
  if ok == nil and code == "ENOMETHOD" then
    message = message .. ": that silo is of another version than this gbrun"
  end
  return ok, message, code, ...
end

local function target(type_name, key)
  core.foreign_type(type_name)
  return ref.make(type_name, key)
end

--- Whichever silo this client is connected to.
function M.cluster(method, ...)
  local all = target("$cluster", 0)
  return explain(all[method](all, ...))
end

function M.silo(name, method, ...)
  local one = target("$silo", name)
  return explain(one[method](one, ...))
end

--- The names of the silos that answer questions, sorted.
function M.serving(status)
  local names = {}
  for _, m in ipairs(status.members) do
    if m.state == "active" or m.state == "draining" then names[#names + 1] = m.name end
  end
  table.sort(names)
  return names
end

--- Asks all of them (or the one that is named) at once: the answers { silo, answer } and the
--- failures { silo, message, code }, in the order of their names, and the names.
function M.silos(status, only, method, ...)
  local names, futures, answers, errors = {}, {}, {}, {}
  for _, name in ipairs(M.serving(status)) do
    if not only or only == name then
      names[#names + 1] = name
      futures[#futures + 1] = target("$silo", name):with { timeout = PATIENCE }:async(method, ...)
    end
  end
  for i, name in ipairs(names) do
    local answer, message, code = explain(futures[i]:await())
    if answer ~= nil then
      answers[#answers + 1] = { silo = name, answer = answer }
    else
      errors[#errors + 1] = { silo = name, message = message, code = code }
    end
  end
  return answers, errors, names
end

--- What keeps a cluster from being healthy; nil: nothing.
function M.ails(status)
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

--- The grain types that silos host: a set.
function M.types(status)
  local types = {}
  for _, m in ipairs(status.members) do
    if m.state == "active" or m.state == "draining" then
      for _, name in ipairs(m.types) do types[name] = true end
    end
  end
  return types
end

return M
