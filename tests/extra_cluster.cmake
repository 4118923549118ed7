# sim_cluster: clusters of silos in virtual time. Without sanitizers it is compiled with optimisation in
# every preset, its part of the library too: 200 seeds have to fit into a test.
file(GLOB GB_CLUSTER_SIM CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/sim/cluster_*.c)
add_executable(sim_cluster sim/sim_cluster.c ${GB_CLUSTER_SIM})
target_include_directories(sim_cluster PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/sim)
if(GB_SANITIZE)
  target_link_libraries(sim_cluster PRIVATE gpubridge_static)
  set(GB_CLUSTER_SEEDS 4 12 10)
else()
  file(GLOB GB_CLUSTER_PURE CONFIGURE_DEPENDS
       ${CMAKE_SOURCE_DIR}/src/cluster/member*.c ${CMAKE_SOURCE_DIR}/src/cluster/directory*.c)
  foreach(name cluster/ring cluster/view cluster/message cluster/idset cluster/table_row wire/cbor base/buf base/check
          base/err base/hash base/heap base/map base/mem base/pages)
    list(APPEND GB_CLUSTER_PURE ${CMAKE_SOURCE_DIR}/src/${name}.c)
  endforeach()
  target_sources(sim_cluster PRIVATE ${GB_CLUSTER_PURE})
  target_include_directories(sim_cluster PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_compile_options(sim_cluster PRIVATE -O2)
  target_link_libraries(sim_cluster PRIVATE gb_flags m)
  set(GB_CLUSTER_SEEDS 200 50 10)
endif()
add_test(NAME sim.cluster COMMAND sim_cluster all ${GB_CLUSTER_SEEDS} 4)
set_tests_properties(sim.cluster PROPERTIES TIMEOUT 900 LABELS sim)
if(NOT GB_SANITIZE STREQUAL "thread") # a world is one thread
  add_test(NAME sim.cluster_planted COMMAND sim_cluster planted)
  add_test(NAME sim.cluster_detect COMMAND sim_cluster detect)
  set_tests_properties(sim.cluster_planted sim.cluster_detect PROPERTIES TIMEOUT 900 LABELS sim)
endif()
# The same worlds in each run: a failure is of the change that is tested. `make sim` looks for new ones.
set_tests_properties(sim.cluster PROPERTIES PROCESSORS 4 ENVIRONMENT GB_SEED=1)

# Real silos, as a user starts them: where grains go, the commands that operate them, what is said
# when something is wrong; and the example.
if(TARGET gbrun)
  add_test(NAME cluster.operate COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cluster/operate.sh $<TARGET_FILE:gbrun>)
  add_test(NAME cluster.spans COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cluster/spans.sh $<TARGET_FILE:gbrun>)
  set_tests_properties(cluster.spans PROPERTIES TIMEOUT 900 LABELS cluster)
  add_test(NAME cluster.between COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cluster/between.sh $<TARGET_FILE:gbrun>)
  add_test(NAME cluster.survive COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cluster/survive.sh $<TARGET_FILE:gbrun>)
  add_test(NAME cluster.large COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cluster/large.sh $<TARGET_FILE:gbrun>)
  set_tests_properties(cluster.operate cluster.between cluster.survive cluster.large PROPERTIES TIMEOUT 900 LABELS cluster)
  if(TARGET tls)
    add_test(NAME cluster.identity COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cluster/identity.sh $<TARGET_FILE:gbrun>)
    set_tests_properties(cluster.identity PROPERTIES TIMEOUT 900 LABELS cluster)
  endif()
  # What stays with a person, on a terminal of its own.
  add_executable(terminal gbrun/terminal.c)
  target_link_libraries(terminal PRIVATE gb_flags util)
  add_test(NAME cluster.live COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cluster/live.sh $<TARGET_FILE:gbrun>
           $<TARGET_FILE:terminal>)
  set_tests_properties(cluster.live PROPERTIES TIMEOUT 900 LABELS cluster)
  add_test(NAME examples.cluster COMMAND sh ${CMAKE_SOURCE_DIR}/examples/cluster/run.sh)
  set_tests_properties(examples.cluster PROPERTIES TIMEOUT 900 LABELS examples
    ENVIRONMENT "GBRUN=$<TARGET_FILE:gbrun>")
endif()
