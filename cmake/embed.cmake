# Files that live inside the library: the Lua half (lua/gb/*.lua, as bytecode) and the headers that kernels
# include (src/gpu/device/*, as text). Each becomes one C file under generated/.

# A table of { name, bytes, size } of all Lua modules: gb_embedded_lua in generated/embedded_lua.h.
function(gb_embed_lua out)
  file(GLOB modules CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/lua/gb/*.lua)
  set(made ${CMAKE_BINARY_DIR}/generated/embedded_lua.c)
  add_custom_command(
    OUTPUT ${made}
    COMMAND ${LUAJIT_PROGRAM} ${CMAKE_SOURCE_DIR}/cmake/embed.lua lua ${made} ${modules}
    DEPENDS ${modules} ${CMAKE_SOURCE_DIR}/cmake/embed.lua
    COMMENT "Embedding the Lua modules" VERBATIM)
  set(${out} ${${out}} ${made} PARENT_SCOPE)
endfunction()

# A table of { name, bytes, size } of the device headers and of the kernels of gb.lib, which kernels
# include as "gb/NAME.cuh": gb_embedded_headers.
function(gb_embed_text out)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/gpu/device/*
       ${CMAKE_SOURCE_DIR}/kernels/*.cuh)
  set(made ${CMAKE_BINARY_DIR}/generated/embedded_headers.c)
  add_custom_command(
    OUTPUT ${made}
    COMMAND ${LUAJIT_PROGRAM} ${CMAKE_SOURCE_DIR}/cmake/embed.lua text ${made} ${headers}
    DEPENDS ${headers} ${CMAKE_SOURCE_DIR}/cmake/embed.lua
    COMMENT "Embedding the device headers" VERBATIM)
  set(${out} ${${out}} ${made} PARENT_SCOPE)
endfunction()
