-- Streams and gathered calls in virtual time.
local gb = require "gb"

gb.catalog.register("plus", { kernel = "plus", source = [==[
extern "C" __global__ void plus(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] + 1;
}]==] })
gb.batch("plus"):execute { 1 } -- compiled before time counts

local function open(options)
  local out = {}
  options.out = options.out or function(value, _, code) out[#out + 1] = value or code end
  return gb.batch("plus"):stream(options), out
end

local function ordered(out, n)
  assert.equal(n, #out)
  for i = 1, n do assert.equal(i + 1, out[i]) end
end

describe("streams", function()
  it("run a batch of 128, or what came in 100 ms", function()
    local s, out = open {}
    for i = 1, 127 do assert(s:push(i)) end
    gb.test.idle()
    assert.equal(0, #out)
    assert(s:push(128))
    gb.test.idle()
    ordered(out, 128)
    assert(s:push(129))
    gb.test.advance("99ms")
    assert.equal(128, #out)
    gb.test.advance("1ms")
    ordered(out, 129)
    assert.equal(2, s:stats().batches)
    assert.equal("idle", s:stats().state)
    assert(s:push(130))
    assert(s:flush())
    gb.test.idle()
    ordered(out, 130)
    assert(s:stop())
  end)

  it("hold the producer back from pause to resume", function()
    local given = 0
    local s = open { size = 10, buffer = 100, pause = 0.9, resume = 0.5,
      out = function() gb.sleep("1s") given = given + 1 end }
    local pushed = 0
    local producer = gb.spawn(function()
      for i = 1, 200 do
        assert(s:push(i))
        pushed = pushed + 1
      end
    end)
    gb.test.idle()
    assert.equal(90, pushed)
    assert.equal("paused", s:stats().state)
    gb.test.advance("38s")
    assert.equal(90, pushed, "39 of 90 begun: 51 wait")
    gb.test.advance("2s")
    assert.is_true(pushed > 90)
    assert.is_true(s:stats().waiting <= 91)
    gb.test.advance("5m")
    assert.is_true(producer:done())
    assert.equal(200, given)
    assert.is_true(s:stats().pauses >= 2)
    assert(s:stop())
  end)

  it("drain when they are stopped, and refuse what comes later", function()
    local slow = {}
    local s = open { size = 7, out = function(value)
      gb.sleep("1s")
      slow[#slow + 1] = value
    end }
    for i = 1, 50 do assert(s:push(i)) end
    local start = gb.monotonic()
    local stopping = gb.spawn(function() return s:stop() end)
    gb.test.idle()
    assert.equal("stopping", s:stats().state)
    gb.test.advance("1m")
    assert.is_true(stopping:await())
    ordered(slow, 50)
    assert.is_true(gb.monotonic() - start >= 50)
    assert.equal("stopped", s:stats().state)
    assert.equal("ECLOSED", (select(3, s:push(1))))
  end)

  it("wake a producer that waits when they are stopped or fail", function()
    local s
    s = open { size = 2, buffer = 4, out = function() gb.sleep("1h") end }
    local waits = gb.spawn(function()
      for i = 1, 100 do
        local ok, _, code = s:push(i)
        if not ok then return code end
      end
    end)
    gb.test.idle()
    local stopping = gb.spawn(function() return s:stop() end)
    gb.test.idle()
    assert.equal("ECLOSED", (waits:await()))
    gb.test.advance("5h")
    assert.is_true(stopping:await())
    local n = 0
    s = open { size = 2, buffer = 4, out = function()
      n = n + 1
      gb.sleep("1s")
      if n == 3 then error("no room") end
    end }
    waits = gb.spawn(function()
      for i = 1, 100 do
        local ok, message = s:push(i)
        if not ok then return message end
      end
    end)
    gb.test.advance("1m")
    assert.truthy(waits:await():find("stream: out raised: ", 1, true))
    assert.equal("failed", s:stats().state)
    assert.equal("EINVAL", (select(3, s:stop())))
  end)

  it("make batches larger while that pays, and smaller when it does not", function()
    local s = open { size = 100, adaptive = true, min = 90, max = 130, delay = "10ms" }
    local function second(n)
      for i = 1, n do assert(s:push(i)) end
      gb.test.advance("1s")
    end
    for _ = 1, 11 do second(200) end
    assert.equal(100, s:stats().size) -- nothing to compare with
    for _ = 1, 11 do second(300) end
    assert.equal(120, s:stats().size)
    assert.is_true(math.abs(s:stats().rate - 300) < 60)
    for _ = 1, 10 do second(600) end
    assert.equal(130, s:stats().size)
    for _ = 1, 11 do second(100) end
    assert.equal(104, s:stats().size)
    for _ = 1, 11 do second(20) end
    assert.equal(90, s:stats().size)
    assert(s:stop())
  end)

  it("have presets", function()
    local function sizes(options)
      local s = open(options)
      return { s.size, s.min, s.max, s.delay, s.room, s.pause_at, s.resume_at, s.adaptive }
    end
    assert.same({ 128, 32, 10000, 0.1, 100000, 90000, 50000, true }, sizes {})
    assert.same({ 16, 16, 1000, 0.01, 10000, 8000, 4000, false }, sizes { preset = "low_latency" })
    assert.same({ 256, 256, 100000, 1, 1000000, 950000, 700000, true },
      sizes { preset = "high_throughput" })
    assert.same({ 20, 16, 1000, 0.005, 10000, 8000, 4000, false },
      sizes { preset = "low_latency", size = 20, delay = "5ms" })
    local function wrong(text, options)
      local ok, message = pcall(open, options)
      assert.is_false(ok)
      assert.truthy(message:find(text, 1, true), message)
    end
    wrong("did you mean 'low_latency'?", { preset = "low_latence" })
    wrong("stream: pause is a part of the buffer, over 0 and up to 1, got 2", { pause = 2 })
    wrong("stream: resume (0.8) is over pause (0.5)", { pause = 0.5, resume = 0.8 })
    wrong("stream: a size of 5 is not in 10 .. 10000 (min, max)", { size = 5, min = 10 })
    wrong("stream: a buffer of 5 is less than one batch of 128", { buffer = 5 })
  end)

  it("go on when the grain that gave results ends", function()
    local s, out = open { size = 4 }
    local Pusher = gb.grain("Pusher", {})
    function Pusher:push(first, last)
      for i = first, last do assert(s:push(i)) end
      return true
    end
    local slow = s.out
    s.out = function(...) gb.sleep("1s") slow(...) end
    assert(gb.get("Pusher", 1):push(1, 20))
    gb.test.advance("5s")
    assert.is_true(#out > 0 and #out < 20)
    gb.test.deactivate(gb.get("Pusher", 1))
    gb.test.advance("1m")
    local stuck = #out
    assert.is_true(stuck < 20)
    assert(gb.get("Pusher", 2):push(21, 24))
    gb.test.advance("2m")
    assert.equal(24, s:stats().given)
    assert.is_true(#out >= 23) -- the one in the hands of the first may be gone
    for i = 2, #out do assert.is_true(out[i] > out[i - 1]) end
    assert(s:stop())
  end)

  it("tell out that it cannot wait for itself", function()
    local s, answers = nil, {}
    s = open { size = 1, buffer = 4, out = function(value)
      for i = 1, value == 2 and 9 or 0 do answers[i] = { s:push(100) } end
    end }
    assert(s:push(1))
    gb.test.idle()
    assert.same({ true }, answers[3])
    for i = 4, 9 do
      assert.same({ nil, "the buffer is full, and out, which empties it, cannot wait for that",
        "EBUSY" }, answers[i])
    end
    assert(s:stop())
    assert.equal(4, s:stats().given)
    s = open { size = 1, out = function() s:stop() end }
    assert(s:push(1))
    gb.test.idle()
    local ok, message = s:stop()
    assert.is_nil(ok)
    assert.truthy(message:find("stop waits for out, so out cannot call it: gb.spawn(s.stop, s)", 1,
      true))
    local stopping
    s = open { size = 1, out = function() stopping = gb.spawn(s.stop, s) end }
    assert(s:push(1))
    gb.test.idle()
    assert.is_true(stopping:await())
    assert.equal("stopped", s:stats().state)
  end)

  it("count how long items take", function()
    local s = open { size = 10, delay = "100ms" }
    for i = 1, 15 do assert(s:push(i)) end
    gb.test.advance("1s")
    local latency = s:stats().latency
    assert.is_true(latency.max >= 0.1 and latency.max < 0.2)
    assert.is_true(latency.p50 < 0.1)
    assert(s:stop())
  end)
end)

describe("calls that are gathered", function()
  -- An item is how long it takes; the result of each is how many ran with it.
  local source = [==[
extern "C" __global__ void together(const int *x, int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned s = 1;
    for (int k = 0; k < x[i]; k++) s = s * 48271u % 2147483647u;
    y[i] = s ? n : 0;
}]==]
  gb.catalog.register("together", { kernel = "together", source = source })
  gb.catalog.register("lasting", { kernel = "together", source = source })
  local batch, lasting, long = gb.batch "together", gb.batch "lasting", 150000000
  batch:execute { 1 }
  lasting:execute { long } -- now it is known to take long
  local function call(n)
    local futures = {}
    for i = 1, n do futures[i] = gb.spawn(batch.call, batch, i) end
    return futures
  end
  local function ran_with(futures, n)
    for _, future in ipairs(futures) do
      assert.is_true(future:done())
      assert.equal(n, future:await())
    end
  end

  it("run at once when nobody is left who could bring more", function()
    local some = call(300)
    gb.test.idle()
    ran_with(some, 300)
    local one = call(1)
    gb.test.idle()
    ran_with(one, 1)
    local many = call(2500)
    gb.test.idle()
    ran_with({ many[1], many[1000], many[1001], many[2000] }, 1000)
    ran_with({ many[2001], many[2500] }, 500)
  end)

  it("wait for max_delay where one is set, and run when max_batch are there", function()
    batch:coalesce { max_batch = 3, max_delay = "5ms" }
    local first = call(1)
    gb.test.advance("4ms")
    assert.is_false(first[1]:done())
    local second = call(1)
    gb.test.idle()
    assert.is_false(second[1]:done())
    gb.test.advance("1ms")
    ran_with({ first[1], second[1] }, 2)
    local three = call(3)
    gb.test.idle()
    ran_with(three, 3)
    batch:coalesce {}
    local again = call(2)
    gb.test.idle()
    ran_with(again, 2)
  end)

  it("share one launch when they come while another runs", function()
    local first, others = gb.spawn(lasting.call, lasting, long), {}
    for i = 1, 10 do
      for _ = 1, 5 do gb.sleep(0) end
      others[i] = gb.spawn(lasting.call, lasting, 1)
    end
    assert.is_false(first:done())
    gb.test.idle()
    ran_with({ first }, 1)
    ran_with(others, 10)
  end)
end)
