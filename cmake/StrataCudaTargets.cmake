# strata_cuda_library(<name> TABLE <register table> SOURCES <.cu files> [LINKS <libraries>])
# Static library strata_<name>, also called strata::<name>, of CUDA sources. Every compilation keeps what
# ptxas reports; the library is complete only when all kernels are within the table. `register_table_<name>`
# lowers the table to what was measured.
function(strata_cuda_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TABLE" "SOURCES;LINKS")
  find_package(Python3 3.8 REQUIRED COMPONENTS Interpreter)
  set(script "${PROJECT_SOURCE_DIR}/cmake/register_table.py")
  get_filename_component(table "${arg_TABLE}" ABSOLUTE)
  set(objects "$<TARGET_OBJECTS:strata_${name}_objects>")

  add_library(strata_${name}_objects OBJECT ${arg_SOURCES})
  set_target_properties(strata_${name}_objects PROPERTIES
    CUDA_COMPILER_LAUNCHER
      "${Python3_EXECUTABLE};${script};capture;${CMAKE_CUDA_COMPILER_LAUNCHER}")
  target_link_libraries(strata_${name}_objects PUBLIC strata_options ${arg_LINKS})
  target_compile_options(strata_${name}_objects PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-v;-lineinfo;-Werror=all-warnings>
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow,-Wno-unknown-pragmas>)

  set(stamp "${CMAKE_CURRENT_BINARY_DIR}/${name}.register_table")
  add_custom_command(
    OUTPUT "${stamp}"
    COMMAND "${Python3_EXECUTABLE}" "${script}" check ${CMAKE_CUDA_COMPILER_VERSION} "${table}" ${objects}
    COMMAND "${CMAKE_COMMAND}" -E touch "${stamp}"
    DEPENDS ${objects} "${table}" "${script}"
    COMMENT "Registers and spills of ${name}"
    COMMAND_EXPAND_LISTS VERBATIM)
  add_custom_target(strata_${name}_registers DEPENDS "${stamp}")
  add_custom_target(register_table_${name}
    COMMAND "${Python3_EXECUTABLE}" "${script}" lower ${CMAKE_CUDA_COMPILER_VERSION} "${table}" ${objects}
    DEPENDS ${objects}
    COMMAND_EXPAND_LISTS VERBATIM)

  add_library(strata_${name} STATIC ${objects})
  set_target_properties(strata_${name} PROPERTIES LINKER_LANGUAGE CUDA)
  add_library(strata::${name} ALIAS strata_${name})
  add_dependencies(strata_${name} strata_${name}_registers)
  target_link_libraries(strata_${name} PUBLIC strata_options ${arg_LINKS})
endfunction()
