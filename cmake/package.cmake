# What `cmake --install` gives: library, headers, tool, pkg-config and CMake package files, man page, completion, model.
include(CMakePackageConfigHelpers)

# rcnn.pc finds its prefix from where it lies: `cmake --install --prefix` may name another than configuring did.
file(RELATIVE_PATH RCNN_PC_PREFIX "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" RCNN_PC_PREFIX "${RCNN_PC_PREFIX}")
configure_file(cmake/rcnn.pc.in rcnn.pc @ONLY)
configure_package_config_file(cmake/rcnnConfig.cmake.in rcnnConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rcnn)
write_basic_package_version_file(rcnnConfigVersion.cmake COMPATIBILITY SameMajorVersion)

install(TARGETS rcnn EXPORT rcnnTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT rcnnTargets NAMESPACE rcnn:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rcnn)
install(FILES ${PROJECT_BINARY_DIR}/rcnnConfig.cmake ${PROJECT_BINARY_DIR}/rcnnConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rcnn)
install(FILES ${PROJECT_BINARY_DIR}/rcnn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES include/rcnn/rcnn.h ${PROJECT_BINARY_DIR}/include/rcnn/version.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rcnn)
install(FILES models/mask_rcnn_r50_fpn_nuclei.safetensors models/README.md
  DESTINATION ${CMAKE_INSTALL_DATADIR}/rcnn/models)
