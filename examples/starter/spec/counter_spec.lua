-- gbrun test spec
local gb = require "gb"

describe("a counter", function()
  it("adds", function()
    local counter = gb.get("Counter", "a")
    assert.equal(5, counter:add(5))
    assert.equal(7, counter:add(2))
  end)

  it("refuses what is no number", function()
    local value, message, code = gb.get("Counter", "b"):add("x")
    assert.is_nil(value)
    assert.equal("x is no number", message)
    assert.equal("NOT_A_NUMBER", code)
  end)

  it("begins anew after ten minutes without use", function()
    local counter = gb.get("Counter", "c")
    counter:add(1)
    gb.test.advance("11m")
    assert.equal(1, counter:add(1))
  end)
end)

describe("saxpy", function()
  it("scales and adds", function()
    local K = assert(gb.kernels { file = "kernels/vector.cu" })
    local x, y = gb.array("float", { 1, 2, 3 }), gb.array("float", { 10, 20, 30 })
    assert(K.saxpy:run(3, 3, 2.0, x, y))
    gb.test.near(y, { 12, 24, 36 }, 1e-6)
  end)
end)
