-- Errors: exact texts, codes and places; wrong use raises at the user's line, never at one of ours.
local kit = dofile((arg[0]:gsub("[^/]+$", "../kit.lua")))
local gb = require "gb"
require "types.echo"

local Faulty = gb.grain("Faulty", {})
function Faulty:boom() error("boom") end
local boom_line = kit.here(-1)
function Faulty:plain() error("plain", 0) end
function Faulty:index() local t = nil return t.x end
local index_line = kit.here(-1)
function Faulty:table_error() error({ code = 5, text = "in a table" }) end
function Faulty:object_error()
  error(setmetatable({}, { __tostring = function() return "an object" end }))
end
function Faulty:nil_error() error(nil) end
function Faulty:bad_tostring()
  error(setmetatable({}, { __tostring = function() error("again") end }))
end
function Faulty:deep(n)
  if n == 0 then error("deep") end
  self:deep(n - 1)
  return 1
end
function Faulty:through(ref, method) return assert(gb.call(ref, method)) end
function Faulty:passes(ref, method) return gb.call(ref, method) end
function Faulty:fail(...) gb.fail(...) end
function Faulty:fail_wrong(...) gb.fail(...) return 1 end
local fail_line = kit.here(-1)
function Faulty:set(name) self[name] = 1 end
local set_line = kit.here(-1)
function Faulty:ok() return "fine" end
function Faulty:half() self.n = (self.n or 0) + 1 error("half") end
function Faulty:n_now() return self.n end
function Faulty:wrong_timer(...) local timer = self:timer(...) return timer end
function Faulty:yields() coroutine.yield(1) end
function Faulty:overflow() return self:overflow() + 1 end
function Faulty:_private() return "private" end
function Faulty:on_something() return "hook" end

local f = gb.get("Faulty", "a")

kit.case("a method that raises: message, code, traceback", function()
  local v, message, code, traceback = f:boom()
  kit.eq(v, nil)
  kit.eq(message, boom_line .. ": boom")
  kit.eq(code, "ERAISED")
  kit.ok(traceback:find("stack traceback:\n", 1, true) == 1, traceback)
  kit.ok(traceback:find(boom_line, 1, true), traceback)
  kit.eq(select("#", f:boom()), 4)
  kit.fails("ERAISED", "plain", f:plain())
  kit.fails("ERAISED", index_line .. ": attempt to index local 't' (a nil value)", f:index())
  kit.fails("ERAISED", "a table was raised as an error: { code = 5, text = \"in a table\" }",
    f:table_error())
  kit.fails("ERAISED", "an object", f:object_error())
  kit.fails("ERAISED", "nil was raised as an error", f:nil_error())
  kit.fails("ERAISED", "~^a table was raised as an error", f:bad_tostring())
  kit.fails("ERAISED", "~stack overflow", f:overflow())
  kit.fails("ERAISED", "~coroutine.yield outside of a coroutine of your own", f:yields())
  kit.eq(f:ok(), "fine")
  local e = kit.elsewhere("Echo")
  local _, text, far_code, far_traceback = e:boom("far")
  kit.eq(text:match("echo.lua:%d+: far$") and far_code, "ERAISED")
  kit.ok(far_traceback:find("echo.lua:%d+: in function"), far_traceback)
  local _, _, _, deep = f:deep(5)
  local _, count = deep:gsub("in function 'deep'", "")
  kit.ok(count >= 5, deep)
  kit.ok(not deep:find("gb%.") and not deep:find("[C]: in ?", 1, true), deep)
end)

kit.case("errors across calls keep who raised", function()
  kit.fails("ERAISED", boom_line .. ": boom", f:passes(gb.get("Faulty", "b"), "boom"))
  kit.fails("ERAISED", boom_line .. ": boom", f:through(gb.get("Faulty", "b"), "boom"))
  kit.fails("ENOMETHOD", nil, f:passes(gb.get("Faulty", "b"), "nothing_here"))
  local far = kit.elsewhere("Echo")
  kit.fails("ERAISED", boom_line .. ": boom", far:through(gb.get("Faulty", "b"), "boom"))
end)

