-- run.lua BUILD: every benchmark, some rounds of each, and medians beside their bars and peers.
-- Peers run between our own rounds, so that both see the same machine. Compare numbers of one run
-- only.
io.stdout:setvbuf("line") -- other programs print in between
local build = arg[1] or "build/release"
local rounds = tonumber(os.getenv("GB_BENCH_ROUNDS") or 5)

local values = {} -- by name: what each round said

local function run(command)
  local pipe = assert(io.popen(command .. " </dev/null 2>&1"))
  for line in pipe:lines() do
    local name, value = line:match("^R ([%w_]+) ([%d.]+)$")
    if name then
      values[name] = values[name] or {}
      table.insert(values[name], tonumber(value))
    elseif not line:find("^F ") then -- facts are for the pack
      print("   " .. line)
    end
  end
  pipe:close()
end

local function median(name)
  local list = values[name]
  if not list then return nil end
  table.sort(list)
  return list[math.floor(#list / 2) + 1]
end

local function have(program)
  return os.execute("command -v " .. program .. " >/dev/null 2>&1") == 0
end

local function show(label, value, unit, note)
  local text = value and ("%.3f"):format(value) or "not run"
  print(("%-44s %10s %-5s %s"):format(label, text, unit, note or ""))
end

local function millions(name) return median(name) and median(name) / 1e6 end
local function ratio(a, b) return a and b and a / b end

local function against(value, bar, text)
  if not value then return "" end
  return ("%s %.2f (bar %s)"):format(text, value, bar)
end

-- ---- the runs ----

local erlang = have("erl") and have("erlc")
if erlang then
  local out = build .. "/peers"
  erlang = os.execute(("mkdir -p %s && erlc -o %s bench/peers/calls.erl"):format(out, out)) == 0
end
local gbrun = build .. "/gbrun"
for _ = 1, rounds do
  run(gbrun .. " --workers 1 bench/lua/calls.lua")
  if erlang then run("erl +S 1 -noshell -pa " .. build .. "/peers -run calls main one") end
  run(gbrun .. " bench/lua/workers.lua")
  if erlang then run("erl -noshell -pa " .. build .. "/peers -run calls main all") end
  run(gbrun .. " --workers 1 bench/lua/launch.lua")
  run(gbrun .. " --workers 1 bench/lua/plan.lua")
  run(gbrun .. " --workers 1 bench/lua/coalesce.lua")
  run(gbrun .. " --workers 1 bench/lua/coalesce.lua 100 coalesce_few")
  run(gbrun .. " bench/lua/coalesce.lua 1000 coalesce_workers")
  run(gbrun .. " --workers 1 bench/lua/batch.lua")
  run(gbrun .. " --workers 1 bench/lua/resident.lua")
end
for _ = 1, math.min(rounds, 3) do
  for _, what in ipairs { "integer 1e5", "string 1e5", "integer 1e6", "string 1e6" } do
    run(gbrun .. " --workers 1 bench/lua/activations.lua " .. what)
  end
end
for _ = 1, rounds do run("luajit bench/remote.lua " .. build) end
run("luajit bench/join.lua " .. build)
run(build .. "/bench_cluster")
run(build .. "/bench_startup " .. gbrun .. " bench/lua/hello.lua")

-- ---- the numbers ----

local erl1, workers = millions("erlang_call_1"), median("workers")
local one, thousand = millions("call_1"), millions("call_1000")
show("erlang gen_server:call, one in flight", erl1, "M/s", erlang and "" or "(no Erlang here)")
show("awaited call, one in flight", one, "M/s", against(ratio(one, erl1), "3", "of Erlang"))
show("awaited calls, 1000 in flight", thousand, "M/s",
  against(ratio(thousand, one), "1", "of one in flight"))
local small = millions("call_small_table")
show("call with a small table both ways", small, "M/s",
  "(bar 1.2 where Erlang does 1) " .. against(ratio(small, erl1), "1.2", "of Erlang"))
show("call with a nested table both ways", millions("call_nested_table"), "M/s")
show("one-way, 100 senders to one", millions("fan_in_100"), "M/s")
local pair, pairs_all = millions("pair_on_one_worker"), millions("pairs_on_all_workers")
show("pair on one worker", pair, "M/s")
show("pairs on all workers", pairs_all, "M/s",
  against(pair and pairs_all / pair / workers, "0.75", ("of %d times one:"):format(workers or 0)))
show("erlang pairs on all cores", millions("erlang_pairs"), "M/s",
  against(ratio(pairs_all, millions("erlang_pairs")), "-", "ours is"))
show("random keys over all workers, one in flight", millions("random_keys_1"), "M/s", "(bar 0.5)")
local wide = millions("random_keys_1000")
show("random keys over all workers, 1000 each", wide, "M/s",
  against(wide and wide / workers, "1", "per core"))
for _, kind in ipairs { "integer", "string" } do
  for _, count in ipairs { 100000, 1000000 } do
    local name, bars = kind .. "_" .. count, kind == "integer"
    local label = ("%d with %s keys"):format(count, kind)
    local rate = millions("activations_" .. name)
    show("activations, " .. label, rate, "M/s", bars and "(bar 1)" or "")
    show("  idle, each", median("idle_bytes_" .. name), "B", bars and "(bar 600)" or "")
    show("  longest pause", median("pause_ms_" .. name), "ms", bars and "(bar 10)" or "(reported)")
  end
end
local far, echo_us = median("remote_us"), median("remote_echo_us")
show("a plain C echo of 64 bytes, p50", echo_us, "us")
show("awaited call to another process, p50", far, "us",
  against(ratio(far, echo_us), "at most 1.3", "of the C echo:"))
local far_1000, redis = millions("remote_1000"), millions("remote_redis")
local far_erlang = millions("remote_erlang_1000")
show("the same, 1000 in flight", far_1000, "M/s",
  against(ratio(far_1000, far_erlang), "5", "of Erlang") .. "; "
  .. against(ratio(far_1000, redis), "0.4", "of Redis pipelined"))
show("erlang between nodes, one in flight", median("remote_erlang_us"), "us")
show("erlang between nodes, 1000 in flight", far_erlang, "M/s")
show("Redis, 1000 pipelined", redis, "M/s")
local echo_mib = median("remote_echo_mib")
show("a plain C echo of 1 MiB, 8 in flight", echo_mib, "MiB/s")
for _, what in ipairs { "text", "array" } do
  local rate = median("remote_" .. what .. "_mib")
  show(("1 MiB as %s both ways, 8 in flight"):format(what), rate, "MiB/s",
    against(ratio(rate, echo_mib), "0.7", "of the C echo:"))
end
show("a silo's capacity registered by a client", median("capacity_register_us"), "us", "(bar 1000)")
show("  updated", median("capacity_update_us"), "us", "(bar 1000)")
show("the best of 1,000 silos", median("cluster_best_us"), "us", "(bar 50)")
show("  a placement among them", median("cluster_place_us"), "us")
show("  the owner of a grain among them", median("cluster_owner_us"), "us")
show("  one silo's capacity noted", median("cluster_update_us"), "us")
show("  the ring after a join", median("cluster_ring_us"), "us")
for _, engine in ipairs { "sqlite", "redis" } do
  show("a silo joins three, table in " .. engine, median("join_" .. engine .. "_ms"), "ms",
    "(bar 500)")
end
show("first message after start", median("first_message_ms"), "ms", "(bar 10)")
show("idle silo, CPU of one core", median("idle_cpu_percent"), "%", "(bar 0.5)")
show("idle silo, memory", median("idle_memory_mb"), "MB", "(bar 12)")
show("cached launch from Lua, 1 thread", median("launch_1_thread_us"), "us",
  "(bar 5 beyond the work)")
show("cached launch from Lua, 1000 threads", median("launch_1000_threads_us"), "us")
show("  4096 threads for 1000 elements", median("launch_4096_threads_of_1000_us"), "us")
local plan, fused = median("plan_us"), median("plan_fused_ms")
show("ten small launches one by one", median("plan_launches_us"), "us")
show("the same as a plan", plan, "us",
  against(ratio(plan, median("plan_launches_us")), "at most 0.6", "of one by one:"))
show("four maps over 10 M floats, unfused", median("plan_unfused_ms"), "ms")
show("the same fused", fused, "ms",
  against(ratio(median("plan_unfused_ms"), fused), "2.5", "times faster:") .. "; "
  .. against(ratio(median("plan_by_hand_ms"), fused), "0.9", "of a loop by hand:"))
for _, row in ipairs { { "1000 grains", "coalesce" }, { "100 grains", "coalesce_few" },
  { "1000 grains, all workers", "coalesce_workers" } } do
  show("gathered calls of a sum, " .. row[1], millions(row[2] .. "_gathered"), "M/s",
    against(median(row[2] .. "_of_plain"), "0.5", "of plain awaited calls:"))
end
show("  of a launch for each item", median("coalesce_of_single"), "times", "(a GPU's bar: 20)")
for _, what in ipairs { "list", "array" } do
  show("a batch of one item as " .. what, median("batch_" .. what .. "_1_us"), "us")
  for _, n in ipairs { "1000", "10000", "100000" } do
    local name = "batch_" .. what .. "_" .. n
    show(("a batch of %s items as %s"):format(n, what), median(name .. "_ns_per_item"), "ns each",
      against(median(name .. "_of_linear"), "1.15", "of those of a million:"))
  end
end
show("a call of a resident grain", median("resident_call_us"), "us")
show("  moves of its 4 MB, each", median("resident_bytes"), "B", "(bar 0)")
for _, name in ipairs { "kernels", "codec", "calls_c", "embed", "memory", "cuda_raw" } do
  local program = build .. "/bench_" .. name
  local file = io.open(program)
  if file then
    file:close()
    print("== bench_" .. name)
    os.execute(program .. " </dev/null")
  end
end
print("== gb.lib")
os.execute(gbrun .. " bench/lua/lib.lua </dev/null")
