-- run.lua GBRUN CASES DIR: runs the program as a user would, with good and bad input, and compares
-- exit code, standard output and standard error. CASES is a file that returns a list of
--     { "name", files = { ["a.lua"] = "text" }, run = "a.lua ARG", code = 0, out = "exact" or nil,
--       has = { "part of the output" }, err = { "part of standard error" }, lacks = { "in neither"
-- }, env = "A=b", nvrtc = true (it needs NVRTC) } DIR is emptied; each case has a folder there.
local gbrun, cases_file, dir = arg[1], arg[2], arg[3]

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function shell(command) return os.execute(command) end

local function make(case, folder)
  assert(shell(("rm -rf '%s' && mkdir -p '%s'"):format(folder, folder)) == 0)
  for path, text in pairs(case.files or {}) do
    local below = path:match("^(.*)/[^/]*$")
    if below then assert(shell(("mkdir -p '%s/%s'"):format(folder, below)) == 0) end
    write(folder .. "/" .. path, text)
  end
end

local function execute(case, folder)
  write(folder .. "/run.sh", "exec >out 2>err </dev/null\n\"$GBRUN\" " .. case.run .. "\n")
  local command = ("cd '%s' && env -u GB_WORKERS -u GB_LOG_LEVEL GB_CACHE_DIR='%s/cache' "
    .. "GBRUN='%s' %s timeout -s KILL 300 sh run.sh; echo $? >code"):format(folder, dir, gbrun,
      case.env or "")
  shell(command)
  return tonumber(read(folder .. "/code")), read(folder .. "/out"), read(folder .. "/err")
end

local function check(case, code, out, err)
  local problems = {}
  local function expect(good, format, ...)
    if not good then problems[#problems + 1] = format:format(...) end
  end
  expect(code == (case.code or 0), "exit code %s, expected %d", tostring(code), case.code or 0)
  if case.out then expect(out == case.out, "standard output is not %q", case.out) end
  for _, part in ipairs(case.has or {}) do expect(out:find(part, 1, true),
    "not on standard output: %s", part) end
  for _, part in ipairs(case.err or {}) do expect(err:find(part, 1, true),
    "not on standard error: %s", part) end
  for _, part in ipairs(case.lacks or {}) do
    expect(not (out .. err):find(part, 1, true), "should not be there: %s", part)
  end
  if not case.err and (case.code or 0) == 0 then expect(err == "",
    "standard error is not empty") end
  return problems
end

assert(dir and dir:find("^/.+/"), "usage: run.lua GBRUN CASES DIR")
shell(("mkdir -p -m 0700 '%s/cache'"):format(dir))
local failed, count = 0, 0
-- A build under TSan cannot load the runtime of another sanitizer: such a case is left out there.
local thread_build = os.getenv("GB_TEST_SANITIZE") == "thread"

local function run(number, case)
  local folder = ("%s/%02d"):format(dir, number)
  make(case, folder)
  local code, out, err = execute(case, folder)
  local problems = check(case, code, out, err)
  count = count + 1
  if #problems == 0 then return end
  failed = failed + 1
  print(("FAILED %d: %s (gbrun %s)\n  %s\n--- out\n%s\n--- err\n%s"):format(number, case[1],
    case.run, table.concat(problems, "\n  "), out, err))
end

-- Cases that compile for GPUs need NVRTC, and are reported where there is none.
local function has_nvrtc()
  local path = dir .. "/doctor"
  shell(("'%s' doctor --cache '%s/cache' >'%s' 2>&1"):format(gbrun, dir, path))
  return read(path):find("NVRTC +%d") ~= nil
end
local nvrtc = has_nvrtc()

for number, case in ipairs(dofile(cases_file)) do
  if case.nvrtc and not nvrtc then
    print("not run, there is no NVRTC: " .. case[1])
  elseif case.sanitize and thread_build then
    print("left out: " .. case[1])
  else
    run(number, case)
  end
end
print(("%d cases, %d failed"):format(count, failed))
os.exit(failed == 0 and count > 0 and 0 or 1)
