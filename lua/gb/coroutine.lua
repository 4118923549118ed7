-- coroutine.* that passes waits through: a generator of the user's own may call grains. A wait
-- inside it yields our token; its resumer passes the token on to the turn, and what the turn is
-- answered back down.
local core = require "gb.core"

local token = core.wait_token
local resume, yield = coroutine.resume, coroutine.yield
local create, status = coroutine.create, coroutine.status

local function pass(co, ok, first, ...)
  if ok and first == token and token ~= nil then return pass(co, resume(co, yield(token))) end
  return ok, first, ...
end

function coroutine.resume(co, ...) return pass(co, resume(co, ...)) end

local function unwrap(ok, first, ...)
  if ok then return first, ... end
  if type(first) == "string" then error(first, 0) end
  error(first, 0)
end

function coroutine.wrap(fn)
  local co = create(fn)
  return function(...) return unwrap(pass(co, resume(co, ...))) end
end

return { create = create, status = status, running = coroutine.running }
