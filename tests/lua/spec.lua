-- For the specs beside this file: named checks; raised(fn, text), returned(code, text, ...).
local spec = { passed = 0 }

function spec.equal(got, expected, what)
  if got ~= expected then
    error(("%s: expected %s, got %s"):format(what or "value", tostring(expected), tostring(got)), 2)
  end
  spec.passed = spec.passed + 1
end

function spec.list(got, expected, what)
  if #got ~= #expected then
    error(("%s: %d elements, expected %d"):format(what or "list", #got, #expected), 2)
  end
  for i = 1, #expected do
    if got[i] ~= expected[i] then
      error(("%s[%d]: expected %s, got %s"):format(what or "list", i, tostring(expected[i]),
        tostring(got[i])), 2)
    end
  end
  spec.passed = spec.passed + 1
end

--- fn must raise a message that holds the text (plain) and begins with the line where it was called
--- in this file.
function spec.raised(text, fn, ...)
  local ok, message = pcall(fn, ...)
  if ok then error("nothing was raised; expected: " .. text, 2) end
  message = tostring(message)
  if not message:find(text, 1, true) then
    error(("expected '%s', got '%s'"):format(text, message), 2)
  end
  local line = debug.getinfo(2, "l").currentline
  local at = tonumber(message:match("^spec_[%w_]+%.lua:(%d+): "))
  if not at or at < line or at > line + 2 then
    error(("raised at line %s, expected %d: %s"):format(tostring(at), line, message), 2)
  end
  spec.passed = spec.passed + 1
end

--- The values must be nil, a message that holds the text, and the code.
function spec.returned(code, text, value, message, got)
  if value ~= nil or got ~= code or not tostring(message):find(text, 1, true) then
    error(("expected nil, '%s', %s; got %s, '%s', %s"):format(text, code, tostring(value),
      tostring(message),
      tostring(got)), 2)
  end
  spec.passed = spec.passed + 1
end

--- Did a compiler say that? A pack of images has none, and then there is nothing to look at.
function spec.compiled(message)
  local none = message:find("no image of this source", 1, true)
    or message:find("no compiler for the GPU", 1, true)
  if none then print("not run: no compiler and no image: what a compiler says") end
  return not none
end

function spec.done() print(spec.passed .. " passed, 0 failed") end

return spec
