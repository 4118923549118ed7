-- gbrun repl: runs the lines that a person types.
local core = require "gb.core"
local ask = require "gb.ask"
local display = require "gb.display"
local fail = require "gb.fail"

local M = {}

local pending = nil -- lines that are no whole chunk yet

-- A line is an expression, whose values are printed, or a statement.
local function compile(text)
  local expression = text:match("^%s*=(.*)$")
  local chunk = loadstring("return " .. (expression or text), "=repl")
  if chunk then return chunk, nil, true end
  local message
  chunk, message = loadstring(expression and "return " .. expression or text, "=repl")
  return chunk, message, expression ~= nil
end

local function finish(prints, ...)
  local count = select("#", ...)
  if not prints or count == 0 then return end
  local parts = {}
  for i = 1, count do parts[i] = display((select(i, ...))) end
  print(table.concat(parts, "\t"))
end

function M.run(line)
  local text = pending and pending .. "\n" .. line or line
  pending = nil
  if not text:find("%S") then return end
  local chunk, message, prints = compile(text)
  if not chunk then
    if message:find("near '<eof>'", 1, true) then
      pending = text
      return core.export("$repl_more")()
    end
    fail.raise("EINVAL", "%s", message)
  end
  finish(prints, chunk())
end

--- The lines that were begun are not wanted.
function M.drop() pending = nil end

--- Before the first line. kind: "terminal" or "file".
function M.begin(kind)
  _G.gb = require "gb"
  local where = "a silo of its own"
  if core.place().clustered then
    local status, message, code = ask.cluster "status"
    if not status and code ~= "EDENIED" then fail.raise(code, "%s: %s", code, message) end
    where = status and ("the cluster %s, by %s"):format(status.self.cluster, status.self.name)
      or "a cluster that does not let itself be looked at"
  end
  if kind ~= "terminal" then return end
  print(("gpubridge, in %s. =EXPRESSION prints; Ctrl-D ends."):format(where))
end

return M
