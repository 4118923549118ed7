-- What gbrun inspect prints of one activation.
local show = require "gb.show"

local function name_of(type_name, key, method)
  return type_name .. "/" .. show.key(key) .. (method and ":" .. method or "")
end

local verbs = { running = "runs", ready = "is about to run", queued = "waits in the queue" }

local function left(deadline)
  if not deadline then return "" end
  return deadline > 0 and ("; %s left"):format(show.time(deadline)) or "; nobody waits for it"
end

-- "add (tell), for 12 ms, from Shop/7: waits for Bank/1:pay; 29.9 s left"
local function turn_text(turn)
  local waits = turn.waits_for and name_of(turn.waits_for, turn.waits_key, turn.waits_method)
  local what = verbs[turn.state] or "waits for " .. (waits or "time, a device or a file")
  return ("%s%s, for %s%s: %s%s"):format(turn.method or "(main)",
    turn.kind and " (" .. turn.kind .. ")" or "", show.time(turn.age),
    turn.caller and ", from " .. name_of(turn.caller, turn.caller_key) or "", what,
    left(turn.deadline))
end

--- Lines.
return function(act)
  local lines = {}
  local function add(name, text) lines[#lines + 1] = ("  %-9s %s"):format(name, text) end
  lines[1] = ("%s: %s on %s, worker %d"):format(name_of(act.type, act.key), act.state, act.silo,
    act.worker)
  for i, turn in ipairs(act.turns) do add(i == 1 and "turns" or "", turn_text(turn)) end
  if #act.turns == 0 then
    add("turns", act.idle and ("none, for %s"):format(show.time(act.idle)) or "none")
  end
  local more = act.waiting_for_room
  add("queue", ("%d of %d%s"):format(act.queued, act.max_queue,
    more > 0 and (", and %d more wait for room"):format(more) or ""))
  for _, call in ipairs(act.queue) do add("", turn_text(call)) end
  add("calls", ("%s so far; p99 %s"):format(show.count(act.calls), show.time(act.p99)))
  add("memory", ("%s of Lua%s, %s on devices%s"):format(show.bytes(act.bytes),
    act.more and " at least" or "", show.bytes(act.device_bytes),
    act.tenant and ", as tenant " .. act.tenant or ""))
  return lines
end
