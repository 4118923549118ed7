-- A pipeline of grains: a line is split, its words are looked up in parallel, the answers are
-- joined. Run it: gbrun examples/stages.lua
local gb = require "gb"

-- Last stage: one grain per word, so the same word meets the same state again.
local Word = gb.grain("Word")

function Word:seen(line)
  local lines = self.state.lines or {}
  self.state.lines = lines
  lines[#lines + 1] = line
  return #lines
end

-- Middle stage: asks for all words of a line at once, and waits for the answers. While it waits,
-- other splitters and all words go on.
local Splitter = gb.grain("Splitter")

function Splitter:split(line)
  local futures, words = {}, {}
  for word in line:lower():gmatch("%a+") do
    words[#words + 1] = word
    futures[#words] = gb.get(Word, word):async("seen", line)
  end
  local counts = assert(gb.all(futures))
  local again = {}
  for i, count in ipairs(counts) do
    if count > 1 then again[#again + 1] = words[i] end
  end
  return #words, again
end

-- First stage: one line after the other, each through a splitter of its own.
local lines = { "make it simple", "make it work", "then make it fast" }
for number, line in ipairs(lines) do
  local count, again = assert(gb.get(Splitter, number):split(line))
  print(count .. " words, " .. #again .. " known", unpack(again))
end
print("different words", assert(gb.count(Word)))

-- expect: 3 words, 0 known
-- expect: 3 words, 2 known	make	it
-- expect: 4 words, 2 known	make	it
-- expect: different words	6
