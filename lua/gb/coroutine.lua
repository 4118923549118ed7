-- coroutine.* that passes waits through: a generator of the user's own may call grains. A wait
-- inside it yields our token; its resumer passes the token on to the turn, and what the turn is
-- answered back down.
local core = require "gb.core"

local token, waiting, bar = core.wait_token, core.waiting, core.bar
local resume, yield, yieldable = coroutine.resume, coroutine.yield, coroutine.isyieldable
local create, status = coroutine.create, coroutine.status

local pass

local function answered(co, ...)
  waiting[co] = nil
  return pass(co, resume(co, ...))
end

function pass(co, ok, first, ...)
  if ok and first == token then
    waiting[co] = "cannot resume a coroutine that waits: its wait belongs to the turn that began it"
    return answered(co, yield(token))
  end
  return ok, first, ...
end

local function unbarred(...)
  bar(-1)
  return ...
end

local function run(co, ...)
  local why = waiting[co]
  if why then return false, why end
  if yieldable() then return pass(co, resume(co, ...)) end
  bar(1) -- in a callback of table.sort or string.gsub: what waits in there must raise
  return unbarred(resume(co, ...))
end

function coroutine.resume(co, ...)
  if type(co) ~= "thread" then
    error("bad argument #1 to 'resume' (coroutine expected)", 2)
  end
  return run(co, ...)
end

local function unwrap(ok, first, ...)
  if ok then return first, ... end
  error(first, 0)
end

function coroutine.wrap(fn)
  if type(fn) ~= "function" then error("bad argument #1 to 'wrap' (function expected)", 2) end
  local co = create(fn)
  return function(...) return unwrap(run(co, ...)) end
end

return { create = create, status = status, running = coroutine.running }
