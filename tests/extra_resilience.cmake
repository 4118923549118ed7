# What stands between a caller and what fails: policies in virtual time, with several seeds.
if(TARGET gbrun)
  set(GB_RESILIENCE ${CMAKE_CURRENT_SOURCE_DIR}/lua/resilience)
  foreach(seed 1 2 3)
    add_test(NAME resilience.policy.${seed}
             COMMAND gbrun --virtual-time --seed ${seed} ${GB_RESILIENCE}/policy.lua)
    set_tests_properties(resilience.policy.${seed} PROPERTIES TIMEOUT 120 LABELS resilience)
  endforeach()
endif()