kit.case("gb.fail: code, message, format", function()
  for _, target in ipairs { f, kit.elsewhere("Echo") } do
    kit.fails("MY_CODE", "text 3", target:fail("MY_CODE", "text %d", 3))
    kit.eq(select("#", target:fail("MY_CODE", "text")), 3)
    kit.fails("MY_CODE", "100% sure", target:fail("MY_CODE", "100% sure"))
    kit.fails("MY_CODE", "MY_CODE", target:fail("MY_CODE"))
    kit.fails("ENOENT", "gone", target:fail("ENOENT", "gone"))
  end
  kit.fails("ERAISED", fail_line
    .. ": gb.fail takes a code: gb.fail(\"NO_MONEY\", \"%d missing\", 3)", f:fail_wrong())
  kit.fails("ERAISED", fail_line .. ": bad argument #3 to 'gb.fail' (number expected, got string)",
    f:fail_wrong("C", "%d", "x"))
  local ok, message = pcall(gb.fail, "CODE", "in a script")
  kit.eq(ok, false)
  kit.eq(tostring(message), "CODE: in a script")
end)

kit.case("a turn that errors half-way: the next one works", function()
  kit.fails("ERAISED", "~half$", f:half())
  kit.fails("ERAISED", "~half$", f:half())
  kit.eq(f:n_now(), 2)
end)

kit.case("unknown methods and types name the nearest", function()
  kit.fails("ENOMETHOD", "Faulty: unknown method 'bom'; did you mean 'boom'?", f:bom())
  kit.fails("ENOMETHOD", "Echo: unknown method 'eco'; did you mean 'echo'?",
    kit.elsewhere("Echo"):eco())
  kit.fails("ENOMETHOD", "Faulty: unknown method 'bom'; did you mean 'boom'?",
    f:async("bom"):await())
  kit.fails("ENOMETHOD", "~^Faulty: unknown method 'zzzzzzzzz'; known: bad_tostring, boom, ",
    f:zzzzzzzzz())
  kit.fails("ENOTYPE", "unknown grain type 'Fauly'; did you mean 'Faulty'?", gb.get("Fauly",
    1):boom())
  kit.fails("ENOTYPE", "~unknown grain type 'Fauly'", gb.get("Fauly", 1):tell("boom"))
  kit.fails("ENOTYPE", "~unknown grain type 'Fauly'", gb.get("Fauly", 1):async("boom"):await())
  kit.fails("ENOTYPE", "~unknown grain type 'Fauly'", gb.get("Fauly", 1):boom())
  local early = gb.get("Late", 1)
  kit.fails("ENOTYPE", nil, early:hello())
  local Late = gb.grain("Late")
  function Late:hello() return "hello" end
  kit.eq(early:hello(), "hello")
end)

kit.case("private methods", function()
  local text = "Faulty:_private is private (names with _ or on_ cannot be called from outside)"
  kit.fails("ENOMETHOD", text, f:_private())
  kit.fails("ENOMETHOD", text, gb.call(f, "_private"))
  kit.fails("ENOMETHOD", text, f:tell("_private"))
  kit.fails("ENOMETHOD", text, f:async("_private"):await())
  kit.fails("ENOMETHOD", text, f:with { timeout = 1 }:_private())
  kit.raises("~%(ENOMETHOD%)$", function() f:with { raise = true }:_private() end)
  kit.fails("ENOMETHOD", "~on_something is private", f:on_something())
  kit.fails("ENOMETHOD", "~on_activate is private", f:on_activate())
end)

