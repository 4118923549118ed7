# What a newcomer reads and runs: examples, the Lua in the pages, the meta files, the scripts.

# Preloaded by scripts/test.sh into the Lua tests: LuaJIT's compiler off, or compiling at once.
add_library(jit_mode MODULE jit/jit_mode.c)
target_link_libraries(jit_mode PRIVATE PkgConfig::LUAJIT ${CMAKE_DL_LIBS})
target_compile_definitions(jit_mode PRIVATE _GNU_SOURCE)

# gb_docs_test(NAME SCRIPT FILE...): tests/docs/SCRIPT checks the files with gbrun.
function(gb_docs_test name script)
  add_test(NAME ${name} COMMAND ${LUAJIT_PROGRAM} ${CMAKE_CURRENT_SOURCE_DIR}/docs/${script}
           $<TARGET_FILE:gbrun> ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  string(REGEX MATCH "^[a-z]+" label ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS ${label})
endfunction()

if(TARGET gbrun)
  # An example is a script, or a folder with a main.lua. Those with "-- expect:" lines are tests.
  file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*.lua
       ${CMAKE_SOURCE_DIR}/examples/*/main.lua)
  foreach(file ${examples})
    file(RELATIVE_PATH short ${CMAKE_SOURCE_DIR}/examples ${file})
    string(REGEX REPLACE "(/main)?\\.lua$" "" short ${short})
    file(STRINGS ${file} expected REGEX "^-- expect:")
    if(expected)
      gb_docs_test(examples.${short} examples.lua ${file})
    endif()
  endforeach()

  # Pages with Lua in them.
  file(GLOB pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/docs/*.md)
  foreach(page ${pages})
    get_filename_component(name ${page} NAME_WE)
    string(TOLOWER ${name} name)
    file(STRINGS ${page} blocks REGEX "^```lua")
    if(blocks)
      gb_docs_test(docs.${name} blocks.lua ${page})
    endif()
  endforeach()
  gb_docs_test(docs.meta meta.lua lua/meta)
endif()

add_test(NAME tree.links COMMAND ${LUAJIT_PROGRAM} ${CMAKE_CURRENT_SOURCE_DIR}/docs/links.lua
         ${CMAKE_SOURCE_DIR})
add_test(NAME tree.packages COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/docs/packages.sh
         ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/packages)
set_tests_properties(tree.links tree.packages PROPERTIES TIMEOUT 900 LABELS tree)
