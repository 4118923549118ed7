-- What may not be in the tree: some calls, mutable file-level variables, work left to do, and paths
-- of somebody's machine. A line with (or under) a comment
--     tidy: allowed because ...
-- is excused.
local text = require("text")
local variables = require("variables")

local calls = {
  strcpy = "use memcpy or snprintf", strcat = "use gb_buf", sprintf = "use snprintf",
  vsprintf = "use vsnprintf", gets = "use fgets", system = "use posix_spawn",
  popen = "use posix_spawn", strtok = "it keeps state", alloca = "the stack is small",
  atoi = "use strtol", __builtin_alloca = "the stack is small",
}
local test_calls = {
  sleep = "tests do not wait", usleep = "tests do not wait", nanosleep = "tests do not wait",
}
-- Written so that this file does not find itself.
local unfinished = { "TO" .. "DO", "FIX" .. "ME", "X" .. "XX" }
local machines = { "/wo" .. "rk/", "/ho" .. "me/", "/Us" .. "ers/", "/ro" .. "ot/" }

local function excused(lines, number)
  local here, above = lines[number] or "", lines[number - 1] or ""
  local mark = "tidy: allowed because %S+ %S+"
  return here:match(mark) or above:match(mark)
end

local function check_words(path, lines, report)
  for number, line in ipairs(lines) do
    for _, word in ipairs(unfinished) do
      if line:match("%f[%w_]" .. word .. "%f[^%w_]") and not excused(lines, number) then
        report(path, number, word .. " is left")
      end
    end
    for _, machine in ipairs(machines) do
      if (" " .. line):match("[^%w%.%-_/}~]" .. machine) and not excused(lines, number) then
        report(path, number, "a path of one machine: " .. machine)
      end
    end
  end
end

local function check_calls(path, lines, bare, report)
  for number, line in ipairs(text.lines(bare)) do
    for name in line:gmatch("%f[%w_]([%a_][%w_]*)%s*%(") do
      local why = calls[name] or (path:match("^tests/") and test_calls[name])
      if why and not excused(lines, number) then report(path, number, name .. "(): " .. why) end
    end
  end
end

local function check_variables(path, lines, bare, report)
  if variables.excused_folder(path) then return end
  local allowed, seen = variables.allowed[path] or {}, {}
  variables.find(bare, function(number, name)
    seen[name] = true
    if not allowed[name] and not excused(lines, number) then
      report(path, number, "a mutable variable that lives as long as the process: " .. name)
    end
  end)
  for name in pairs(allowed) do
    if not seen[name] then report(path, 1, "allowed in variables.lua but not there: " .. name) end
  end
end

local function check(path, bytes, report)
  if bytes:find("\0", 1, true) then return end -- not a text
  local lines = text.lines(bytes)
  check_words(path, lines, report)
  if not text.is_c(path) or path:match("%.S$") then return end
  local bare = text.bare(bytes)
  check_calls(path, lines, bare, report)
  if path:match("^src/.*%.[ch]$") then check_variables(path, lines, bare, report) end
end

local variable = "lives as long as the process"
local samples = {
  { "src/wire/a.c", "int f(void)\n{\n    return my_strcpy(a) + g.strcpy_s(b) + memcpy(a);\n}\n" },
  { "src/wire/a.c", '/* strcpy(a, b) */ f("strcpy(a, b)"); // system("x")\n' },
  { "tests/a.c", "usleep(5);\n", "usleep" },
  { "tests/a.c", "sleep (1);\n", "sleep" },
  { "src/sys/a.c", "nanosleep(&t, 0);\n" },
  { "src/wire/a.c", "/* tidy: allowed because the test needs it */\nsystem(x);\n" },
  { "src/wire/a.c", "system(x); /* tidy: allowed because */\n", "system" },
  { "docs/a.md", "fine: build/wo" .. "rk/x, ${X}/ho" .. "me/y\n" },
  { "src/base/err.c", "static int none;\n", variable },
  { "src/base/err.c", "int x;\n", "allowed in variables.lua but not there: detail" },
}
for name in pairs(calls) do
  samples[#samples + 1] = { "src/wire/a.c", "int f(void)\n{\n    " .. name .. "(x);\n}\n", name }
end
for _, word in ipairs(unfinished) do
  samples[#samples + 1] = { "lua/gb/a.lua", "-- " .. word .. ": more\n", word .. " is left" }
end
for _, machine in ipairs(machines) do
  samples[#samples + 1] = { "cmake/a.cmake", "set(x " .. machine .. "y)\n", "one machine" }
  samples[#samples + 1] = { "docs/a.md", machine .. "y\n", "one machine" }
end
for _, bad in ipairs({
  "static int count;", "int count = 3;", "static char *names[] = {\"a\"};",
  "static const char *name = \"a\";", "static struct {\n    int a;\n} table[3];",
  "struct point origin = {1, 2};", "static _Atomic(void *) hook;", "static void (*hook)(int);",
  "static _Thread_local char text[10];", "_Atomic int a;", "gb_buf *buf;",
  "void f(void)\n{\n    static int calls;\n}", "static int count __attribute__((unused));",
}) do
  samples[#samples + 1] = { "src/wire/a.c", "#include <x.h>\n" .. bad .. "\n", variable }
end
for _, good in ipairs({
  "static const int count = 3;", "static const char *const names[] = {\"a\", \"b\"};",
  "typedef struct {\n    int a;\n} point;", "struct point {\n    int a, *b;\n};", "struct point;",
  "enum { A = 1, B };", "int f(int a, void (*done)(int));", "static int f(void);",
  "static const struct {\n    int a;\n} rows[] = {{1}, {2}};", "extern const char *const names[];",
  "_Static_assert(1 == 1, \"x\");",
  "void f(int a)\n{\n    int b = a;\n    static const int c = 3;\n}",
  "static void (*const table[])(int) = {f, g};", "#define X(a) \\\n    int a;\nstatic int g(void);",
  "int f(void) __attribute__((format(printf, 1, 2)));",
}) do
  samples[#samples + 1] = { "src/wire/a.c", "#include <x.h>\n" .. good .. "\n" }
end

return {
  folders = { "src", "tests", "bench", "examples", "include", "lua", "cmake", "docs",
    "CMakeLists.txt", "CMakePresets.json", "Makefile", "README.md" },
  check = check,
  samples = samples,
}
