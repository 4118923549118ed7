-- Runs a script with gbrun: its lines of output, and whether it ended well.
local M = {}

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

--- gbrun FILE from the folder, or with a command gbrun COMMAND FILE: a list of lines (standard
--- error among them), and the exit code.
function M.run(gbrun, file, folder, command)
  local pipe = assert(io.popen(("cd %s && %s %s %s 2>&1 </dev/null; echo \"exit $?\""):format(
    quote(folder or "."), quote(gbrun), command or "", quote(file))))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  local code = tonumber((table.remove(lines) or ""):match("^exit (%d+)$"))
  return lines, code
end

--- The texts of the lines "-- expect: TEXT" of a source.
function M.expected(source)
  local lines = {}
  for text in source:gmatch("%-%- expect: ?([^\n]*)") do lines[#lines + 1] = text end
  return lines
end

--- Prints what is wrong; true when the output is the expected one and the script ended well.
function M.check(name, lines, code, expected)
  local good = code == 0 and #lines == #expected
  for i, text in ipairs(expected) do good = good and lines[i] == text end
  if good then return true end
  print(("%s: exit code %s\nexpected:"):format(name, tostring(code)))
  for _, text in ipairs(expected) do print("    " .. text) end
  print("printed:")
  for _, text in ipairs(lines) do print("    " .. text) end
  return false
end

function M.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

return M
