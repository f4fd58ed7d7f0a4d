# Compiler flags of the two worlds: hosted programs and the freestanding hypervisor and mini guests.
include_guard()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

set(DOMUS_WARNINGS -Wall -Wextra -Wno-missing-field-initializers)

# Hosted code: `target_link_libraries(x PRIVATE domus_hosted)`.
add_library(domus_hosted INTERFACE)
target_compile_options(domus_hosted INTERFACE ${DOMUS_WARNINGS})
target_include_directories(domus_hosted INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(domus_hosted INTERFACE BOOST_ASIO_NO_DEPRECATED)
if(DOMUS_CHECK)
  target_compile_options(domus_hosted INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(domus_hosted INTERFACE -fsanitize=address,undefined)
endif()

# domus_together(TARGET): in the check configuration, four files of the target are compiled as one. Coroutines, protobuf and
# the sanitizers make the first line of such a file cost seconds.
function(domus_together target)
  if(DOMUS_CHECK)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 4)
    # To the compiler the files put together are included ones, whose local types it warns about in templates.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()

# Debian's default Boost is 1.74; we need 1.81's Asio.
find_package(Boost 1.81 EXACT QUIET)

# Freestanding code (the hypervisor, the mini guests): general registers only, no red zone,
# position independent because the hypervisor is linked far above 2 GiB.
add_library(domus_freestanding INTERFACE)
target_compile_options(domus_freestanding INTERFACE
  ${DOMUS_WARNINGS} -O2 -g -ffreestanding -fno-stack-protector -mno-red-zone
  # clang's -mgeneral-regs-only also refuses long double in the standard headers.
  $<IF:$<CXX_COMPILER_ID:Clang>,-mno-mmx;-mno-sse,-mgeneral-regs-only>
  -fno-asynchronous-unwind-tables -fcf-protection=none -fno-strict-aliasing -fvisibility=hidden
  -ffunction-sections -fdata-sections -fno-omit-frame-pointer
  $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-use-cxa-atexit>)
target_include_directories(domus_freestanding INTERFACE ${CMAKE_SOURCE_DIR})
target_link_options(domus_freestanding INTERFACE -nostdlib -static -Wl,--gc-sections -Wl,--build-id=none)
