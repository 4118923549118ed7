# What stands between a caller and what fails: policies in virtual time, with several seeds; devices
# and kernels that fail.
if(TARGET gbrun)
  set(GB_RESILIENCE ${CMAKE_CURRENT_SOURCE_DIR}/lua/resilience)
  foreach(seed 1 2 3)
    add_test(NAME resilience.policy.${seed}
             COMMAND gbrun --virtual-time --seed ${seed} ${GB_RESILIENCE}/policy.lua)
    set_tests_properties(resilience.policy.${seed} PROPERTIES TIMEOUT 900 LABELS resilience)
  endforeach()
  add_test(NAME resilience.devices COMMAND gbrun --virtual-time --workers 1 --log error
           ${GB_RESILIENCE}/devices.lua)
  set_tests_properties(resilience.devices PROPERTIES TIMEOUT 900 LABELS resilience
                       ENVIRONMENT "GB_CPU_DEVICES=4;GB_CUDA_LIBRARY=/nowhere")
  add_test(NAME resilience.balance COMMAND gbrun --workers 4 --log error ${GB_RESILIENCE}/balance.lua)
  set_tests_properties(resilience.balance PROPERTIES TIMEOUT 900 LABELS resilience
                       ENVIRONMENT "GB_CPU_DEVICES=4;GB_CUDA_LIBRARY=/nowhere")
endif()
