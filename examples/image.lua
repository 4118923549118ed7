-- Pictures: resize, blur (a convolution), grey and edges (a filter) of gb.lib, on every device and
-- in plain Lua.
--
--   gbrun examples/image.lua [FILE.ppm] [FOLDER]
--
-- FILE is a PPM (P6, 8 bits); data/lake.ppm beside this script when not given. The results are
-- written to FOLDER as large.ppm, blurred.ppm, grey.pgm and edges.pgm when it is given.
local gb = require "gb"
local beside = require "beside"
local lib = gb.lib

local WIDTH = 1024 -- of the enlarged picture

-- ---- PPM and PGM: a header of words and comments, one blank, then bytes ----

local function read_ppm(path)
  local function bad(why) error(("%s is no PPM of 8 bits: %s"):format(path, why), 0) end
  local file, message = io.open(path, "rb")
  if not file then error(("cannot open the picture: %s"):format(message), 0) end
  local text = file:read("*a")
  file:close()
  if not text then error(("%s cannot be read: is it a file?"):format(path), 0) end
  local words, at = { text:match("^P6%s") and "P6" or bad "it does not begin with P6" }, 3
  while #words < 4 do
    local word, after = text:match("^%s*(%w+)()", at)
    local comment = text:match("^%s*#[^\n]*\n()", at)
    if not word and not comment then bad "its header ends early" end
    if word then words[#words + 1] = word end
    at = comment or after
  end
  local width, height, most = tonumber(words[2]), tonumber(words[3]), tonumber(words[4])
  if not width or not height or width < 1 or height < 1 or width * height > 1e8 then
    bad(("%s x %s pixels"):format(words[2], words[3]))
  end
  if most ~= 255 then bad(("its greatest value is %s, not 255"):format(words[4])) end
  local bytes = width * height * 3
  if #text - at < bytes then
    bad(("%d bytes of pixels, needed %d"):format(#text - at, bytes))
  end
  local pixels = gb.array("uint8", bytes)
  require("ffi").copy(pixels:pointer(), text:sub(at + 1, at + bytes), bytes)
  return pixels, width, height
end

local function write_pnm(path, pixels, width, height, channels)
  local file, message = io.open(path, "wb")
  if not file then error(("cannot write the result: %s"):format(message), 0) end
  file:write(("P%d\n%d %d\n255\n"):format(channels == 3 and 6 or 5, width, height),
    require("ffi").string(pixels:pointer(), #pixels))
  assert(file:close())
  print("wrote " .. path)
end

-- ---- in plain Lua ----

local floor, min, max, sqrt = math.floor, math.min, math.max, math.sqrt
local plain = {}

local function byte(value) return min(255, floor(max(0, value) + 0.5)) end

-- Bilinear, between the centres of pixels; outside the picture its edge goes on.
function plain.resize(x, width, height, to_width, to_height)
  local out = gb.array("uint8", to_width * to_height * 3)
  local p, r = x:pointer(), out:pointer()
  for row = 0, to_height - 1 do
    local fy = (row + 0.5) * height / to_height - 0.5
    local y0 = floor(fy)
    local top, bottom = max(0, y0) * width, min(height - 1, y0 + 1) * width
    for column = 0, to_width - 1 do
      local fx = (column + 0.5) * width / to_width - 0.5
      local x0 = floor(fx)
      local left, right = max(0, x0), min(width - 1, x0 + 1)
      local ax, ay, at = fx - x0, fy - y0, (row * to_width + column) * 3
      for c = 0, 2 do
        local upper = (1 - ax) * p[(top + left) * 3 + c] + ax * p[(top + right) * 3 + c]
        local lower = (1 - ax) * p[(bottom + left) * 3 + c] + ax * p[(bottom + right) * 3 + c]
        r[at + c] = byte((1 - ay) * upper + ay * lower)
      end
    end
  end
  return out
end

function plain.convolve(x, width, height, weights, side)
  local out, half = gb.array("uint8", #x), floor(side / 2)
  local p, r, w = x:pointer(), out:pointer(), weights:pointer()
  for row = 0, height - 1 do
    for column = 0, width - 1 do
      local red, green, blue = 0, 0, 0
      for v = 0, side - 1 do
        local line = min(height - 1, max(0, row + v - half)) * width
        for u = 0, side - 1 do
          local at = (line + min(width - 1, max(0, column + u - half))) * 3
          local weight = w[v * side + u]
          red, green = red + weight * p[at], green + weight * p[at + 1]
          blue = blue + weight * p[at + 2]
        end
      end
      local at = (row * width + column) * 3
      r[at], r[at + 1], r[at + 2] = byte(red), byte(green), byte(blue)
    end
  end
  return out
end

function plain.grayscale(x, width, height)
  local out = gb.array("uint8", width * height)
  local p, r = x:pointer(), out:pointer()
  for i = 0, width * height - 1 do
    r[i] = byte(0.299 * p[3 * i] + 0.587 * p[3 * i + 1] + 0.114 * p[3 * i + 2])
  end
  return out
end

function plain.sobel(x, width, height)
  local out = gb.array("uint8", width * height)
  local p, r = x:pointer(), out:pointer()
  for row = 0, height - 1 do
    local a, b, c = max(0, row - 1) * width, row * width, min(height - 1, row + 1) * width
    for column = 0, width - 1 do
      local left, right = max(0, column - 1), min(width - 1, column + 1)
      local gx = p[a + right] - p[a + left] + 2 * (p[b + right] - p[b + left])
        + p[c + right] - p[c + left]
      local gy = p[c + left] - p[a + left] + 2 * (p[c + column] - p[a + column])
        + p[c + right] - p[a + right]
      r[b + column] = byte(sqrt(gx * gx + gy * gy))
    end
  end
  return out
end

-- ---- the job ----

local path = arg[1] or (arg[0]:match("^(.*)/") or ".") .. "/data/lake.ppm"
local picture, width, height = read_ppm(path)
local to_width, to_height = WIDTH, max(1, floor(WIDTH * height / width + 0.5))

-- A bell of 7 x 7: the sum of the weights is one.
local side, weights, total = 7, gb.array("float", 49), 0
for i = 0, 48 do
  local dx, dy = i % side - 3, floor(i / side) - 3
  weights[i] = math.exp(-(dx * dx + dy * dy) / 8)
  total = total + weights[i]
end
for i = 0, 48 do weights[i] = weights[i] / total end

beside.begin(("%s: %d x %d, enlarged to %d x %d"):format(path, width, height, to_width, to_height))

-- Results are bytes: where floats and doubles round differently they may differ by one.
local large = beside.work { name = "resize", limit = 1,
  lua = function() return plain.resize(picture, width, height, to_width, to_height) end,
  on = function(device)
    local x = beside.put(device, picture)
    return function()
      return assert(lib.resize(x, width, height, 3, to_width, to_height))
    end
  end }

local blurred = beside.work { name = "blur, 7 x 7 convolution", limit = 1,
  lua = function() return plain.convolve(large, to_width, to_height, weights, side) end,
  on = function(device)
    local x, w = beside.put(device, large), beside.put(device, weights)
    return function()
      return assert(lib.convolve(x, to_width, to_height, 3, w, side, side))
    end
  end }

local grey = beside.work { name = "grey", limit = 1,
  lua = function() return plain.grayscale(blurred, to_width, to_height) end,
  on = function(device)
    local x = beside.put(device, blurred)
    return function() return assert(lib.grayscale(x, to_width, to_height, 3)) end
  end }

local edges = beside.work { name = "edges, Sobel's filter", limit = 1,
  lua = function() return plain.sobel(grey, to_width, to_height) end,
  on = function(device)
    local x = beside.put(device, grey)
    return function() return assert(lib.sobel(x, to_width, to_height)) end
  end }

if arg[2] then
  write_pnm(arg[2] .. "/large.ppm", large, to_width, to_height, 3)
  write_pnm(arg[2] .. "/blurred.ppm", blurred, to_width, to_height, 3)
  write_pnm(arg[2] .. "/grey.pgm", grey, to_width, to_height, 1)
  write_pnm(arg[2] .. "/edges.pgm", edges, to_width, to_height, 1)
end

beside.finish()
