# What a bare `cmake -B build` should mean: an optimised build, compiled through ccache where there is one,
# with a compilation database for clang-tidy. -O2 and not CMake's -O3: only the kernels gain from the
# latter.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(STRATA_CCACHE ccache)
  mark_as_advanced(STRATA_CCACHE)
  if(STRATA_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${STRATA_CCACHE}")
  endif()
endif()
