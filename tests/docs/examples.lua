-- examples.lua GBRUN FILE...: each example must print what its "-- expect:" lines say, and end
-- well.
package.path = (arg[0]:match("^.*/") or "./") .. "?.lua;" .. package.path
local run = require "run"

local good = true
for i = 2, #arg do
  local expected = run.expected(run.read(arg[i]))
  local lines, code = run.run(arg[1], arg[i])
  good = run.check(arg[i], lines, code, expected) and #expected > 0 and good
end
os.exit(good and 0 or 1)
