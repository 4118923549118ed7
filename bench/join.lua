-- join.lua BUILD: how long a silo takes to join a cluster of three, from the start of its process
-- to "ready", over a table in SQLite and in Redis: medians.
local build = arg[1] or "build/release"
local kit = dofile "bench/kit.lua"

local function join(name, url)
  io.stdout:flush()
  os.execute(("%s/bench_join %s/gbrun %s %s"):format(build, build, name, url))
end

local table_file = os.tmpname()
join("sqlite", "sqlite:" .. table_file)
for _, tail in ipairs { "", "-wal", "-shm" } do os.remove(table_file .. tail) end

if kit.have("redis-server") then
  local port = kit.port()
  kit.beside(kit.redis(port), function() join("redis", "redis://127.0.0.1:" .. port) end)
end
