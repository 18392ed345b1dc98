# Builds from the sources with cargo, which must be installed with the target's standard library.
vcpkg_check_linkage(ONLY_STATIC_LIBRARY)

vcpkg_from_github(
    OUT_SOURCE_PATH SOURCE_PATH
    REPO xshm/xshm
    REF "v${VERSION}"
    SHA512 0 # of the release's archive
    HEAD_REF main)

if(VCPKG_TARGET_ARCHITECTURE STREQUAL "x64")
    set(processor x86_64)
elseif(VCPKG_TARGET_ARCHITECTURE STREQUAL "x86")
    set(processor i686)
else()
    set(processor aarch64)
endif()
if(VCPKG_TARGET_IS_MINGW)
    set(target "${processor}-pc-windows-gnu")
elseif(VCPKG_TARGET_IS_WINDOWS)
    set(target "${processor}-pc-windows-msvc")
else()
    set(target "${processor}-unknown-linux-gnu")
endif()

find_program(CARGO cargo REQUIRED)
set(ENV{CARGO_TARGET_DIR} "${CURRENT_BUILDTREES_DIR}/${TARGET_TRIPLET}")
vcpkg_execute_required_process(
    COMMAND "${CARGO}" c-library --target "${target}"
    WORKING_DIRECTORY "${SOURCE_PATH}"
    LOGNAME "cargo-${TARGET_TRIPLET}")

file(GLOB library "${CURRENT_BUILDTREES_DIR}/${TARGET_TRIPLET}/${target}/c-library/*xshm.*")
list(FILTER library INCLUDE REGEX "(xshm\\.lib|libxshm\\.a)$")
file(INSTALL ${library} DESTINATION "${CURRENT_PACKAGES_DIR}/lib")
# Debug and release builds use the same library: its C interface is the same for both.
file(INSTALL ${library} DESTINATION "${CURRENT_PACKAGES_DIR}/debug/lib")
file(GLOB headers "${SOURCE_PATH}/include/*")
file(INSTALL ${headers} DESTINATION "${CURRENT_PACKAGES_DIR}/include")
file(INSTALL "${SOURCE_PATH}/cmake/xshmConfig.cmake" "${SOURCE_PATH}/cmake/xshmConfigVersion.cmake"
    DESTINATION "${CURRENT_PACKAGES_DIR}/lib/cmake/xshm")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
