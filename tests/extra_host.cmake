# The public header by itself, what the shared library exports, and the embedding example.
add_executable(header_cpp host/header_cpp.cpp)
target_link_libraries(header_cpp PRIVATE gpubridge)
target_compile_options(header_cpp PRIVATE -Wall -Wextra -pedantic)
set_target_properties(header_cpp PROPERTIES CXX_EXTENSIONS OFF)
add_test(NAME host.header_cpp COMMAND header_cpp)

add_executable(header_c host/test_header_c.c)
target_link_libraries(header_c PRIVATE gpubridge)
target_compile_options(header_c PRIVATE -Wall -Wextra -pedantic)
set_target_properties(header_c PROPERTIES C_EXTENSIONS OFF)
add_test(NAME host.header_c_shared COMMAND header_c)

find_program(NM_PROGRAM nm)
if(NM_PROGRAM)
  add_test(NAME host.exported
           COMMAND ${CMAKE_COMMAND} -DNM=${NM_PROGRAM} -DLIBRARY=$<TARGET_FILE:gpubridge>
                   -P ${CMAKE_CURRENT_SOURCE_DIR}/host/exported.cmake)
endif()

# Loaded, used and unloaded twenty times.
add_executable(host_unload host/unload.c)
target_include_directories(host_unload PRIVATE ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(host_unload PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
add_dependencies(host_unload gpubridge)
add_test(NAME host.unload COMMAND host_unload $<TARGET_FILE:gpubridge> ${CMAKE_CURRENT_SOURCE_DIR}/host/app)
set_tests_properties(host.unload PROPERTIES TIMEOUT 900)

# A sanitizer's library is no library for a plain program.
if(NOT GB_SANITIZE)
  add_test(NAME host.installed
           COMMAND ${CMAKE_COMMAND} -DBUILD=${CMAKE_BINARY_DIR} -DDIR=${CMAKE_BINARY_DIR}/Testing/installed
                   -DPKG_CONFIG=${PKG_CONFIG_EXECUTABLE} -DCC=${CMAKE_C_COMPILER}
                   -DEXAMPLE=${CMAKE_SOURCE_DIR}/examples/embed
                   -P ${CMAKE_CURRENT_SOURCE_DIR}/host/installed.cmake)
  set_tests_properties(host.installed PROPERTIES TIMEOUT 900)
endif()

add_executable(example_embed ${CMAKE_SOURCE_DIR}/examples/embed/main.c)
target_link_libraries(example_embed PRIVATE gpubridge)
add_test(NAME examples.embed COMMAND example_embed ${CMAKE_SOURCE_DIR}/examples/embed/grains)
set_tests_properties(examples.embed PROPERTIES PASS_REGULAR_EXPRESSION
  "1 module.s. loaded anew.*wizard at 2: found you.*4096 sparks moved" TIMEOUT 900)
if(GB_SANITIZE)
  foreach(target header_cpp header_c example_embed host_unload)
    target_link_libraries(${target} PRIVATE gb_flags)
  endforeach()
endif()
