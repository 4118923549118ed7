-- Kernels with barriers, made up from a seed, run both ways: as loops over the threads of a block
-- and (GB_CPU_FIBERS=1) as fibers. Without a role this script starts itself in both and compares.
--   barriers.lua [SEED [COUNT]]     GB_GBRUN: the program
local role = os.getenv "GB_BARRIERS"
local seed = tonumber(arg[1] or "") or os.time() % 1000000
local count = tonumber(arg[2] or "") or 24

if not role then
  local program = assert(os.getenv "GB_GBRUN", "GB_GBRUN is not set")
  local lines = {}
  for _, fibers in ipairs { "0", "1" } do
    local pipe = assert(io.popen(("GB_BARRIERS=1 GB_CPU_FIBERS=%s '%s' --workers 1 '%s' %d %d")
      :format(fibers, program, arg[0], seed, count)))
    local text = pipe:read "*a"
    pipe:close()
    lines[#lines + 1] = text
  end
  local kernels = select(2, lines[1]:gsub("\n", ""))
  if kernels ~= count then
    error(("seed %d: %d of %d kernels ran"):format(seed, kernels, count))
  end
  if lines[1] ~= lines[2] then
    local other = lines[2]:gmatch "[^\n]+"
    for line in lines[1]:gmatch "[^\n]+" do
      local second = other()
      if line ~= second then
        error(("seed %d: loops say '%s', fibers '%s'"):format(seed, line, tostring(second)))
      end
    end
  end
  print(("%d kernels agree (seed %d)"):format(kernels, seed))
  return
end

local gb = require "gb"
local state = seed % 2 ^ 31
local function random(n)
  state = (state * 1103515245 + 12345) % 2 ^ 31
  return math.floor(state / 2 ^ 8) % n + 1
end
local function pick(...) return (select(random(select("#", ...)), ...)) end

-- ---- one kernel: between a write of shared memory and a read there is a barrier: no race ----

local vars, depth, made, loops

local function value()
  local names = { "(unsigned)t", "(unsigned)i", "(unsigned)m", random(9) .. "u", "blockIdx.x",
    "blockDim.x" } -- unsigned: what passes its range is defined
  for _, name in ipairs(vars) do names[#names + 1] = name end
  return names[random(#names)]
end

local function expression(deep)
  if (deep or 0) > 2 or random(3) == 1 then return value() end
  local a, b = expression((deep or 0) + 1), expression((deep or 0) + 1)
  return pick(("(%s + %s)"):format(a, b), ("(%s - %s)"):format(a, b),
    ("(%s * 3 ^ %s)"):format(a, b),
    ("(%s > %s ? %s : %s)"):format(a, b, b, a), ("mix(%s, %s)"):format(a, b),
    ("((%s & 0xff) * %s)"):format(a, b), ("(%s >> 3)"):format(a))
end

local function fresh()
  made = made + 1
  return "v" .. made
end

local statements

-- Writes, waits, reads, waits: the read is of another thread's place.
local function exchange(out)
  local array = pick("s", "q")
  local to = vars[random(#vars)]
  out[#out + 1] = ("%s[t] = %s;"):format(array, expression())
  out[#out + 1] = "__syncthreads();"
  out[#out + 1] = ("%s %s %s[(t + %d) %% 128];"):format(to, pick("+=", "=", "^="), array,
    random(127))
  out[#out + 1] = "__syncthreads();"
end

local function block(out, head, tail)
  local kept = #vars
  out[#out + 1] = head .. " {"
  depth = depth + 1
  statements(out, random(3))
  depth = depth - 1
  out[#out + 1] = tail or "}"
  while #vars > kept do table.remove(vars) end
end

local function counted(out)
  loops = loops + 1
  local j = "j" .. loops
  block(out, pick(("for (int %s = 0; %s < %d; %s++)"):format(j, j, random(4), j),
    ("for (int %s = m; %s > 0; %s -= 2)"):format(j, j, j),
    ("for (unsigned %s = 1; %s < blockDim.x; %s *= 4)"):format(j, j, j)))
end

local function either(out)
  block(out, ("if (%s > %d)"):format(pick("m", "(int)blockIdx.x"), random(4)), "} else {")
  local kept = #vars
  depth = depth + 1
  statements(out, random(2))
  depth = depth - 1
  out[#out + 1] = "}"
  while #vars > kept do table.remove(vars) end
end

-- Work of one thread alone, which may go another way than its neighbours'.
local function own(out)
  local to = vars[random(#vars)]
  pick(function()
    out[#out + 1] = ("if (t %% %d == 0) %s = %s;"):format(random(5), to, expression())
  end, function()
    out[#out + 1] = ("for (int k = 0; k < t %% %d; k++) %s += k ^ %s;"):format(random(6) + 1, to,
      expression(2))
  end, function()
    out[#out + 1] = ("{ unsigned w[4]; for (int k = 0; k < 4; k++) w[k] = %s + k;"
      .. " %s = w[t & 3]; }"):format(expression(2), to)
  end, function()
    out[#out + 1] = ("while (%s > 1000000u) %s /= 7;"):format(to, to)
  end, function()
    out[#out + 1] = ("%s = [=](unsigned z) { return z * 5 + %s; }(%s);"):format(to, value(),
      value())
  end)()
end

local function declare(out)
  local name, text = fresh(), expression()
  out[#out + 1] = pick("unsigned %s = %s;", "const unsigned %s = %s;",
    "unsigned long long %s = %s;", "unsigned short %s = (unsigned short)(%s);"):format(name, text)
  if not out[#out]:find "^const" then vars[#vars + 1] = name end
end

local function array_over_barrier(out)
  local name = fresh()
  out[#out + 1] = ("unsigned %s[3] = { (unsigned)(%s), (unsigned)(%s), (unsigned)t };"):format(
    name, expression(2), expression(2))
  exchange(out)
  out[#out + 1] = ("%s += %s[%d] + %s[t %% 3];"):format(vars[random(#vars)], name, random(3) - 1,
    name)
end

function statements(out, n)
  for _ = 1, n do
    local what = random(10)
    if what <= 3 or depth > 3 then
      exchange(out)
    elseif what <= 5 then
      own(out)
    elseif what == 6 then
      declare(out)
    elseif what == 7 then
      either(out)
    elseif what == 8 then
      array_over_barrier(out)
    else
      counted(out)
    end
  end
end

local function kernel(name)
  vars, depth, made, loops = { "a", "b" }, 0, 0, 0
  local flat = random(2) == 1
  local out = {
    ("extern \"C\" __global__ void %s(const unsigned *x, unsigned *y, int m)"):format(name), "{",
    "__shared__ unsigned s[128], q[128];",
    flat and "int t = threadIdx.x;" or "int t = threadIdx.y * blockDim.x + threadIdx.x;",
    "int i = blockIdx.x * 128 + t;", "unsigned a = x[i], b = t * 3;" }
  statements(out, 3 + random(4))
  out[#out + 1] = "y[i] = a * 31 + b;"
  out[#out + 1] = "}"
  return table.concat(out, "\n"), flat
end

local texts = { "__device__ unsigned mix(unsigned a, unsigned b)\n"
  .. "{ return (a ^ b) * 17 + (a >> 2); }" }
local flats = {}
for n = 1, count do texts[n + 1], flats[n] = kernel("k" .. n) end
local source = table.concat(texts, "\n")
if os.getenv "GB_BARRIERS_SHOW" then io.stderr:write(source, "\n") end
local K = assert(gb.kernels { name = "barriers", source = source, options = { "-std=c++17" } })
for n = 1, count do
  local x, y = gb.array("uint32", 640), gb.array("uint32", 640)
  for i = 0, 639 do x[i] = (i * 7919 + n) % 1000 end
  local shape = { grid = 5, block = flats[n] and 128 or { 16, 8 } }
  assert(K["k" .. n]:run(shape, x, y, n % 5))
  local sum = 0
  for i = 0, 639 do sum = (sum * 31 + y[i]) % 2 ^ 32 end
  print(("k%d %.0f"):format(n, sum))
end
