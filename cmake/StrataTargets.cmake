# The functions that a folder's CMakeLists.txt is written with. Files are listed by hand; links are PUBLIC
# only for what the folder's headers show.

# strata_library(<name> SOURCES <files> [LINKS <public>] [PRIVATE_LINKS <private>] [EXACT_ARITHMETIC])
# Static library strata_<name>, also called strata::<name>.
function(strata_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "EXACT_ARITHMETIC" "" "SOURCES;LINKS;PRIVATE_LINKS")
  add_library(strata_${name} STATIC ${arg_SOURCES})
  add_library(strata::${name} ALIAS strata_${name})
  target_link_libraries(strata_${name} PUBLIC strata_options ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS})
  if(arg_EXACT_ARITHMETIC)
    target_link_libraries(strata_${name} PRIVATE strata_exact_arithmetic)
  endif()
endfunction()

# strata_test(<name> SOURCES <files> [LINKS <libraries>] [LABELS <labels>] [TIMEOUT <seconds>] [ALONE])
# GoogleTest program; every TEST in it is one ctest test, run from the source root. gtest_main is linked.
# ALONE: ctest runs nothing else beside its tests.
function(strata_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "ALONE" "TIMEOUT" "SOURCES;LINKS;LABELS")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_compile_definitions(${name} PRIVATE STRATA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE strata_options ${arg_LINKS} GTest::gtest GTest::gtest_main)
  gtest_discover_tests(${name}
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}" RUN_SERIAL ${arg_ALONE})
endfunction()

# strata_benchmark(<name> SOURCES <files> [LINKS <libraries>])
# Google Benchmark program; benchmark_main is linked. Benchmarks print rates; nothing gates on them.
function(strata_benchmark name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINKS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE
    strata_options ${arg_LINKS} benchmark::benchmark benchmark::benchmark_main)
endfunction()

# strata_fuzz(<name> SOURCES <files> [LINKS <libraries>])
# A file among SOURCES has an LLVMFuzzerTestOneInput. With STRATA_BUILD_FUZZ it becomes a libFuzzer program,
# which the target fuzz_targets builds with the others; otherwise <name>_replay, a test that feeds it
# tests/fuzz/corpus/<name>.
function(strata_fuzz name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINKS")
  if(STRATA_BUILD_FUZZ)
    add_executable(${name} ${arg_SOURCES})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzz_targets ${name})
  else()
    add_executable(${name}_replay ${arg_SOURCES} "${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.cpp")
    add_test(NAME ${name}_replay
      COMMAND ${name}_replay "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name}")
    set_tests_properties(${name}_replay PROPERTIES LABELS fuzz TIMEOUT 120)
    set(name ${name}_replay)
  endif()
  target_link_libraries(${name} PRIVATE strata_options ${arg_LINKS})
endfunction()
