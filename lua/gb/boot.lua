-- The first module of every state: what the C half calls, and the globals that know how to wait.
local core = require "gb.core"
require "gb.clock"
local array = require "gb.array"

ipairs, pairs = array.ipairs, array.pairs

require "gb.coroutine"
require "gb.loader"
require "gb.grain"
local ref = require "gb.ref"
local near = require "gb.near"

-- The error value of a turn that failed: message, code, traceback or nil.
local fail = require "gb.fail"
local blame = require "gb.blame"
function core.on_error(value, traceback, no_memory)
  if fail.is(value) then return value.message, value.code, nil end
  local frames = blame.frames(traceback)
  if no_memory then
    local text = "not enough memory: Lua on this worker has reached its bound (lua_memory)"
    return text, "ENOMEM", frames
  end
  local text = blame.text(value)
  return blame.message(text, frames), "ERAISED", blame.with_line(text, frames)
end

function core.no_method(type_name, method, methods)
  local names = {}
  for name, value in pairs(methods) do
    if type(value) == "function" and not name:find("^_") and not name:find("^on_") then
      names[#names + 1] = name
    end
  end
  return type_name .. ": " .. near.unknown("method", method, names)
end

core.make_ref = ref.make
function core.run_specs(...) return require("gb.spec").run(...) end
function core.operate(...) return require("gb.operate")(...) end
function core.top_once(...) return require("gb.top").once(...) end
function core.top_draw(...) return require("gb.top").draw(...) end
function core.repl_begin(...) return require("gb.repl").begin(...) end
function core.repl(...) return require("gb.repl").run(...) end
function core.repl_drop() return require("gb.repl").drop() end
require "gb.worker"
require "gb.host"
