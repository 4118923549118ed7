-- Run by talk.lua: writes log lines of every shape.
local gb = require "gb"

gb.log.info("plain")
gb.log.warn("warned", {})
gb.log.error("failed", { x = 1 })
gb.log.info("quote \" slash \\ newline \n", { field = "tab\tquote\"", ["key \"quoted\""] = true })
gb.log.info("numbers", { big = 2 ^ 53 + 1, third = 1 / 3, nan = 0 / 0, inf = math.huge,
  int64 = 9223372036854775807LL })
gb.log.info("nested", { a = { b = { 1, 2, { c = "d" } } } })
gb.log.info("list", { 1, 2, 3 })
gb.log.info("mixed", { "first", name = "Ann", inner = { 1, x = 2 } })
gb.log.info("empty", { t = {} })
local cycle = {}
cycle.cycle = cycle
gb.log.info("cycle", cycle)
gb.log.info("depth", { { { { { { { 1 } } } } } } })
gb.log.info("binary \255\254\0 bytes", { bytes = "\255\0\1" })
gb.log.info("odd", { [1.5] = print, [true] = coroutine.create(print),
  object = setmetatable({}, {}) })
gb.log.info("reserved", { level = "mine", time = "mine", text = "mine" })
local Logger = gb.grain("Logger")
function Logger:log() gb.log.info("from a grain", { n = 5 }) end
function Logger:told() error("told") end
function Logger:say() return self:publish("topic") end
function Logger:listen()
  gb.subscribe(gb.get("Logger", 1), "topic", function() error("in a grain's handler") end)
end
gb.get("Logger", 1):log()
gb.get("Logger", 1):tell("told")
gb.get("Logger", 1):tell("tald")
gb.get("Logger", 2):listen()
gb.subscribe(gb.get("Logger", 1), "topic", function() error("in the script's handler") end)
gb.get("Logger", 1):say()
gb.get("Logger", 1):log()
