# The examples of arrays and kernels, with their arguments; tests/lua/test_NAME.c runs the specs.
if(TARGET gbrun)
  set(pagerank $<TARGET_FILE:gbrun> ${CMAKE_SOURCE_DIR}/examples/pagerank.lua)
  add_test(NAME examples.pagerank
           COMMAND ${pagerank} ${CMAKE_SOURCE_DIR}/examples/data/packages.txt --check)
  set_tests_properties(examples.pagerank PROPERTIES TIMEOUT 900 LABELS examples
                       PASS_REGULAR_EXPRESSION "1  libc6 .*check passed")
  function(gb_pagerank_refuses name text)
    add_test(NAME examples.pagerank.${name} COMMAND ${pagerank} ${ARGN})
    set_tests_properties(examples.pagerank.${name} PROPERTIES TIMEOUT 900 LABELS examples
                         PASS_REGULAR_EXPRESSION "${text}")
  endfunction()
  gb_pagerank_refuses(missing "cannot open the package list: /nowhere/at/all: No such file"
                      /nowhere/at/all)
  gb_pagerank_refuses(empty "names no installed packages" ${CMAKE_SOURCE_DIR}/LICENSE)
  gb_pagerank_refuses(folder "cannot be read: is it a file" ${CMAKE_SOURCE_DIR})
  gb_pagerank_refuses(option "unknown option --chek; usage: pagerank.lua" --chek)
  gb_pagerank_refuses(two "one file at most, got a and b" a b)
endif()

# The fuzzer of decode.c needs a Lua state.
foreach(target replay_value fuzz_value)
  if(TARGET ${target})
    target_sources(${target} PRIVATE lua/kit_state.c lua/kit_value.c)
    target_include_directories(${target} PRIVATE lua)
    target_compile_definitions(${target} PRIVATE GB_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  endif()
endforeach()
