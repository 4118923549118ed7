-- What users get wrong: each mistake is an error at their line, and none goes by in silence.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"

local Misuse = gb.grain("Misuse")
function Misuse:ok(...) return ... end
function Misuse:fails() return nil, "why", "MY_CODE" end
function Misuse:none() return nil end
function Misuse:run(fn, ...) return Misuse[fn](self, ...) end
function Misuse:no_colon(name) local made = self[name]() return made end
local colon_line = kit.here(-1)
function Misuse:timer_of(options) local t = self:timer(options) return gb.type(t) end
local timer_line = kit.here(-1)
function Misuse:stop_wrongly()
  local t = self:timer { after = 60, call = "ok" }
  local ok, message = pcall(function() local _ = t.stop() end)
  local known, other = pcall(function() local _ = t:close() end)
  return ok, message, known, other, t:stop(), t:stop()
end
function Misuse:hear(topic, method)
  local sub = gb.subscribe(self:ref(), topic, method)
  return sub and sub:close()
end
local hear_line = kit.here(-3)
function Misuse:index() local t = nil local x = t.x return x end
local index_line = kit.here(-1)
function Misuse:wait_for(ref, method)
  local v, message, code = gb.call(ref, method, self:ref())
  return v, message, code
end
function Misuse:back(ref) local v, message, code = ref:ok(1) return v, message, code end

local g = gb.get("Misuse", "a")
local function at(text, fn) return kit.raises("~^misuse%.lua:%d+: " .. text, fn) end

kit.case("references: a colon is missing", function()
  at("call 'id' on a reference with a colon: ref:id%(%.%.%.%)$", function() local _ = g.id() end)
  at("call 'id' on a reference with a colon", function() local _ = g.id {} end)
  at("call 'with' on a reference with a colon", function() local _ = g.with { timeout = 1 } end)
  at("call 'tell' on a reference with a colon: ref:tell%(\"name\", %.%.%.%)$",
    function() local _ = g.tell("ok", 1) end)
  at("call 'async' on a reference with a colon", function() local _ = g.async("ok", 1) end)
  local list = { "a", 2, 3 }
  at("call 'ok' on a reference with a colon", function() local _ = g.ok(list) end)
  kit.eq(list[2], 2, "the user's table is as it was")
  local other = { "a", false }
  at("call 'ok' on a reference with a colon", function() local _ = g.ok(other, 1) end)
  kit.eq(other[2], false)
end)

-- Each call makes an activation, on another coroutine, before it looks at what it is given. Nothing
-- but compiled code runs between the error and work: any other function would set that right.
kit.case("an error after an activation was made leaves compiled code on its own stack", function()
  local function work(n)
    local sum = 0
    for i = 1, n do if i % 7 == 0 then sum = sum + i else sum = sum - 1 end end
    return sum
  end
  local function send(i) local _ = gb.get("Misuse", i):ok(print) end
  local sum = work(1000)
  for i = 1, 300 do
    local ok = pcall(send, i)
    if work(1000) ~= sum or ok then error(i) end
  end
end)

kit.case("raise = true gives the results as they are", function()
  local r = g:with { raise = true }
  kit.eq(select("#", r:ok(1)), 1)
  kit.eq(select("#", r:ok(1, 2)), 2)
  kit.eq(select("#", r:none()), 1)
  kit.eq(select("#", r:ok(nil, nil, nil, 4)), 4)
  kit.eq(select("#", r:tell("ok")), 1)
  at("why %(MY_CODE%)$", function() local _ = r:fails() end)
  at("raise is true or false, got string$", function() local _ = g:with { raise = "yes" } end)
end)

kit.case("names of types", function()
  for _, name in ipairs { "", "$worker0", "$root", "Misuse\0", "a\nb" } do
    at("gb.get takes a grain type, and none can be called", function()
      local _ = gb.get(name, 0) end)
    at("gb.keys takes a grain type, and none can be called", function()
      local _ = gb.keys(name) end)
  end
  kit.fails("ENOTYPE", "~^unknown grain type 'a b'", gb.get("a b", 1):ok())
  at("gb.count takes a grain type: its name or what gb.grain returned, got reference$",
    function() local _ = gb.count(g) end)
  at("gb.grain takes a name .*begins with a letter.*, got \"9lives\"$",
    function() local _ = gb.grain("9lives") end)
  at("the name of a grain type is at most 200 bytes, got 201$",
    function() local _ = gb.grain(("x"):rep(201)) end)
end)

kit.case("options of wrong types", function()
  local function refuses(text, options)
    at(text, function() local _ = gb.grain("Options", options) end)
  end
  refuses("kernels is the name of a file: .*, got table$", { kernels = {} })
  refuses("keep_alive is true or false, got number$", { keep_alive = 0 })
  refuses("unknown placement 'false'; known: gb.gpu{ ... }, gb.label{ ... }, hash",
    { placement = false })
  refuses("max_queue is an integer from 1 to 1000000, got 0$", { max_queue = 0 })
  refuses("max_activations is .*, got 0.5$", { max_activations = 0.5 })
  refuses("idle must be .*, got '5 min' %(units: ns us ms s m h d%)$", { idle = "5 min" })
  refuses("resident%.c: count is an integer from 1, got 1%.5$",
    { resident = { c = { type = "float", count = 1.5 } } })
  at("gb.grain takes a table of options, got boolean$", function()
    local _ = gb.grain("Options", false) end)
  at("gb.gpu: required is true or false, got string$", function()
    local _ = gb.gpu { required = "no" } end)
  at("memory must be .*, got '5 gigs' %(units: B KB MB GB TB%)$", function()
    local _ = gb.gpu { memory = "5 gigs" } end)
  at("gb.label takes a table of labels: { zone = \"a\" }$", function()
    local _ = gb.label {} end)
  at("gb.label: a label is a name and a value of .*, got zone = a b$", function()
    local _ = gb.label { zone = "a b" } end)
  at("gb.gpu: label takes a table of labels", function() local _ = gb.gpu { label = "a" } end)
  kit.eq(gb.type(gb.grain("Labelled", { placement = gb.label { zone = "a", no = 1 } })), "grain")
  kit.eq(gb.type(gb.grain("Options", { keep_alive = false, placement = gb.gpu {} })), "grain")
end)

