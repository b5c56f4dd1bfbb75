# A room is one folder of src/ and one CMake target, so a folder can only link what it is allowed to see.
# What it may #include is checked by scripts/check-layering, which every room depends on.
#
#   tw_room(<path below src> [DEPS <rooms>] [LIBS <libraries>] [TEST_LIBS <libraries>] [LABELS <ctest labels>])
#
# LABELS say which builds run the room's tests besides release and ASan: `engine` (also g++ 12), `threads` (also TSan),
# `release-only` (not ASan).
# Sources are the folder's *.cc files. x_test.cc files become the executable <target>_test (GoogleTest),
# x_bench.cc become <target>_bench (google-benchmark), x_fuzz.cc each become their own fuzzer in the
# ASan build, where ctest runs a bounded number of inputs that start from corpus/x_fuzz/, if the folder has one.

find_package(GTest REQUIRED)
find_package(benchmark QUIET)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

file(GLOB_RECURSE TW_LAYERED_FILES CONFIGURE_DEPENDS
  "${CMAKE_SOURCE_DIR}/src/*.h" "${CMAKE_SOURCE_DIR}/src/*.cc"
  "${CMAKE_SOURCE_DIR}/softgpu/*.h" "${CMAKE_SOURCE_DIR}/softgpu/*.cc"
  "${CMAKE_SOURCE_DIR}/engine/*.h" "${CMAKE_SOURCE_DIR}/engine/*.cc")
add_custom_command(
  OUTPUT "${CMAKE_BINARY_DIR}/layering.stamp"
  COMMAND ${Python3_EXECUTABLE} "${CMAKE_SOURCE_DIR}/scripts/check-layering" "${CMAKE_SOURCE_DIR}"
  COMMAND ${CMAKE_COMMAND} -E touch "${CMAKE_BINARY_DIR}/layering.stamp"
  DEPENDS ${TW_LAYERED_FILES} "${CMAKE_SOURCE_DIR}/scripts/check-layering"
  COMMENT "Checking which room includes which"
  VERBATIM)
add_custom_target(check_layering ALL DEPENDS "${CMAKE_BINARY_DIR}/layering.stamp")

# Run-time limit of one test executable, in seconds; a hang is a failure, not a lost CI run.
set(TW_TEST_TIMEOUT_S 300)

function(tw_target_name path out)
  string(REPLACE "/" "_" name "tw_${path}")
  set(${out} ${name} PARENT_SCOPE)
endfunction()

function(tw_test target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;LABELS" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE ${ARG_LIBS} GTest::gmock GTest::gtest_main)
  set_property(GLOBAL APPEND PROPERTY TW_TEST_TARGETS ${target})
  foreach(label ${ARG_LABELS})
    set_property(GLOBAL APPEND PROPERTY TW_${label}_TARGETS ${target})
  endforeach()
  add_test(NAME ${target} COMMAND ${target})
  set_tests_properties(${target} PROPERTIES TIMEOUT ${TW_TEST_TIMEOUT_S} LABELS "${ARG_LABELS}"
    ENVIRONMENT "TWEENDECK_SOURCE_DIR=${CMAKE_SOURCE_DIR};TWEENDECK_BUILD_DIR=${CMAKE_BINARY_DIR}")
endfunction()

function(tw_room path)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;TEST_LIBS;LABELS" ${ARGN})
  tw_target_name(${path} target)
  set(dir "${CMAKE_SOURCE_DIR}/src/${path}")
  file(GLOB sources CONFIGURE_DEPENDS "${dir}/*.cc")
  file(GLOB headers CONFIGURE_DEPENDS "${dir}/*.h")
  file(GLOB tests CONFIGURE_DEPENDS "${dir}/*_test.cc")
  file(GLOB benches CONFIGURE_DEPENDS "${dir}/*_bench.cc")
  file(GLOB fuzzers CONFIGURE_DEPENDS "${dir}/*_fuzz.cc")
  if(tests OR benches OR fuzzers)
    list(REMOVE_ITEM sources ${tests} ${benches} ${fuzzers})
  endif()

  set(dep_targets "")
  foreach(dep ${ARG_DEPS})
    tw_target_name(${dep} dep_target)
    list(APPEND dep_targets ${dep_target})
  endforeach()

  if(sources)
    add_library(${target} STATIC ${sources} ${headers})
    target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}/src")
    target_link_libraries(${target} PUBLIC ${dep_targets} ${ARG_LIBS} Threads::Threads)
    add_dependencies(${target} check_layering)
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${CMAKE_SOURCE_DIR}/src")
    target_link_libraries(${target} INTERFACE ${dep_targets} ${ARG_LIBS} Threads::Threads)
  endif()

  if("release-only" IN_LIST ARG_LABELS AND TW_SANITIZE MATCHES "address")
    set(tests "")
  endif()
  if(tests)
    tw_test(${target}_test SOURCES ${tests} LIBS ${target} ${ARG_TEST_LIBS} LABELS unit ${ARG_LABELS})
  endif()
  if(benches AND benchmark_FOUND AND NOT TW_SANITIZE)
    add_executable(${target}_bench ${benches})
    target_link_libraries(${target}_bench PRIVATE ${target} benchmark::benchmark_main)
  endif()
  if(fuzzers AND TW_SANITIZE MATCHES "address")
    foreach(fuzzer ${fuzzers})
      get_filename_component(name ${fuzzer} NAME_WE)
      set(fuzz_target ${target}_${name})
      add_executable(${fuzz_target} ${fuzzer})
      # Finds follow coverage, so the room's own code is instrumented too (toolchain.cmake, fuzzer-no-link).
      target_compile_options(${fuzz_target} PRIVATE -fsanitize=fuzzer)
      target_link_options(${fuzz_target} PRIVATE -fsanitize=fuzzer)
      target_link_libraries(${fuzz_target} PRIVATE ${target})
      set_property(GLOBAL APPEND PROPERTY TW_TEST_TARGETS ${fuzz_target})
      # A short, seeded run on every build; `make soak` runs the long campaign.
      set(corpora "${CMAKE_BINARY_DIR}/corpus/${fuzz_target}")
      file(MAKE_DIRECTORY ${corpora})
      if(EXISTS "${dir}/corpus/${name}")
        list(APPEND corpora "${dir}/corpus/${name}")
      endif()
      add_test(NAME ${fuzz_target} COMMAND ${fuzz_target} -runs=20000 -seed=1 -max_len=4096 ${corpora})
      set_tests_properties(${fuzz_target} PROPERTIES TIMEOUT ${TW_TEST_TIMEOUT_S} LABELS fuzz)
    endforeach()
  endif()
endfunction()
