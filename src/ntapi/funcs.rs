//! The functions of Windows that the crate calls: those of `ntdll.dll` (`#[link(name = "ntdll")]`), and for its threads some of `kernel32.dll`, which
//! every program is linked with.

use super::types::*;
use std::ffi::c_void;

// With MSVC, the compiler makes what the linker needs of ntdll by itself, whatever the installed SDK's ntdll.lib contains. With
// MinGW this would need another tool, and MinGW's library has all these functions.
#[cfg_attr(
    all(target_env = "msvc", target_arch = "x86"),
    link(name = "ntdll", kind = "raw-dylib", import_name_type = "undecorated")
)]
#[cfg_attr(all(target_env = "msvc", not(target_arch = "x86")), link(name = "ntdll", kind = "raw-dylib"))]
#[cfg_attr(not(target_env = "msvc"), link(name = "ntdll"))]
extern "system" {
    /// The number is a `LUID`: 64 bits.
    pub(crate) fn NtAllocateLocallyUniqueId(luid: *mut u64) -> NtStatus;
    pub(crate) fn NtGetTickCount() -> u32;
    pub(crate) fn NtClose(handle: Handle) -> NtStatus;
    pub(crate) fn NtCreateEvent(
        handle: *mut Handle, access: u32, attributes: *const ObjectAttributes, event_type: u32,
        initial_state: u8,
    ) -> NtStatus;
    pub(crate) fn NtCreateSection(
        handle: *mut Handle, access: u32, attributes: *const ObjectAttributes, maximum_size: *const i64,
        page_protection: u32, allocation_attributes: u32, file: Handle,
    ) -> NtStatus;
    pub(crate) fn NtCreateSymbolicLinkObject(
        handle: *mut Handle, access: u32, attributes: *const ObjectAttributes, target: *const UnicodeString,
    ) -> NtStatus;
    pub(crate) fn NtDuplicateObject(
        source_process: Handle, source: Handle, target_process: Handle, target: *mut Handle, access: u32,
        attributes: u32, options: u32,
    ) -> NtStatus;
    pub(crate) fn NtMapViewOfSection(
        section: Handle, process: Handle, base: *mut *mut c_void, zero_bits: usize, commit_size: usize,
        offset: *mut i64, view_size: *mut usize, inherit: u32, allocation_type: u32, protection: u32,
    ) -> NtStatus;
    pub(crate) fn NtOpenDirectoryObject(
        handle: *mut Handle, access: u32, attributes: *const ObjectAttributes,
    ) -> NtStatus;
    pub(crate) fn NtOpenEvent(
        handle: *mut Handle, access: u32, attributes: *const ObjectAttributes,
    ) -> NtStatus;
    pub(crate) fn NtOpenProcess(
        handle: *mut Handle, access: u32, attributes: *const ObjectAttributes, client: *const ClientId,
    ) -> NtStatus;
    pub(crate) fn NtOpenProcessToken(process: Handle, access: u32, token: *mut Handle) -> NtStatus;
    pub(crate) fn NtOpenSection(
        handle: *mut Handle, access: u32, attributes: *const ObjectAttributes,
    ) -> NtStatus;
    pub(crate) fn NtOpenSymbolicLinkObject(
        handle: *mut Handle, access: u32, attributes: *const ObjectAttributes,
    ) -> NtStatus;
    pub(crate) fn NtOpenThreadToken(
        thread: Handle, access: u32, open_as_self: u8, token: *mut Handle,
    ) -> NtStatus;
    pub(crate) fn NtQueryDirectoryObject(
        directory: Handle, buffer: *mut c_void, length: u32, single: u8, restart: u8, context: *mut u32,
        returned: *mut u32,
    ) -> NtStatus;
    pub(crate) fn NtQueryEvent(
        event: Handle, class: u32, information: *mut c_void, length: u32, returned: *mut u32,
    ) -> NtStatus;
    pub(crate) fn NtQueryInformationProcess(
        process: Handle, class: u32, information: *mut c_void, length: u32, returned: *mut u32,
    ) -> NtStatus;
    pub(crate) fn NtQueryInformationToken(
        token: Handle, class: u32, information: *mut c_void, length: u32, returned: *mut u32,
    ) -> NtStatus;
    pub(crate) fn NtQueryObject(
        handle: Handle, class: u32, information: *mut c_void, length: u32, returned: *mut u32,
    ) -> NtStatus;
    pub(crate) fn NtQuerySection(
        section: Handle, class: u32, information: *mut c_void, length: usize, returned: *mut usize,
    ) -> NtStatus;
    pub(crate) fn NtQuerySecurityObject(
        handle: Handle, information: u32, descriptor: *mut c_void, length: u32, needed: *mut u32,
    ) -> NtStatus;
    pub(crate) fn NtQuerySystemInformation(
        class: u32, information: *mut c_void, length: u32, needed: *mut u32,
    ) -> NtStatus;
    pub(crate) fn NtResetEvent(handle: Handle, previous: *mut i32) -> NtStatus;
    pub(crate) fn NtSetEvent(handle: Handle, previous: *mut i32) -> NtStatus;
    pub(crate) fn NtSetInformationThread(
        thread: Handle, class: u32, information: *const c_void, length: u32,
    ) -> NtStatus;
    pub(crate) fn NtUnmapViewOfSection(process: Handle, base: *mut c_void) -> NtStatus;
    pub(crate) fn NtWaitForMultipleObjects(
        count: u32, handles: *const Handle, wait_type: u32, alertable: u8, timeout: *const i64,
    ) -> NtStatus;
    pub(crate) fn RtlDllShutdownInProgress() -> u8;
    #[cfg(feature = "async")]
    pub(crate) fn TpAllocWait(
        wait: *mut *mut c_void, callback: WaitCallback, context: *mut c_void,
        environment: *const TpCallbackEnvironment,
    ) -> NtStatus;
    #[cfg(feature = "async")]
    pub(crate) fn TpReleaseWait(wait: *mut c_void);
    #[cfg(feature = "async")]
    pub(crate) fn TpSetWait(wait: *mut c_void, object: Handle, timeout: *const i64);
}

#[link(name = "kernel32")]
extern "system" {
    pub(crate) fn CreateThread(
        attributes: *const c_void, stack_size: usize, main: unsafe extern "system" fn(*mut c_void) -> u32,
        parameter: *mut c_void, flags: u32, thread_id: *mut u32,
    ) -> Handle;
    pub(crate) fn FreeLibrary(module: Handle) -> i32;
    pub(crate) fn FreeLibraryAndExitThread(module: Handle, code: u32) -> !;
    pub(crate) fn GetModuleHandleExW(flags: u32, name: *const c_void, module: *mut Handle) -> i32;
}
