# The software driver: the rooms' objects inside, only the entry points outside.
file(GLOB GB_SOFTCUDA_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/softcuda/soft_*.c)
set(GB_SOFTCUDA_MAP ${CMAKE_CURRENT_SOURCE_DIR}/softcuda/libsoftcuda.map)
add_library(softcuda SHARED ${GB_SOFTCUDA_SOURCES})
target_include_directories(softcuda PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/softcuda ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(softcuda PRIVATE gb_flags -Wl,--push-state,--as-needed $<TARGET_FILE:gpubridge_static>
                      Threads::Threads ${CMAKE_DL_LIBS} m -Wl,--pop-state)
add_dependencies(softcuda gpubridge_static)
target_link_options(softcuda PRIVATE -Wl,--version-script=${GB_SOFTCUDA_MAP} -Wl,-z,defs)
set_target_properties(softcuda PROPERTIES LINK_DEPENDS "${GB_SOFTCUDA_MAP};$<TARGET_FILE:gpubridge_static>")
if(GB_SANITIZE)
  # The sanitizer's runtime is the executable's.
  target_link_options(softcuda PRIVATE -Wl,-z,undefs)
endif()

foreach(test softcuda)
  if(TARGET test_softcuda_${test})
    target_compile_definitions(test_softcuda_${test} PRIVATE GB_SOFTCUDA="$<TARGET_FILE:softcuda>")
    add_dependencies(test_softcuda_${test} softcuda)
  endif()
endforeach()
