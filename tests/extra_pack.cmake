# What the device pack runs, here over the software driver: gb.lib the way a GPU works.
if(TARGET test_lua_lib AND NOT GB_SANITIZE STREQUAL "thread")
  foreach(spec ${GB_LIB_SPECS})
    add_test(NAME lua.lib.${spec}.softcuda COMMAND test_lua_lib ${spec})
    set_tests_properties(lua.lib.${spec}.softcuda PROPERTIES TIMEOUT 900 LABELS lua ENVIRONMENT
      "GB_CUDA_LIBRARY=$<TARGET_FILE:softcuda>;GB_NVRTC_LIBRARY=$<TARGET_FILE:softcuda>;GB_NVML_LIBRARY=$<TARGET_FILE:softcuda>")
  endforeach()
  add_test(NAME lua.plan.softcuda COMMAND test_lua_plan)
  set_tests_properties(lua.plan.softcuda PROPERTIES TIMEOUT 900 LABELS lua ENVIRONMENT
    "GB_CUDA_LIBRARY=$<TARGET_FILE:softcuda>;GB_NVRTC_LIBRARY=$<TARGET_FILE:softcuda>;GB_NVML_LIBRARY=$<TARGET_FILE:softcuda>;GB_SOFTCUDA_LEAKS=1")
endif()

# Every kernel of gb.lib through the real NVRTC, where there is one.
if(TARGET gbrun AND NOT GB_SANITIZE)
  add_test(NAME lua.lib.nvrtc COMMAND gbrun ${CMAKE_CURRENT_SOURCE_DIR}/lua/lib_nvrtc.lua)
  set_tests_properties(lua.lib.nvrtc PROPERTIES TIMEOUT 900 LABELS lua SKIP_RETURN_CODE 77
                       ENVIRONMENT "GB_CUDA_LIBRARY=$<TARGET_FILE:softcuda>;GB_NVML_LIBRARY=$<TARGET_FILE:softcuda>")
endif()
