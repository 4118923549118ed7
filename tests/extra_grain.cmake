# sim_grain: long storms over the room grain (make sim); a short one is a test.
file(GLOB GB_GRAIN_KIT CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/grain/kit_*.c)
add_executable(sim_grain sim/sim_grain.c ${GB_GRAIN_KIT})
target_include_directories(sim_grain PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/grain)
target_link_libraries(sim_grain PRIVATE gpubridge_static)
add_test(NAME sim.grain COMMAND sim_grain all 40)
set_tests_properties(sim.grain PROPERTIES TIMEOUT 900 ENVIRONMENT GB_SEED=0x5eed) # the same storms each time
