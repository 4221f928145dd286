# Resolves STRATA_WITH_MPI to STRATA_MPI (ON or OFF). Where it is ON, MPI::MPI_C and MPIEXEC_EXECUTABLE are
# set.
set(STRATA_MPI OFF)
if(STRATA_WITH_MPI)
  enable_language(C)  # Strata calls MPI's C interface; CMake looks for it with a C compiler
  find_package(MPI 3.1 QUIET COMPONENTS C)
  if(MPI_C_FOUND)
    set(STRATA_MPI ON)
  elseif(NOT STRATA_WITH_MPI STREQUAL "AUTO")
    message(FATAL_ERROR "STRATA_WITH_MPI is ON but no MPI 3.1 was found; set PATH or MPI_C_COMPILER")
  endif()
endif()
message(STATUS "MPI executor: ${STRATA_MPI}")
