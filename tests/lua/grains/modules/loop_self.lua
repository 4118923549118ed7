return coroutine.wrap(function() return require "modules.loop_self" end)()
