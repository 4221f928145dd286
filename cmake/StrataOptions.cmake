# strata_options: what every target is compiled with. strata_exact_arithmetic: what the parts that decide
# add to it.
find_package(Threads REQUIRED)

add_library(strata_options INTERFACE)
target_include_directories(strata_options INTERFACE "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}/generated")
target_compile_options(strata_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Werror>
  # clang means more by -Wconversion than g++ does (signs, for one); g++ is the judge.
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wconversion>)
target_link_libraries(strata_options INTERFACE Threads::Threads)

# A fused multiply-add rounds once where two operations round twice, so letting the compiler choose would
# make a plan depend on the machine that compiled the planner. The kernels choose their own fused
# operations.
add_library(strata_exact_arithmetic INTERFACE)
target_compile_options(strata_exact_arithmetic INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)

set(strata_sanitizers "")
if(STRATA_SANITIZE STREQUAL "address")
  set(strata_sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(STRATA_SANITIZE STREQUAL "thread")
  set(strata_sanitizers -fsanitize=thread)
elseif(NOT STRATA_SANITIZE STREQUAL "")
  message(FATAL_ERROR "STRATA_SANITIZE is '${STRATA_SANITIZE}'; expected an empty string, address or thread")
endif()
# g++ loses track of initialisation in instrumented code and reports what the release build shows to be fine.
if(strata_sanitizers AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND strata_sanitizer_warnings -Wno-maybe-uninitialized)
endif()
target_compile_options(strata_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:${strata_sanitizers};${strata_sanitizer_warnings}>)
target_link_options(strata_options INTERFACE ${strata_sanitizers})

if(STRATA_BUILD_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "STRATA_BUILD_FUZZ needs clang's libFuzzer: use the preset 'fuzz'")
  endif()
  target_compile_options(strata_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link>)
endif()