kit.case("methods that could not be called", function()
  local X = gb.grain("Names")
  at("the name of a method of Names is a string, got number$", function() X[5] = print end)
  at("the name of a method of Names is a string, got nil$", function() X[nil] = print end)
  at("Names:on_activate is a function, got number$", function() X.on_activate = 5 end)
  at("Names:on_activat is no hook; did you mean 'on_activate'%?$", function()
    function X:on_activat() end end)
  at("Names:on_deactivated is no hook; did you mean 'on_deactivate'%?$", function()
    function X:on_deactivated() end end)
  at("Names:_gb_deliver is built in", function() function X:_gb_deliver() end end)
  function X:on_message() end
  function X:on_load() end
  X.on_activate, X.constant = nil, 5
end)

kit.case("self and its timers", function()
  for _, name in ipairs { "id", "key", "ref", "deactivate" } do
    kit.fails("ERAISED", colon_line
      .. ": expected self (a grain that is active), as in self:name(...)", g:no_colon(name))
  end
  at("expected self %(a grain that is active%)", function() local _ = Misuse:id() end)
  local function refuses(text, options)
    kit.fails("ERAISED", timer_line .. ": " .. text, g:timer_of(options))
  end
  refuses("self:timer: args is the list of the method's arguments: args = { 1, 2 }",
    { after = 60, call = "ok", args = { name = 1 } })
  refuses("self:timer: args is the list of the method's arguments: args = { 1, 2 }",
    { after = 60, call = "ok", args = 5 })
  for _, name in ipairs { "id", "publish", "state" } do
    local _, message = g:timer_of { after = 60, call = name }
    kit.ok(message:find("Misuse: unknown method '" .. name, 1, true), message)
  end
  local ok, message, known, other, first, second = g:stop_wrongly()
  kit.eq(ok or known, false)
  kit.ok(message:find("^misuse%.lua:%d+: call it as timer:stop%(%), with a colon$"), message)
  kit.ok(other:find("^misuse%.lua:%d+: unknown timer method 'close'; known: stop$"), other)
  kit.eq(first, true)
  kit.eq(second, false)
end)

kit.case("futures and subscriptions: methods that are not there", function()
  local f = g:async("ok", 1)
  at("unknown future method 'cance'; did you mean 'cancel'%?$", function() local _ = f:cance() end)
  kit.eq(f:await(), 1)
  kit.eq(f:done(), true)
  at("unknown future method 'wait'; did you mean 'await'%?$", function() local _ = f:wait() end)
  local none = g:async("none")
  kit.eq(none:await(), nil)
  kit.eq(none:await(), nil, "a second time")
  local sub = gb.subscribe(g, "topic", function() end)
  at("unknown subscription method 'clos'; did you mean 'close'%?$", function()
    local _ = sub:clos() end)
  at("call it as subscription:close%(%), with a colon$", function() local _ = sub.close() end)
  kit.eq(sub:close() and sub:close(), true)
  kit.fails("ERAISED", hear_line .. ": Misuse: unknown method 'heer'; did you mean 'hear'?",
    g:hear("topic", "heer"))
  kit.fails("ERAISED", "~Misuse: unknown method 'id'", g:hear("topic", "id"))
  kit.eq(g:hear("topic", "ok"), true)
end)

kit.case("tracebacks name every line, and no C function of ours", function()
  local _, message, _, traceback = g:index()
  kit.ok(message:find(index_line, 1, true) == 1, message)
  kit.ok(traceback:find("\t" .. index_line .. ": in function", 1, true), traceback)
  _, _, _, traceback = g:timer_of { after = "x", call = "ok" }
  kit.ok(not traceback:find("[C]", 1, true), traceback)
  kit.fails("ERAISED", "a table was raised as an error: {}", gb.spawn(error, {}):await())
end)

kit.case("a circle names the grain that is busy", function()
  local b = gb.get("Misuse", "b")
  kit.fails("EDEADLOCK", "the call would wait for itself: Misuse/a (called for ok) is busy with a "
    .. "turn that waits for the caller", g:wait_for(b, "back"))
end)

kit.case("lists with holes or names are no lists", function()
  at("a list is wanted, and this table has named fields and no elements$",
    function() local _ = gb.array("float", { x = 1 }) end)
  at("a list is wanted, and this table has holes: 3 is its last index",
    function() local _ = gb.array("float", { 1, nil, 3 }) end)
  at("a list is wanted", function() local _ = gb.buffer("float", { x = 1 }) end)
  kit.eq(#gb.array("float", {}), 0)
  kit.eq(#gb.array("float", { 1, 2 }), 2)
end)

kit.finish()
