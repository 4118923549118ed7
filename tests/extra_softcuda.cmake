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

set(GB_GPU_TESTS ${CMAKE_CURRENT_SOURCE_DIR}/gpu)
foreach(test softcuda graphs replay walk bad_input figures metrics peers)
  target_compile_definitions(test_softcuda_${test} PRIVATE GB_SOFTCUDA="$<TARGET_FILE:softcuda>")
  target_include_directories(test_softcuda_${test} PRIVATE ${GB_GPU_TESTS})
  target_sources(test_softcuda_${test} PRIVATE ${GB_GPU_TESTS}/kit_engine.c)
  add_dependencies(test_softcuda_${test} softcuda)
endforeach()

# Management libraries that are too old, for test_figures.c.
foreach(name old first)
  string(TOUPPER ${name} upper)
  add_library(fake_nvml_${name} MODULE gpu/fake/fake_nvml.c)
  target_compile_definitions(fake_nvml_${name} PRIVATE FAKE_${upper})
  target_compile_definitions(test_softcuda_figures PRIVATE FAKE_NVML_${upper}="$<TARGET_FILE:fake_nvml_${name}>")
  add_dependencies(test_softcuda_figures fake_nvml_${name})
endforeach()

# softcuda.walk fails each entry point at its first two calls, a middle one and its last;
# softcuda.walk_all (make walk) at many more.
set_tests_properties(softcuda.walk PROPERTIES TIMEOUT 900) # some 250 processes
add_test(NAME softcuda.walk_all COMMAND test_softcuda_walk)
set_tests_properties(softcuda.walk_all PROPERTIES TIMEOUT 1500 LABELS walk ENVIRONMENT GB_WALK=all)

# The suites of the devices over the software driver: with one device in every build, and in the
# plain ones with several, other seeds, and the other way of hiding device memory.
set(GB_SOFTCUDA_ENVIRONMENT GB_CUDA_LIBRARY=$<TARGET_FILE:softcuda> GB_NVRTC_LIBRARY=$<TARGET_FILE:softcuda>
    GB_NVML_LIBRARY=$<TARGET_FILE:softcuda> GB_SOFTCUDA_LEAKS=1)
add_dependencies(test_gpu_conformance softcuda)
set(GB_SOFTCUDA_COUNTS 1)
if(NOT GB_SANITIZE)
  list(APPEND GB_SOFTCUDA_COUNTS 2 3)
endif()
foreach(count ${GB_SOFTCUDA_COUNTS})
  string(REPLACE "1" "" suffix ${count})
  math(EXPR keys "${count} % 2")
  add_test(NAME gpu.conformance.softcuda${suffix} COMMAND test_gpu_conformance)
  set_tests_properties(gpu.conformance.softcuda${suffix} PROPERTIES TIMEOUT 900 LABELS gpu ENVIRONMENT
    "${GB_SOFTCUDA_ENVIRONMENT};GB_SOFTCUDA_DEVICES=${count};GB_SOFTCUDA_SEED=${count};GB_SOFTCUDA_KEYS=${keys}")
endforeach()

# The same with the driver's own memory pool.
add_test(NAME gpu.conformance.softcuda_pool COMMAND test_gpu_conformance)
set_tests_properties(gpu.conformance.softcuda_pool PROPERTIES TIMEOUT 900 LABELS gpu ENVIRONMENT
  "${GB_SOFTCUDA_ENVIRONMENT};GB_SOFTCUDA_SEED=4;GB_CONFORM_DRIVER_POOL=1")
