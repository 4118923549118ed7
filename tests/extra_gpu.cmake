# NVIDIA's headers, where a toolkit is installed: for comparing our prototypes, never for building.
file(GLOB GB_TOOLKITS /usr/local/cuda*/include /opt/cuda/include)
find_path(GB_CUDA_H cuda.h PATHS $ENV{CUDA_HOME}/include $ENV{CUDA_PATH}/include ${GB_TOOLKITS} NO_CMAKE_FIND_ROOT_PATH)
if(GB_CUDA_H AND EXISTS ${GB_CUDA_H}/nvrtc.h)
  target_include_directories(test_gpu_cuda_header SYSTEM PRIVATE ${GB_CUDA_H})
  target_compile_definitions(test_gpu_cuda_header PRIVATE GB_TEST_CUDA_H)
  if(EXISTS ${GB_CUDA_H}/nvml.h)
    target_compile_definitions(test_gpu_cuda_header PRIVATE GB_TEST_NVML_H)
  endif()
endif()

# Drivers with something wrong, for test_cuda_api.c.
foreach(row "old 11080 none 0" "root 12000 none 0 FAKE_NO_ROOT" "function 12000 cuMemcpyAsync 0" "device 12000 none 100")
  separate_arguments(row)
  list(POP_FRONT row name version missing answer)
  add_library(fake_cuda_${name} MODULE gpu/fake/fake_cuda.c)
  target_compile_definitions(fake_cuda_${name} PRIVATE FAKE_VERSION=${version} FAKE_MISSING="${missing}"
                             FAKE_ANSWER=${answer} ${row})
  add_dependencies(test_gpu_cuda_api fake_cuda_${name})
endforeach()

# clang is what compiles kernels where it is there; g++ does too.
find_program(GB_GXX g++)
if(GB_GXX)
  add_test(NAME gpu.compile.gcc COMMAND test_gpu_compile)
  set_tests_properties(gpu.compile.gcc PROPERTIES TIMEOUT 900 LABELS gpu ENVIRONMENT "GB_CXX=${GB_GXX}")
endif()

# Every source of the tree through the real NVRTC, for every architecture it knows: minutes.
add_test(NAME gpu.cuda_sources COMMAND test_gpu_cuda_compile all)
set_tests_properties(gpu.cuda_sources PROPERTIES TIMEOUT 900 LABELS "gpu;long")

# Kernels with barriers run as loops where that can be: the conformance suite as fibers too, and
# kernels made up from a seed both ways.
add_test(NAME gpu.conformance.fibers COMMAND test_gpu_conformance)
set_tests_properties(gpu.conformance.fibers PROPERTIES TIMEOUT 900 LABELS gpu ENVIRONMENT "GB_CPU_FIBERS=1")
if(TARGET gbrun)
  add_test(NAME gpu.barriers COMMAND gbrun ${CMAKE_CURRENT_SOURCE_DIR}/lua/barriers.lua)
  set_tests_properties(gpu.barriers PROPERTIES TIMEOUT 900 LABELS gpu ENVIRONMENT "GB_GBRUN=$<TARGET_FILE:gbrun>")
endif()
