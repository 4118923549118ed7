-- Files to 600 lines, functions to 70, lines to 100 columns. A comment
--     /* tidy: long because ... */
-- in the first 20 lines excuses a file, in the 12 lines before its brace a function.
local text = require("text")

local FILE_LINES, FUNCTION_LINES, COLUMNS = 600, 70, 100
local FILE_EXCUSE_LINES, FUNCTION_EXCUSE_LINES = 20, 12

local function excused(lines, from, to)
  for i = math.max(from, 1), math.min(to, #lines) do
    if lines[i]:match("tidy: long because %S+ %S+") then return true end
  end
  return false
end

-- Bodies start with a brace of their own in the first column (clang-format keeps it so).
local function check_functions(path, lines, report)
  local start
  for number, line in ipairs(lines) do
    if line:match("^{%s*$") then
      start = number
    elseif start and line:match("^}") then
      local long = number - start + 1
      if long > FUNCTION_LINES and
        not excused(lines, start - FUNCTION_EXCUSE_LINES, start) then
        report(path, start, ("a function of %d lines, at most %d"):format(long, FUNCTION_LINES))
      end
      start = nil
    end
  end
end

local function check(path, bytes, report)
  local c, lua = text.is_c(path), path:match("%.lua$")
  if not c and not lua then return end
  local lines = text.lines(bytes)
  if #lines > FILE_LINES and not excused(lines, 1, FILE_EXCUSE_LINES) then
    report(path, #lines, ("%d lines, at most %d"):format(#lines, FILE_LINES))
  end
  for number, line in ipairs(lines) do
    local columns = text.columns(line)
    if columns > COLUMNS then
      report(path, number, ("%d columns, at most %d"):format(columns, COLUMNS))
    end
  end
  if c then check_functions(path, lines, report) end
end

local function body(lines, before)
  return (before or "") .. "void f(void)\n{\n" .. ("    g();\n"):rep(lines - 2) .. "}\n"
end

return {
  folders = { "src", "tests", "bench", "examples", "include", "lua", "cmake" },
  check = check,
  samples = {
    { "src/base/a.c", body(70) },
    { "src/base/a.c", body(71), "a function of 71 lines" },
    { "src/base/a.c", body(71, "/* tidy: long because one table */\n") },
    { "src/base/a.c", body(71, "/* tidy: long because */\n"), "a function of 71" },
    { "src/base/a.c", body(71, "/* tidy: long because one table */\n" .. ("\n"):rep(20)),
      "a function of 71" },
    { "src/base/a.h", ("\n"):rep(600) },
    { "src/base/a.h", ("int x;\n"):rep(601), "601 lines" },
    { "src/base/a.h", "/* tidy: long because a table of names */\n" .. ("int x;\n"):rep(601) },
    { "lua/gb/a.lua", ("x()\n"):rep(601), "601 lines" },
    { "lua/gb/a.lua", ("x"):rep(100) .. "\n" .. ("\195\188"):rep(100) .. "\n" },
    { "lua/gb/a.lua", "\n" .. ("x"):rep(101) .. "\n", "a.lua:2: 101 columns" },
    { "bench/a.c", "//" .. ("x"):rep(99) .. "\n", "101 columns" },
    { "src/gpu/device/notes.txt", ("x"):rep(300) .. "\n" },
  },
}
