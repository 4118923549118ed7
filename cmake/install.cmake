# cmake --install: the public header, the libraries, the program, and what pkg-config reads.
include(GNUInstallDirs)
install(FILES ${CMAKE_SOURCE_DIR}/include/gpubridge.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS gpubridge gpubridge_static LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET gbrun)
  install(TARGETS gbrun RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
# The folder it is installed to is known only then: the file finds the rest from where it is.
file(RELATIVE_PATH GB_PC_UP /@/${CMAKE_INSTALL_LIBDIR}/pkgconfig /@)
configure_file(${CMAKE_SOURCE_DIR}/cmake/gpubridge.pc.in ${CMAKE_BINARY_DIR}/gpubridge.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/gpubridge.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
