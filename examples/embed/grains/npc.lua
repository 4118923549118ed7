-- A character of the game: it thinks in small steps and asks the engine where the player is.
local gb = require "gb"

local Npc = gb.grain("Npc", { idle = "1m" })

function Npc:on_activate()
  self.state.x, self.state.thoughts = 0, 0
end

--- The file was loaded anew (gb_reload): self.state is as it was.
function Npc:on_reload() self.state.reloads = (self.state.reloads or 0) + 1 end

--- One step towards the player: where the character stands now, and what it says.
function Npc:think(seconds)
  local player = assert(gb.host.player_position())
  local step = math.min(math.abs(player - self.state.x), 3 * seconds)
  self.state.x = self.state.x + (player > self.state.x and step or -step)
  self.state.thoughts = self.state.thoughts + 1
  if self.state.x == player then return self.state.x, "found you" end
  return self.state.x, "where is he?"
end

return Npc
