-- spawn.lua: runs a program with a time bound, its output in a file. No shell and no tool of PATH
-- is needed: the C library's posix_spawn, by FFI.
local ffi = require "ffi"

ffi.cdef [[
int posix_spawn(int *pid, const char *path, const void *actions, const void *attributes,
                char *const *argv, char *const *environment);
int posix_spawn_file_actions_init(void *actions);
int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, int mode);
int posix_spawn_file_actions_adddup2(void *actions, int from, int to);
int posix_spawn_file_actions_destroy(void *actions);
int posix_spawnattr_init(void *attributes);
int posix_spawnattr_setflags(void *attributes, short flags);
int posix_spawnattr_setpgroup(void *attributes, int group);
int posix_spawnattr_destroy(void *attributes);
int waitpid(int pid, int *status, int options);
int kill(int pid, int signal);
int usleep(unsigned microseconds);
struct pack_time { long seconds, nanoseconds; };
int clock_gettime(int clock, struct pack_time *out);
char *strerror(int code);
extern char **environ;
]]

local M = {}
local C = ffi.C
local NO_HANG, GROUP, KILL = 1, 2, 9
local WRITE_NEW = 0x241 -- write only, created, cut short

function M.now()
  local time = ffi.new("struct pack_time")
  C.clock_gettime(1, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

-- NULL-ended, with the strings it points at.
local function strings(list)
  local out, keep = ffi.new("char *[?]", #list + 1), {}
  for i, text in ipairs(list) do
    keep[i] = ffi.new("char[?]", #text + 1, text)
    out[i - 1] = keep[i]
  end
  out[#list] = nil
  return out, keep
end

-- This process's environment with some variables set, or taken out (false).
local function environment(changes)
  local list, i = {}, 0
  while C.environ[i] ~= nil do
    local text = ffi.string(C.environ[i])
    if changes[text:match("^[^=]*")] == nil then list[#list + 1] = text end
    i = i + 1
  end
  for name, value in pairs(changes) do
    if value then list[#list + 1] = name .. "=" .. value end
  end
  return list
end

local function start(argv, changes, output)
  local actions, attributes = ffi.new("long[64]"), ffi.new("long[64]") -- larger than both types
  C.posix_spawn_file_actions_init(actions)
  C.posix_spawn_file_actions_addopen(actions, 0, "/dev/null", 0, 0)
  C.posix_spawn_file_actions_addopen(actions, 1, output, WRITE_NEW, tonumber("644", 8))
  C.posix_spawn_file_actions_adddup2(actions, 1, 2)
  C.posix_spawnattr_init(attributes)
  C.posix_spawnattr_setflags(attributes, GROUP)
  C.posix_spawnattr_setpgroup(attributes, 0) -- so that its children end with it
  local pid = ffi.new("int[1]")
  local arguments, kept = strings(argv)
  local variables, kept_too = strings(environment(changes))
  local code = C.posix_spawn(pid, argv[1], actions, attributes, arguments, variables)
  C.posix_spawn_file_actions_destroy(actions)
  C.posix_spawnattr_destroy(attributes)
  if code ~= 0 then return nil, ffi.string(C.strerror(code)), kept, kept_too end
  return pid[0]
end

--- { status =, signal =, timed_out =, seconds =, output = }; status nil: it could not be started,
--- or a signal ended it.
function M.run(argv, changes, output, bound_s)
  local began = M.now()
  local pid, why = start(argv, changes, output)
  if not pid then return { seconds = 0, output = why } end
  local status, out = ffi.new("int[1]"), {}
  while C.waitpid(pid, status, NO_HANG) == 0 do
    if M.now() - began > bound_s then
      out.timed_out = true
      C.kill(-pid, KILL)
      C.waitpid(pid, status, 0)
      break
    end
    C.usleep(2000)
  end
  out.seconds = M.now() - began
  local signal = status[0] % 128
  if signal == 0 then out.status = math.floor(status[0] / 256) % 256 else out.signal = signal end
  local file = io.open(output, "rb")
  out.output = file and file:read("*a") or ""
  if file then file:close() end
  return out
end

return M
