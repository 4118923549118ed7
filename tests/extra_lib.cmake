# docs/kernels.md: every Lua block of it compiles.
if(TARGET gbrun)
  gb_docs_test(docs.kernels blocks.lua docs/kernels.md)
endif()

# The specs of gb.lib, a process each (tests/lua/lib_spec.c says why).
file(GLOB GB_LUA_KIT CONFIGURE_DEPENDS lua/kit_*.c)
add_executable(test_lua_lib lua/lib_spec.c ${GB_LUA_KIT})
target_include_directories(test_lua_lib PRIVATE lua ${CMAKE_CURRENT_SOURCE_DIR})
target_compile_definitions(test_lua_lib PRIVATE GB_SOURCE_DIR="${GB_TESTS_ROOT}")
target_link_libraries(test_lua_lib PRIVATE gpubridge_static PkgConfig::CMOCKA)
set(GB_LIB_SPECS vector sort matrix graph image)
foreach(spec ${GB_LIB_SPECS})
  add_test(NAME lua.lib.${spec} COMMAND test_lua_lib ${spec})
  set_tests_properties(lua.lib.${spec} PROPERTIES TIMEOUT 300 LABELS lua)
endforeach()
