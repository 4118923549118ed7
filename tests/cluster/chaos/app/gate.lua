-- Who comes waits until it is open.
local gb = require "gb"

local Gate = gb.grain("Gate", { reentrant = true, max_queue = 65536 })

function Gate:on_activate() self.waits = 0 end

function Gate:pass(text)
  self.waits = self.waits + 1
  while not self.is_open do gb.sleep("20ms") end
  return #text
end

-- Its worker does nothing else until the file is there. Another one says that it has begun.
function Gate:spin(path)
  local file = assert(io.open(path .. ".on", "w"))
  file:close()
  repeat file = io.open(path) until file
  file:close()
  return true
end

function Gate:where() return os.getenv("CHAOS_NAME") end
function Gate:count() return self.waits end
function Gate:open() self.is_open = true end

return Gate
