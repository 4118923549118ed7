-- gbrun FILE.lua: results, errors, signals, os.exit.
local counter = [[
local gb = require "gb"
local C = gb.grain("Counter", {})
function C:on_activate() self.n = 0 end
function C:add(k) self.n = self.n + k return self.n end
function C:where() return gb.silo().worker end
function C:on_deactivate(why) print("bye", why) end
return C
]]

local ours = { "gb:", "gb.ref:", "gb.script", "gb.blame" }

return {
  { "arguments", files = { ["a.lua"] = [[print(arg[0], arg[1], arg[2], ...)]] },
    run = "a.lua x --workers",
    out = "a.lua\tx\t--workers\tx\t--workers\n" },
  { "types of the app folder are hosted by all workers", files = { ["app/counter.lua"] = counter,
    ["a.lua"] = [[
    local gb = require "gb"
    local seen, count = {}, 0
    for i = 1, 64 do
      local at = assert(gb.get("Counter", i):where())
      if not seen[at] then seen[at], count = true, count + 1 end
    end
    io.stderr:write(count, "\n")]] }, run = "--workers 4 a.lua", err = { "4\n" }, has = {
      "bye\tshutdown" } },
  { "a missing file", run = "nope.lua", code = 1, err = { "cannot open nope.lua: no such file" } },
  { "a folder", files = { ["d.lua/x"] = "" }, run = "d.lua", code = 1, err = { "it is a folder" } },
  { "a syntax error", files = { ["a.lua"] = "local x = 1\nlocal y = = 2\n" }, run = "a.lua",
    code = 1,
    err = { "gbrun: a.lua:2: unexpected symbol near '='" } },
  { "a script that raises", files = { ["a.lua"] = [[
    local function f() error("boom") end
    f()
    print("not here")]] }, run = "a.lua", code = 1, out = "",
    err = { "gbrun: a.lua:1: boom\nstack traceback:", "a.lua:1: in function 'f'",
      "a.lua:2: in main chunk" },
    lacks = ours },
  { "a table as an error", files = { ["a.lua"] = "error({ code = 42 })" }, run = "a.lua", code = 1,
    err = { "a table was raised as an error: { code = 42 }" } },
  { "an error value with __tostring",
    files = { ["a.lua"] =
      "error(setmetatable({}, { __tostring = function() return 'mine' end }))" }, run = "a.lua",
    code = 1, err = { "gbrun: mine\n" } },
  { "nil as an error", files = { ["a.lua"] = "error(nil)" }, run = "a.lua", code = 1,
    err = { "nil was raised as an error" } },
  { "wrong use names the user's line", files = {
    ["a.lua"] = "local gb = require 'gb'\n\ngb.get('Counter', nil)" },
    run = "a.lua", code = 1, err = { "gbrun: a.lua:3: gb.get takes a type and a key",
      "a.lua:3: in main chunk" },
    lacks = ours },
  { "raise = true names the caller's line", files = { ["a.lua"] = [[
    local gb = require "gb"
    local T = gb.grain("T", {})
    function T:x() error("inside") end
    gb.get("T", 1):with { raise = true }:x()]] }, run = "a.lua", code = 1,
    err = { "gbrun: a.lua:4: a.lua:3: inside (ERAISED)" }, lacks = ours },
  { "os.exit ends it, what is printed appears, hooks run", files = { ["app/counter.lua"] = counter,
    ["a.lua"] = [[
    local gb = require "gb"
    gb.get("Counter", 1):add(1)
    io.write("no newline;")
    pcall(os.exit, 7)
    print("not here")]] }, run = "a.lua", code = 7, has = { "no newline;bye\tshutdown" }, lacks = {
      "not here" } },
  { "os.exit(true), os.exit(false)", files = { ["a.lua"] = "os.exit(false)" }, run = "a.lua",
    code = 1, out = "" },
  { "os.exit in a grain", files = { ["a.lua"] = [[
    local gb = require "gb"
    local T = gb.grain("T", {})
    function T:quit() os.exit(9) end
    gb.get("T", 1):quit()
    gb.sleep(1000)]] }, run = "a.lua", code = 9, out = "" },
  { "SIGTERM drains", files = { ["app/counter.lua"] = counter, ["a.lua"] = [[
    local gb = require "gb"
    gb.get("Counter", 1):add(1)
    os.execute("kill -TERM $PPID")
    gb.sleep(1000)]] }, run = "a.lua", code = 143, out = "bye\tshutdown\n" },
  { "SIGINT drains", files = { ["app/counter.lua"] = counter, ["a.lua"] = [[
    local gb = require "gb"
    gb.get("Counter", 1):add(1)
    io.popen("kill -INT $PPID"):close()
    gb.sleep(1000)]] }, run = "a.lua", code = 130, out = "bye\tshutdown\n" },
  { "what is queued at the end is drained", files = { ["a.lua"] = [[
    local gb = require "gb"
    local T = gb.grain("T", {})
    function T:say(i) gb.sleep(0.001) print(i) end
    for i = 1, 3 do gb.get("T", 1):tell("say", i) end
    gb.spawn(function() gb.get("T", 1):say(4) io.stderr:write("spawned\n") end)]] }, run = "a.lua",
    out = "1\n2\n3\n4\n", err = { "spawned\n" } },
  { "what never ends is given up", files = { ["a.lua"] = [[
    local gb = require "gb"
    gb.spawn(function() while true do gb.sleep(0.01) end end)
    print("done")]] }, run = "--drain 50ms a.lua", out = "done\n" },
  { "the drain's time is all there is, with hooks and with mail that nobody reads", files = {
    ["a.lua"] = [[
    local gb = require "gb"
    local T = gb.grain("T", {})
    function T:x() gb.sleep(100) end
    function T:on_deactivate() gb.sleep(100) end
    gb.get("T", 1):tell("x")
    gb.get("T", 2):async("x")
    gb.spawn(function() while true do gb.sleep(0.001) end end)
    print("done")]], ["b.lua"] = [[
    for _, time in ipairs { "1ms", "2ms", "5ms", "4s" } do
      local command = ("'%s' --drain %s a.lua; echo $? >rc"):format(os.getenv("GBRUN"), time)
      local before = require("gb").monotonic()
      os.execute(command)
      local took = require("gb").monotonic() - before
      assert(took < 7.9, "it took " .. took)
      for line in io.lines("rc") do assert(line == "0", line) end
    end]] }, run = "b.lua", out = ("done\n"):rep(4), err = { "still runs, for 4 s at most" } },
  { "buffers in mailboxes at the end", files = { ["a.lua"] = [[
    local gb = require "gb"
    local T = gb.grain("T")
    function T:take() gb.sleep(100) end
    for _ = 1, 3 do
      local d = gb.buffer("float", 10)
      gb.get("T", 1):tell("take", d:share())
      gb.get("T", 1):async("take", gb.move(d))
    end
    print("done")]] }, run = "--drain 10ms a.lua", out = "done\n" },
  { "a turn that never ends on another worker", files = { ["app/loop.lua"] = [[
    local gb = require "gb"
    local Loop = gb.grain("Loop")
    function Loop:where() return gb.silo().worker end
    function Loop:run()
      io.open("begun", "w"):close()
      while true do self.n = 1 end
    end
    return Loop]], ["a.lua"] = [[
    local gb = require "gb"
    for key = 1, 100 do
      local loop = gb.get("Loop", key)
      if loop:where() == 1 then
        local code
        repeat -- one that came too late does not begin
          code = select(3, loop:with { timeout = "10ms" }:run())
        until io.open("begun")
        print(code)
        os.exit(3)
      end
    end]] }, run = "--workers 2 --drain 10ms a.lua", code = 3, out = "ETIMEDOUT\n",
    err = { "gbrun: a turn does not end; the program ends without it\n" } },
  { "a wait that never ends, in virtual time", files = { ["a.lua"] = [[
    local gb = require "gb"
    gb.sleep("400h")
    print(gb.monotonic() >= 400 * 3600)]] }, run = "--virtual-time a.lua", out = "true\n" },
  { "a missing app folder", files = { ["a.lua"] = "" }, run = "--app nowhere a.lua", code = 1,
    err = { "the app folder nowhere is not there" } },
}
