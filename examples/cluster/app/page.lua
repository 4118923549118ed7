-- For silos that were started with --label role=web.
local gb = require "gb"

local Page = gb.grain("Page", { placement = gb.label { role = "web" } })

function Page:where() return gb.silo().name end

return Page
