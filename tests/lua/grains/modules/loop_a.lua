require("gb").sleep("2ms")
return require "modules.loop_b"
