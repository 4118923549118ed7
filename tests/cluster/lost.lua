-- As a client that listens until it is killed.
local gb = require "gb"
assert(gb.subscribe(gb.get("A", "lost"), "said", function() end))
while true do gb.sleep "1h" end
