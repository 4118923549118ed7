# Writes OUT with the version and the commit of SOURCE as C text; leaves the file alone when nothing has changed.
# cmake -DSOURCE=... -DOUT=... -DVERSION=... -P build_info.cmake
set(commit unknown)
find_program(GIT_PROGRAM git)
if(GIT_PROGRAM AND EXISTS ${SOURCE}/.git)
  execute_process(COMMAND ${GIT_PROGRAM} -C ${SOURCE} rev-parse --short=12 HEAD OUTPUT_VARIABLE found
                  OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
  if(NOT failed)
    set(commit ${found})
  endif()
endif()
set(text "/* Made by the build. */\n#define GB_BUILD_VERSION \"${VERSION}\"\n#define GB_BUILD_COMMIT \"${commit}\"\n")
set(before "")
if(EXISTS ${OUT})
  file(READ ${OUT} before)
endif()
if(NOT before STREQUAL text)
  file(WRITE ${OUT} "${text}")
endif()