kit.case("wrong use of references raises at the line", function()
  local function at(text, fn) return kit.raises("~^errors%.lua:%d+: " .. text, fn) end
  at("call 'boom' on a reference with a colon: ref:boom%(%.%.%.%)$", function()
    local _ = f.boom() end)
  at("call 'boom' on a reference with a colon", function() local _ = f.boom(5) end)
  at("call 'boom' on a reference with a colon", function() local _ = f.boom({}) end)
  at("call 'boom' on a reference with a colon", function() local _ = f.boom("x", 1) end)
  at("a reference cannot be changed %(field 'x'%); call its methods$", function() f.x = 1 end)
  at("tell takes the name of a method", function() local _ = f:tell() end)
  at("tell takes the name of a method", function() local _ = f:tell(print) end)
  at("async takes the name of a method", function() local _ = f:async(5) end)
  at("gb.call takes the name of a method", function() local _ = gb.call(f) end)
  at("gb.call takes a reference %(from gb.get%) first", function() local _ = gb.call("Faulty",
    "boom") end)
  at("gb.tell takes a reference", function() local _ = gb.tell(nil, "boom") end)
  at("gb.async takes a reference", function() local _ = gb.async({}, "boom") end)
  at("gb.get takes a grain type: its name or what gb.grain returned, got nil", function()
    local _ = gb.get(nil, 1) end)
  at("gb.get takes a grain type: its name or what gb.grain returned, got table", function()
    local _ = gb.get({}, 1) end)
  at("unknown option 'timout'; did you mean 'timeout'%? %(with%)$", function()
    local _ = f:with { timout = 1 } end)
  at("with takes a table of options, got nil", function() local _ = f:with() end)
  at("with takes a table of options, got number", function() local _ = f:with(5) end)
  at("priority must be an integer from %-128 to 127", function()
    local _ = f:with { priority = 1.5 } end)
  at("timeout must not be negative, got %-1", function() local _ = f:with { timeout = -1 } end)
  at("timeout must be a number or a text like", function()
    local _ = f:with { timeout = "5 parsecs" } end)
  at("bag must be a table", function() local _ = f:with { bag = 1 } end)
  at("bag: .*function", function() local _ = f:with { bag = { x = print } } end)
  at("gb.sleep must be a number or a text like", function() gb.sleep() end)
  at("gb.sleep must not be negative", function() gb.sleep(-1) end)
  at("gb.sleep must not be negative", function() gb.sleep(0 / 0) end)
  at("gb.spawn takes a function, got nil", function() local _ = gb.spawn() end)
  at("timeout must be a number or a text", function() f:async("ok"):await({}) end)
  at("await is a method of futures", function() f:async("ok").await() end)
  at("cancel is a method of futures", function() f:async("ok").cancel() end)
  at("done is a method of futures", function() f:async("ok").done({}) end)
  at("unknown field of gb 'gett'; did you mean 'get'%?$", function() local _ = gb.gett end)
  at("gb.subscribe takes a reference, a topic and a function or method name",
    function() local _ = gb.subscribe(1, "x", print) end)
  at("gb.subscribe: the topic is a string", function() local _ = gb.subscribe(f, {}, print) end)
  at("gb.subscribe: the handler is a function or the name of a method, got nil",
    function() local _ = gb.subscribe(f, "x") end)
  at("gb.subscribe: only a grain can name a method; a script gives a function",
    function() local _ = gb.subscribe(f, "x", "y") end)
  at("gb.log.info takes a text", function() gb.log.info() end)
  at("gb.log.info: the fields are a table", function() gb.log.info("x", 5) end)
  at("unknown level of gb.log 'inf'; did you mean 'info'%?", function() gb.log.inf("x") end)
end)

