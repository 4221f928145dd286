# Resolves STRATA_WITH_CUDA to STRATA_CUDA (ON or OFF). Where it is ON a folder may list .cu files and link
# CUDA::cudart.
set(STRATA_CUDA OFF)
if(STRATA_WITH_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  find_package(CUDAToolkit 12 QUIET)
  if(CMAKE_CUDA_COMPILER AND CUDAToolkit_FOUND)
    set(STRATA_CUDA ON)
  elseif(NOT STRATA_WITH_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "STRATA_WITH_CUDA is ON but no working nvcc (CUDA 12 or later) was found; "
      "set PATH or CMAKE_CUDA_COMPILER")
  endif()
endif()

if(STRATA_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90)
  endif()
  enable_language(CUDA)
  # Not CMAKE_CUDA_STANDARD: CMake 3.25 does not know that nvcc 13 accepts C++20.
  string(APPEND CMAKE_CUDA_FLAGS " -std=c++20")
endif()
message(STATUS "CUDA parts: ${STRATA_CUDA}")
