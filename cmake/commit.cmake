# Run at every build: cmake -D SOURCE=DIR -D KNOWN=TEXT -D OUT=FILE -P commit.cmake. OUT defines RCNN_COMMIT: KNOWN where it is
# given, else what git says of SOURCE; the file is written anew only when that has changed.
set(commit "${KNOWN}")
if(NOT commit)
  execute_process(COMMAND git -C "${SOURCE}" describe --always --dirty --abbrev=12
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT commit)
  set(commit unknown) # a source archive, or no git here
endif()
file(CONFIGURE OUTPUT "${OUT}" CONTENT "#define RCNN_COMMIT \"${commit}\"\n")