kit.case("wrong definitions raise at the line", function()
  local function at(text, fn) return kit.raises("~^errors%.lua:%d+: " .. text, fn) end
  at("gb.grain takes a name of letters", function() local _ = gb.grain() end)
  at("gb.grain takes a name of letters", function() local _ = gb.grain("9lives") end)
  at("gb.grain takes a name of letters", function() local _ = gb.grain("a/b") end)
  at("gb.grain takes a table of options, got string", function() local _ = gb.grain("X",
    "local") end)
  at("unknown option 'placment'; did you mean 'placement'%? %(gb.grain%)", function()
    local _ = gb.grain("X", { placment = "local" })
  end)
  at("unknown placement 'locl'; did you mean 'local'%?", function() local _ = gb.grain("X",
    { placement = "locl" }) end)
  at("reentrant is false, true or \"chain\"", function() local _ = gb.grain("X",
    { reentrant = "yes" }) end)
  at("max_queue is an integer from 1 to 1000000", function() local _ = gb.grain("X",
    { max_queue = 0 }) end)
  at("max_queue is an integer from 1 to 1000000", function() local _ = gb.grain("X",
    { max_queue = 0 / 0 }) end)
  at("idle must be a number or a text", function() local _ = gb.grain("X", { idle = true }) end)
  at("X: storage and save are not in this version yet %(ENOTYET: stores%)", function()
    local _ = gb.grain("X", { storage = "main" })
  end)
  for _, name in ipairs { "tell", "async", "with", "id", "key", "ref", "timer", "reminder",
    "save_state", "load_state",
    "clear_state", "deactivate", "publish", "device", "kernels", "state" } do
    local X = gb.grain("Reserved")
    at("Reserved:" .. name .. " is built in and cannot be redefined$",
      function() X[name] = function() end end)
    if name ~= "state" then
      kit.fails("ERAISED", set_line .. ": self." .. name
        .. " of Faulty is built in and cannot be assigned",
        f:set(name))
    end
  end
  local X = gb.grain("Reserved")
  local text = ": self.state of Reserved is built in and cannot be assigned; set its fields"
  kit.raises(kit.here(1) .. text, function()
    function X:on_activate() self.state = {} end
  end)
  function X:fine(other)
    self.state.x, other.state = 1, 2
    local t = {} t.state = 1 -- luacheck: ignore
  end
  function X.also_fine() local t = {} t.state = 1 end -- luacheck: ignore
end)

kit.case("what is not there yet says so", function()
  local NotYet = gb.grain("NotYet")
  function NotYet:try(name) return self[name](self) end
  for _, name in ipairs { "reminder", "save_state", "load_state", "clear_state" } do
    kit.fails("ENOTYET", "~^self:" .. name, gb.get("NotYet", 1):try(name))
  end
end)

kit.case("timers: wrong use", function()
  local function at(text, ...)
    kit.fails("ERAISED", "~^errors%.lua:%d+: " .. text, f:wrong_timer(...))
  end
  at("self:timer takes a table of options, got nil")
  at("self:timer needs call = \"method\"", { after = 1 })
  at("self:timer needs after, every or both", { call = "ok" })
  at("self:timer: every is at least 1ms", { every = 0, call = "ok" })
  at("unknown option 'evry'; did you mean 'every'%?", { evry = 1, call = "ok" })
  at("after must not be negative", { after = -1, call = "ok" })
  at("Faulty: unknown method 'okk'; did you mean 'ok'%?", { after = 1, call = "okk" })
end)

kit.case("where nothing can wait, the error names the function between", function()
  local function in_sort() table.sort({ 3, 2, 1 }, function(a, b) f:ok() return a < b end) end
  kit.raises("~^errors.lua:%d+: 'ok' waits, and nothing can wait inside 'sort'", in_sort)
  local function in_gsub() return (("abc"):gsub(".", function() gb.sleep(0) end)) end
  kit.raises("~^errors.lua:%d+: 'sleep' waits, and nothing can wait inside 'gsub'", in_gsub)
  kit.raises("~'await' waits, and nothing can wait inside 'gsub'",
    function() return (("abc"):gsub(".", function() f:async("ok"):await() end)) end)
  kit.raises("~'tell' waits, and nothing can wait inside 'gsub'",
    function() return (("abc"):gsub(".", function() f:tell("ok") end)) end)
  kit.eq(("abc"):gsub("b", function() local x = f:async("ok") return x and "B" end), "aBc")
  kit.eq(f:ok(), "fine")
end)

kit.finish()
