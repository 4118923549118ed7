-- `gbrun test`: runs busted specs as one turn of a silo whose time is virtual. Their bodies may
-- wait.
local core = require "gb.core"
local fail = require "gb.fail"

local M = {}

-- Modules of ours that a spec is the first to require would be forgotten at the end of its file
-- (busted insulates files), and come back as other ones.
local function load_own()
  for name in pairs(package.preload) do
    if name:find("^gb") then require(name) end
  end
end

local function load_busted()
  local ok, busted = pcall(require, "busted.core")
  if ok then return busted() end
  local first = tostring(busted):match("^[^\n]*")
  error("gbrun test needs busted 2 for Lua 5.1: apt install lua-busted, or "
    .. "luarocks --lua-version 5.1 install busted ("
    .. first .. ")", 0)
end

-- Counts as busted's own program counts.
local function count_results(busted)
  local count = { passed = 0, failures = 0, errors = 0, pending = 0 }
  busted.subscribe({ "error" }, function()
    count.errors = count.errors + 1
    return nil, true
  end)
  busted.subscribe({ "failure" }, function(element)
    local what = element.descriptor == "it" and "failures" or "errors"
    count[what] = count[what] + 1
    return nil, true
  end)
  busted.subscribe({ "test", "end" }, function(_, _, status)
    if status == "success" then count.passed = count.passed + 1 end
    if status == "pending" then count.pending = count.pending + 1 end
    return nil, true
  end)
  return count
end

-- Each file begins with a silo without activations and with what is random as at the start.
local function renew_for_files(busted, seed)
  local test = require "gb.test"
  busted.subscribe({ "file", "start" }, function()
    test.seed(seed)
    return nil, true
  end)
  busted.subscribe({ "file", "end" }, function()
    test.reset()
    return nil, true
  end)
end

local function execute(busted, target, seed)
  local load_files = require "busted.modules.test_file_loader"(busted, { "lua" })
  local pattern = target:find("%.lua$") and "%.lua$" or "_spec%.lua$"
  load_files({ target }, { pattern }, { excludes = {}, verbose = false, recursive = true })
  require "busted.execute"(busted)(1, { seed = seed, shuffle = false, sort = false })
  busted.publish({ "exit" })
end

local function check_pattern(filter)
  local ok, why = pcall(string.find, filter, filter)
  if not ok then fail.raise("EINVAL", "--filter '%s' is no Lua pattern: %s", filter, why) end
end

--- target: a folder or a file; dir: where helpers of the specs are found; terminal: "tty" or
--- "plain".
function M.run(target, dir, seed, terminal, filter)
  seed = tonumber(seed)
  if filter then check_pattern(filter) end
  load_own()
  package.path = dir .. "/?.lua;" .. dir .. "/?/init.lua;" .. package.path
  local busted = load_busted()
  require "busted"(busted)
  local count = count_results(busted)
  busted.randomseed = seed
  local handler = terminal == "tty" and "utfTerminal" or "plainTerminal"
  require "busted.modules.output_handler_loader"()(busted, handler, { defaultOutput = handler,
    verbose = false,
    suppressPending = false, language = "en", deferPrint = false, arguments = {} })
  require "busted.luajit"()
  require "busted.modules.filter_loader"()(busted, { tags = {}, excludeTags = {}, filter = {
    filter },
    filterOut = {}, list = false, nokeepgoing = false, suppressPending = false })
  renew_for_files(busted, seed)
  execute(busted, target, seed)
  local failed = count.failures + count.errors
  if count.passed + failed + count.pending == 0 then
    failed = 1
    io.write(("no test ran: %s has none%s\n"):format(target,
      filter and (" whose name has the pattern '%s'"):format(filter) or ""))
  end
  io.write(("%d passed, %d failed\n"):format(count.passed, failed))
  io.flush()
  if failed > 0 then os.exit(math.min(failed, 100)) end
  if core.place().virtual_time then require("gb.test").reset() end
end

return M
