# What the device pack runs, here over the software driver: gb.lib the way a GPU works.
if(TARGET test_lua_lib AND NOT GB_SANITIZE STREQUAL "thread")
  add_test(NAME lua.lib.softcuda COMMAND test_lua_lib)
  set(environment GB_CUDA_LIBRARY=$<TARGET_FILE:softcuda> GB_NVRTC_LIBRARY=$<TARGET_FILE:softcuda>
      GB_NVML_LIBRARY=$<TARGET_FILE:softcuda>)
  if(GB_SANITIZE STREQUAL "address")
    list(APPEND environment ASAN_OPTIONS=detect_leaks=0) # as for lua.lib
  endif()
  set_tests_properties(lua.lib.softcuda PROPERTIES TIMEOUT 300 LABELS lua ENVIRONMENT "${environment}")
endif()
