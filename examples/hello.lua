-- The smallest program: a grain and a call. Run it: gbrun examples/hello.lua
local gb = require "gb"

local Greeter = gb.grain("Greeter")

function Greeter:greet(name)
  self.state.greeted = (self.state.greeted or 0) + 1
  return ("hello, %s! You are number %d."):format(name, self.state.greeted)
end

-- A reference is a name, not an object: the grain is made when the first call reaches it.
local greeter = gb.get("Greeter", "at the door")
print(assert(greeter:greet("Ada")))
print(assert(greeter:greet("Alan")))

-- A failure is a result, never a crash: nil, a message and a code.
local _, message, code = greeter:great("Ada")
print(code, message)

-- expect: hello, Ada! You are number 1.
-- expect: hello, Alan! You are number 2.
-- expect: ENOMETHOD	Greeter: unknown method 'great'; did you mean 'greet'?
