# find_package(xshm CONFIG) defines the targets xshm::xshm, the static library, and xshm::shared, if there is a shared one.
#
# This works in a release archive, in the repository after `cargo build --release` or `cargo c-library` (in both, cmake/ is beside
# include/), and in an installed tree (lib/cmake/xshm/, or share/xshm/). XSHM_LIBRARY names another static library.
get_filename_component(_xshm_here "${CMAKE_CURRENT_LIST_DIR}" REALPATH)
foreach(_xshm_up ".." "../.." "../../..")
    get_filename_component(_xshm_root "${_xshm_here}/${_xshm_up}" ABSOLUTE)
    if(EXISTS "${_xshm_root}/include/xshm.h")
        break()
    endif()
endforeach()
if(NOT EXISTS "${_xshm_root}/include/xshm.h")
    set(xshm_FOUND FALSE)
    set(xshm_NOT_FOUND_MESSAGE "there is no include/xshm.h beside or above ${_xshm_here}")
    return()
endif()

include("${CMAKE_CURRENT_LIST_DIR}/xshmTarget.cmake")
if(MSVC)
    set(_xshm_file xshm.lib)
else()
    set(_xshm_file libxshm.a)
endif()

if(NOT XSHM_LIBRARY)
    set(_xshm_builds target)
    if(DEFINED ENV{CARGO_TARGET_DIR})
        file(TO_CMAKE_PATH "$ENV{CARGO_TARGET_DIR}" _xshm_builds)
    endif()
    set(_xshm_folders lib "${_xshm_builds}/${xshm_TARGET}/c-library" "${_xshm_builds}/${xshm_TARGET}/release")
    # What cargo builds without a named target is for Rust's own.
    if(EXISTS "${_xshm_root}/Cargo.toml")
        find_program(XSHM_RUSTC rustc HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin" "$ENV{USERPROFILE}/.cargo/bin")
        set(_xshm_rust)
        if(XSHM_RUSTC)
            execute_process(COMMAND "${XSHM_RUSTC}" -vV OUTPUT_VARIABLE _xshm_rust ERROR_QUIET)
        endif()
        if(_xshm_rust MATCHES "host: ${xshm_TARGET}")
            list(APPEND _xshm_folders "${_xshm_builds}/c-library" "${_xshm_builds}/release")
        endif()
    endif()
    foreach(_xshm_folder ${_xshm_folders})
        get_filename_component(_xshm_folder "${_xshm_folder}" ABSOLUTE BASE_DIR "${_xshm_root}")
        # Of several builds, the newest.
        if(EXISTS "${_xshm_folder}/${_xshm_file}"
                AND (NOT XSHM_LIBRARY OR "${_xshm_folder}/${_xshm_file}" IS_NEWER_THAN "${XSHM_LIBRARY}"))
            set(XSHM_LIBRARY "${_xshm_folder}/${_xshm_file}")
        endif()
    endforeach()
endif()
if(NOT EXISTS "${XSHM_LIBRARY}")
    set(xshm_FOUND FALSE)
    set(xshm_NOT_FOUND_MESSAGE
        "there is no ${_xshm_file} for ${xshm_TARGET} in ${_xshm_root}; make it with: cargo build --release --target ${xshm_TARGET}")
    return()
endif()

if(NOT TARGET xshm::xshm)
    add_library(xshm::xshm STATIC IMPORTED)
    set_target_properties(xshm::xshm PROPERTIES
        IMPORTED_LOCATION "${XSHM_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${_xshm_root}/include")
    if(WIN32)
        set_target_properties(xshm::xshm PROPERTIES INTERFACE_LINK_LIBRARIES ntdll)
    else()
        set_target_properties(xshm::xshm PROPERTIES INTERFACE_LINK_LIBRARIES "pthread;dl;m")
        # Two shared objects that contain the library must not share a copy of it: each keeps itself loaded. The libraries of the
        # archives hide their symbols, and those of cargo do not.
        set_target_properties(xshm::xshm PROPERTIES INTERFACE_LINK_OPTIONS "LINKER:--exclude-libs,${_xshm_file}")
    endif()
endif()

if(WIN32)
    set(_xshm_shared "${_xshm_root}/bin/xshm.dll")
else()
    set(_xshm_shared "${_xshm_root}/lib/libxshm.so")
endif()
if(EXISTS "${_xshm_shared}" AND NOT TARGET xshm::shared)
    add_library(xshm::shared SHARED IMPORTED)
    set_target_properties(xshm::shared PROPERTIES
        IMPORTED_LOCATION "${_xshm_shared}"
        INTERFACE_INCLUDE_DIRECTORIES "${_xshm_root}/include")
    if(WIN32 AND MSVC)
        set_target_properties(xshm::shared PROPERTIES IMPORTED_IMPLIB "${_xshm_root}/lib/xshm.dll.lib")
    elseif(WIN32)
        set_target_properties(xshm::shared PROPERTIES IMPORTED_IMPLIB "${_xshm_root}/lib/libxshm.dll.a")
    endif()
endif()
set(xshm_FOUND TRUE)
