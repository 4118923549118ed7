-- What benchmarks with several processes share.
local M = {}

function M.have(program)
  return os.execute("command -v " .. program .. " >/dev/null 2>&1") == 0
end

local pin = M.have("taskset") and io.popen("nproc"):read("*n") > 1
--- On one core, where there are two.
function M.on(core, command)
  return pin and ("taskset -c %d %s"):format(core, command) or command
end

--- A server that says "ready SOMETHING", while fn(SOMETHING) runs.
function M.beside(command, fn)
  local pipe = assert(io.popen("echo $$; exec " .. M.on(0, command) .. " 2>&1 </dev/null"))
  local pid = pipe:read("*n")
  for line in pipe:lines() do
    local said = line:match("^ready ?(.*)") or line:match("Ready to accept connections()")
    if said then
      fn(said)
      break
    end
  end
  os.execute(("kill %d 2>/dev/null"):format(pid))
  pipe:close()
end

--- A free port, most likely.
function M.port()
  return 20000 + math.floor(tonumber(tostring({}):match("0x(%x+)"), 16) / 16) % 20000
end

--- Redis with nothing on disk.
function M.redis(port)
  return ("redis-server --bind 127.0.0.1 --port %d --save '' --appendonly no"):format(port)
end

return M
