# docs/kernels.md: every Lua block of it compiles.
if(TARGET gbrun)
  gb_docs_test(docs.kernels blocks.lua docs/kernels.md)
endif()

# gcc 12's leak check dies now and then (signal 11 in its own tracer, 5 of 12 runs) when a process has
# loaded this many objects with thread-locals. The test's own accounts still end at zero.
if(GB_SANITIZE STREQUAL "address" AND TARGET test_lua_lib)
  set_tests_properties(lua.lib PROPERTIES ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
endif()
