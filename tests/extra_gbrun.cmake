# tests/gbrun: the program itself, run as a user runs it.
foreach(group script command telemetry)
  add_test(NAME gbrun.${group}
    COMMAND ${LUAJIT_PROGRAM} ${CMAKE_CURRENT_SOURCE_DIR}/gbrun/run.lua $<TARGET_FILE:gbrun>
            ${CMAKE_CURRENT_SOURCE_DIR}/gbrun/cases_${group}.lua ${CMAKE_BINARY_DIR}/Testing/gbrun_${group})
  set_tests_properties(gbrun.${group} PROPERTIES TIMEOUT 900
    ENVIRONMENT "GB_TEST_SANITIZE=${GB_SANITIZE}")
endforeach()
# The program over the software driver: GPUs that are lost or fail; where work runs.
foreach(group driver faults devices)
  add_test(NAME gbrun.${group}
    COMMAND ${LUAJIT_PROGRAM} ${CMAKE_CURRENT_SOURCE_DIR}/gbrun/run.lua $<TARGET_FILE:gbrun>
            ${CMAKE_CURRENT_SOURCE_DIR}/gbrun/cases_${group}.lua ${CMAKE_BINARY_DIR}/Testing/gbrun_${group})
  set_tests_properties(gbrun.${group} PROPERTIES TIMEOUT 900
    ENVIRONMENT "GB_TEST_SANITIZE=${GB_SANITIZE};GB_TEST_SOFTCUDA=$<TARGET_FILE:softcuda>;GB_TEST_SOFTCUFILE=$<TARGET_FILE:softcufile>")
endforeach()
