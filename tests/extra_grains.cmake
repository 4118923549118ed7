# tests/lua/grains/NAME.lua: scripts that gbrun runs, with 1 and 4 workers; with 4 also without the
# compiler of LuaJIT and with one that compiles everything at once.
if(TARGET gbrun)
  file(GLOB GB_GRAIN_SCRIPTS CONFIGURE_DEPENDS lua/grains/*.lua)
  # How much of the work a test that counts does (memory.lua).
  set(GB_TEST_SCALE 1)
  if(GB_SANITIZE STREQUAL "thread")
    set(GB_TEST_SCALE 0.05)
  elseif(GB_SANITIZE)
    set(GB_TEST_SCALE 0.2)
  endif()
  function(gb_grain_script name file workers scale)
    add_test(NAME ${name} COMMAND gbrun ${file})
    set_tests_properties(${name} PROPERTIES TIMEOUT 900 LABELS "grains;lua"
                         ENVIRONMENT "GB_WORKERS=${workers};GB_GBRUN=$<TARGET_FILE:gbrun>;GB_TEST_SCALE=${scale};${ARGN}")
  endfunction()
  # A preloaded library cannot come before the one of a sanitizer.
  set(GB_JIT_MODES TRUE)
  if(GB_SANITIZE OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/jit/jit_mode.c)
    set(GB_JIT_MODES FALSE)
  elseif(NOT TARGET jit_mode)
    add_library(jit_mode SHARED jit/jit_mode.c)
    target_link_libraries(jit_mode PRIVATE PkgConfig::LUAJIT ${CMAKE_DL_LIBS})
  endif()
  foreach(file ${GB_GRAIN_SCRIPTS})
    get_filename_component(short ${file} NAME_WE)
    gb_grain_script(grains.${short}.1 ${file} 1 ${GB_TEST_SCALE})
    gb_grain_script(grains.${short}.4 ${file} 4 ${GB_TEST_SCALE})
    if(GB_JIT_MODES)
      gb_grain_script(grains.${short}.joff ${file} 4 0.2 LD_PRELOAD=$<TARGET_FILE:jit_mode>
                      GB_JIT_MODE=off)
      gb_grain_script(grains.${short}.hotloop ${file} 4 0.2 LD_PRELOAD=$<TARGET_FILE:jit_mode>
                      GB_JIT_MODE=hotloop=1)
    endif()
  endforeach()
endif()
