# tests/lua/resident: specs of resident grains in virtual time on a small cpu device and over the
# software driver; what a lost device leaves; pressure from all workers at once.
if(TARGET gbrun)
  set(GB_RESIDENT ${CMAKE_CURRENT_SOURCE_DIR}/lua/resident)
  set(GB_SOFT_ENVIRONMENT "GB_CUDA_LIBRARY=$<TARGET_FILE:softcuda>" "GB_NVRTC_LIBRARY=$<TARGET_FILE:softcuda>"
      "GB_NVML_LIBRARY=$<TARGET_FILE:softcuda>" GB_SOFTCUDA_LEAKS=1 GB_SOFTCUDA_MEMORY=64M GB_SOFTCUDA_DEVICES=2 GB_OWNS_DEVICES=no)
  function(gb_resident name)
    add_test(NAME resident.${name} COMMAND gbrun ${ARGN})
    set_tests_properties(resident.${name} PROPERTIES TIMEOUT 900 LABELS "lua;gpu")
  endfunction()
  gb_resident(cpu test ${GB_RESIDENT}/spec)
  gb_resident(softcuda test ${GB_RESIDENT}/spec)
  gb_resident(lost test ${GB_RESIDENT}/lost)
  gb_resident(pressure ${GB_RESIDENT}/pressure.lua)
  set_tests_properties(resident.cpu PROPERTIES ENVIRONMENT GB_CPU_MEMORY=64MB)
  set_tests_properties(resident.softcuda resident.lost PROPERTIES ENVIRONMENT "${GB_SOFT_ENVIRONMENT}")
  set_tests_properties(resident.pressure PROPERTIES ENVIRONMENT "GB_CPU_MEMORY=64MB;GB_WORKERS=4")
endif()

# Tenants: caps of device memory, what counts to them, what they see of each other.
if(TARGET gbrun)
  set(GB_TENANTS_ENVIRONMENT "GB_TENANTS=acme=8MB,beta=40MB,gamma" GB_CPU_MEMORY=64MB)
  foreach(name cpu softcuda)
    add_test(NAME tenants.${name} COMMAND gbrun test ${CMAKE_CURRENT_SOURCE_DIR}/lua/tenants/spec)
    set_tests_properties(tenants.${name} PROPERTIES TIMEOUT 900 LABELS "lua;gpu" ENVIRONMENT "${GB_TENANTS_ENVIRONMENT}")
  endforeach()
  foreach(name spread spread_softcuda)
    add_test(NAME tenants.${name} COMMAND gbrun ${CMAKE_CURRENT_SOURCE_DIR}/lua/tenants/spread.lua)
    set_tests_properties(tenants.${name} PROPERTIES TIMEOUT 900 LABELS "lua;gpu"
                         ENVIRONMENT "${GB_TENANTS_ENVIRONMENT};GB_WORKERS=4")
  endforeach()
  set_property(TEST tenants.softcuda tenants.spread_softcuda APPEND PROPERTY ENVIRONMENT "${GB_SOFT_ENVIRONMENT}")
endif()

# Streams in virtual time.
if(TARGET gbrun)
  add_test(NAME stream.virtual COMMAND gbrun test ${CMAKE_CURRENT_SOURCE_DIR}/lua/streams)
  set_tests_properties(stream.virtual PROPERTIES TIMEOUT 900 LABELS lua)
  # a group that ran leaves no turn behind that waits for its delay
  add_test(NAME stream.ends COMMAND gbrun ${CMAKE_CURRENT_SOURCE_DIR}/lua/streams/ends.lua)
  set_tests_properties(stream.ends PROPERTIES TIMEOUT 900 LABELS lua FAIL_REGULAR_EXPRESSION "still runs")
endif()
