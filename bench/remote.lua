-- remote.lua BUILD: calls between two processes of this machine, beside what others do there: one
-- round. bench/run.lua runs it several times. Each side has one core where there are two.
local build = arg[1] or "build/release"

local kit = dofile "bench/kit.lua"
local have, beside, on = kit.have, kit.beside, kit.on
local function call(command)
  io.stdout:flush()
  os.execute(on(1, command) .. " </dev/null")
end

local gbrun = build .. "/gbrun"
local table_file = os.tmpname()
beside(("%s silo --cluster sqlite:%s --app bench/lua/app --workers 1"):format(gbrun, table_file),
  function(address)
    call(("%s --connect %s --workers 1 bench/lua/remote.lua"):format(gbrun, address))
  end)
for _, tail in ipairs { "", "-wal", "-shm" } do os.remove(table_file .. tail) end

beside(build .. "/peers_echo serve", function(port) call(build .. "/peers_echo call " .. port) end)

local port = kit.port()
if have("erl") and have("erlc") then
  os.execute(("mkdir -p %s/peers && erlc -o %s/peers bench/peers/remote.erl"):format(build, build))
  local erl = ("erl +S 1 -noshell -pa %s/peers -setcookie bench -start_epmd false "
    .. "-erl_epmd_port %d -kernel inet_dist_use_interface '{127,0,0,1}' -name %%s@127.0.0.1 %%s")
    :format(build, port)
  beside(erl:format("echo", "-run remote serve"), function()
    call(erl:format("caller", "-dist_listen false -run remote main echo@127.0.0.1"))
  end)
end

if have("redis-server") and have("redis-benchmark") then
  beside(kit.redis(port + 1), function()
    local pipe = io.popen(on(1, ("redis-benchmark -p %d -t get -c 1 -P 1000 -n 500000 --csv")
      :format(port + 1)))
    local rate = pipe:read("*a"):match('"GET","([%d.]+)"')
    pipe:close()
    if rate then print("R remote_redis " .. rate) end
  end)
end
