-- An app: grain types in app/, and a script that uses them. Run it: gbrun examples/counter/main.lua
local gb = require "gb"
local Counter = require "counter"

-- A hundred counters, spread over the workers. Calls that need not wait for each other are futures.
local futures = {}
for key = 1, 100 do
  futures[key] = gb.get(Counter, key):async("add", key)
end
local results = assert(gb.all(futures))
print("counters", #results, "the last one", results[100])

-- One-way messages are not answered. A call after them is: turns of a grain run in order.
local total = gb.get(Counter, "total")
for _, n in ipairs(results) do assert(total:tell("add", n)) end
print("total", assert(total:get()))

-- The grain's own failure, and a call that may take only so long.
print(select(3, total:add("three")))
print(assert(total:with { timeout = "5s" }:get()))
print("active", assert(gb.count("Counter")))

-- expect: counters	100	the last one	100
-- expect: total	5050
-- expect: NOT_A_NUMBER
-- expect: 5050
-- expect: active	101
