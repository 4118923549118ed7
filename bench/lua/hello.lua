-- The shortest program with a grain: prints its first answer; "stay" keeps the silo idle for a
-- while after that.
local gb = require "gb"

local Hello = gb.grain("Hello")
function Hello:say(name) return "hello, " .. name end

print((gb.get(Hello, 1):say("world")))
io.flush()
if arg[1] == "stay" then gb.sleep(8) end
