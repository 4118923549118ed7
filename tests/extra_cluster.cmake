# sim_cluster: clusters of silos in virtual time.
file(GLOB GB_CLUSTER_SIM CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/sim/cluster_*.c)
add_executable(sim_cluster sim/sim_cluster.c ${GB_CLUSTER_SIM})
target_include_directories(sim_cluster PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/sim)
target_link_libraries(sim_cluster PRIVATE gpubridge_static)
