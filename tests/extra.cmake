# Test programs that are not tests/ROOM/test_NAME.c: the fuzzers and the tidy checks.

# tests/fuzz/fuzz_NAME.c: replay_NAME (bounded, from a seed) is a test; fuzz_NAME is made for libFuzzer.
file(GLOB GB_FUZZERS CONFIGURE_DEPENDS fuzz/fuzz_*.c)
foreach(file ${GB_FUZZERS})
  get_filename_component(name ${file} NAME_WE)
  string(REPLACE "fuzz_" "" short ${name})
  add_executable(replay_${short} ${file} fuzz/replay.c)
  target_include_directories(replay_${short} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(replay_${short} PRIVATE GB_MODULES_AT="${GB_MODULE_DIR}")
  target_link_libraries(replay_${short} PRIVATE gpubridge_static)
  set(count)
  if(short STREQUAL greet) # each input is a connection
    set(count 20000)
    add_dependencies(replay_greet ${GB_MODULES})
  endif()
  add_test(NAME fuzz.${short} COMMAND replay_${short} ${count})
  set_tests_properties(fuzz.${short} PROPERTIES TIMEOUT 900 LABELS fuzz)
  if(GB_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
      message(FATAL_ERROR "GB_FUZZ needs clang: use the preset fuzz")
    endif()
    add_executable(${name} ${file} fuzz/mutator.c)
    target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    target_compile_definitions(${name} PRIVATE GB_MODULES_AT="${GB_MODULE_DIR}")
    target_link_libraries(${name} PRIVATE gpubridge_static)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endif()
endforeach()
if(GB_FUZZ) # coverage in the library, so that libFuzzer sees where an input went
  target_compile_options(gb_objects PRIVATE -fsanitize=fuzzer-no-link)
endif()

# tests/tidy: the rules of the house, read from the tree.
foreach(rule floors sizes banned luacheck)
  add_test(NAME tidy.${rule} COMMAND ${LUAJIT_PROGRAM} ${CMAKE_CURRENT_SOURCE_DIR}/tidy/tidy.lua ${rule}
           ${CMAKE_SOURCE_DIR})
  set_tests_properties(tidy.${rule} PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS tree)
endforeach()
