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
    # Machine code of A100, H100/H200, B200 and RTX 50; the driver translates nothing at run time.
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 100-real 120-real)
  endif()
  if(NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER AND CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER "${CMAKE_CXX_COMPILER_LAUNCHER}")
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know that nvcc 12 and 13 accept C++20.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
endif()
include(StrataCudaTargets)
message(STATUS "CUDA parts: ${STRATA_CUDA}")
