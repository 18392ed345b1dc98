//! NT types and constants, as Microsoft documents them.

use std::ffi::c_void;

pub(crate) type Handle = *mut c_void;
pub(crate) type NtStatus = i32;

#[repr(C)]
pub(crate) struct UnicodeString {
    pub(crate) length: u16,
    pub(crate) maximum_length: u16,
    pub(crate) buffer: *mut u16,
}

#[repr(C)]
pub(crate) struct ObjectAttributes {
    pub(crate) length: u32,
    pub(crate) root_directory: Handle,
    pub(crate) object_name: *mut UnicodeString,
    pub(crate) attributes: u32,
    pub(crate) security_descriptor: *mut c_void,
    pub(crate) security_quality_of_service: *mut c_void,
}

#[repr(C)]
pub(crate) struct ClientId {
    pub(crate) unique_process: Handle,
    pub(crate) unique_thread: Handle,
}

#[repr(C)]
pub(crate) struct EventBasicInformation {
    /// [`NOTIFICATION_EVENT`] or [`SYNCHRONIZATION_EVENT`].
    pub(crate) event_type: u32,
    pub(crate) event_state: i32,
}

#[repr(C)]
pub(crate) struct SectionBasicInformation {
    pub(crate) base_address: *mut c_void,
    pub(crate) allocation_attributes: u32,
    pub(crate) maximum_size: i64,
}

#[repr(C)]
pub(crate) struct SidAndAttributes {
    pub(crate) sid: *const u8,
    pub(crate) attributes: u32,
}

/// The thread pool calls it with the instance, the context, the wait and its result.
#[cfg(feature = "async")]
pub(crate) type WaitCallback = unsafe extern "system" fn(*mut c_void, *mut c_void, *mut c_void, u32);

/// `TP_CALLBACK_ENVIRON_V1`.
#[cfg(feature = "async")]
#[repr(C)]
pub(crate) struct TpCallbackEnvironment {
    version: u32,
    pool: *mut c_void,
    cleanup_group: *mut c_void,
    cleanup_group_cancel_callback: *mut c_void,
    race_dll: Handle,
    activation_context: *mut c_void,
    finalization_callback: *mut c_void,
    flags: u32,
}

#[cfg(feature = "async")]
impl TpCallbackEnvironment {
    /// The pool keeps this module loaded while it has callbacks there.
    pub(crate) fn of_module(module: Handle) -> Self {
        let none = std::ptr::null_mut();
        TpCallbackEnvironment {
            version: 1,
            pool: none,
            cleanup_group: none,
            cleanup_group_cancel_callback: none,
            race_dll: module,
            activation_context: none,
            finalization_callback: none,
            flags: 0,
        }
    }
}

pub(crate) const STATUS_WAIT_0: NtStatus = 0;
pub(crate) const STATUS_TIMEOUT: NtStatus = 0x102;
pub(crate) const STATUS_INFO_LENGTH_MISMATCH: NtStatus = 0xC000_0004_u32 as NtStatus;
pub(crate) const STATUS_INVALID_CID: NtStatus = 0xC000_000B_u32 as NtStatus;
pub(crate) const STATUS_INVALID_PARAMETER: NtStatus = 0xC000_000D_u32 as NtStatus;
pub(crate) const STATUS_NO_MEMORY: NtStatus = 0xC000_0017_u32 as NtStatus;
pub(crate) const STATUS_ACCESS_DENIED: NtStatus = 0xC000_0022_u32 as NtStatus;
pub(crate) const STATUS_OBJECT_TYPE_MISMATCH: NtStatus = 0xC000_0024_u32 as NtStatus;
pub(crate) const STATUS_OBJECT_NAME_NOT_FOUND: NtStatus = 0xC000_0034_u32 as NtStatus;
pub(crate) const STATUS_OBJECT_NAME_COLLISION: NtStatus = 0xC000_0035_u32 as NtStatus;
pub(crate) const STATUS_INVALID_HANDLE: NtStatus = 0xC000_0008_u32 as NtStatus;
pub(crate) const STATUS_OBJECT_PATH_NOT_FOUND: NtStatus = 0xC000_003A_u32 as NtStatus;
pub(crate) const STATUS_PRIVILEGE_NOT_HELD: NtStatus = 0xC000_0061_u32 as NtStatus;
pub(crate) const STATUS_NO_TOKEN: NtStatus = 0xC000_007C_u32 as NtStatus;
pub(crate) const STATUS_SECTION_NOT_EXTENDED: NtStatus = 0xC000_0087_u32 as NtStatus;
pub(crate) const STATUS_INSUFFICIENT_RESOURCES: NtStatus = 0xC000_009A_u32 as NtStatus;
pub(crate) const STATUS_CANT_OPEN_ANONYMOUS: NtStatus = 0xC000_00A6_u32 as NtStatus;
pub(crate) const STATUS_NOT_FOUND: NtStatus = 0xC000_0225_u32 as NtStatus;

/// `NtQueryObject`: a `UNICODE_STRING`, and behind it what it points to.
pub(crate) const OBJECT_NAME_INFORMATION: u32 = 1;
/// `NtQueryObject`: begins with a `UNICODE_STRING`, the name of the object's type.
pub(crate) const OBJECT_TYPE_INFORMATION: u32 = 2;

pub(crate) const DELETE: u32 = 0x0001_0000;
pub(crate) const SYNCHRONIZE: u32 = 0x0010_0000;
pub(crate) const READ_CONTROL: u32 = 0x0002_0000;
pub(crate) const EVENT_QUERY_STATE: u32 = 0x0001;
pub(crate) const EVENT_MODIFY_STATE: u32 = 0x0002;
pub(crate) const SECTION_QUERY: u32 = 0x0001;
pub(crate) const SECTION_MAP_WRITE: u32 = 0x0002;
pub(crate) const SECTION_MAP_READ: u32 = 0x0004;
pub(crate) const SYMBOLIC_LINK_QUERY: u32 = 0x0001;
pub(crate) const PROCESS_QUERY_LIMITED_INFORMATION: u32 = 0x1000;
pub(crate) const TOKEN_QUERY: u32 = 0x0008;
pub(crate) const DIRECTORY_QUERY: u32 = 0x0001;
pub(crate) const DIRECTORY_TRAVERSE: u32 = 0x0002;

pub(crate) const PAGE_READONLY: u32 = 0x02;
pub(crate) const PAGE_READWRITE: u32 = 0x04;
pub(crate) const SEC_COMMIT: u32 = 0x0800_0000;
pub(crate) const VIEW_UNMAP: u32 = 2;

/// `EVENT_TYPE`: stays set until reset.
pub(crate) const NOTIFICATION_EVENT: u32 = 0;
/// `EVENT_TYPE`: wakes one waiter and is unset by that.
pub(crate) const SYNCHRONIZATION_EVENT: u32 = 1;
/// `WAIT_TYPE`.
pub(crate) const WAIT_ANY: u32 = 1;
/// `SECTION_INFORMATION_CLASS`.
pub(crate) const SECTION_BASIC_INFORMATION: u32 = 0;
pub(crate) const EVENT_BASIC_INFORMATION: u32 = 0;
/// `PROCESSINFOCLASS`.
pub(crate) const PROCESS_SESSION_INFORMATION: u32 = 24;
/// `TOKEN_INFORMATION_CLASS`.
pub(crate) const TOKEN_USER: u32 = 1;
pub(crate) const TOKEN_INTEGRITY_LEVEL: u32 = 25;
pub(crate) const TOKEN_IS_APP_CONTAINER: u32 = 29;
/// `SYSTEM_INFORMATION_CLASS`.
pub(crate) const SYSTEM_PROCESS_INFORMATION: u32 = 5;
pub(crate) const OWNER_SECURITY_INFORMATION: u32 = 1;
pub(crate) const DACL_SECURITY_INFORMATION: u32 = 4;

pub(crate) const CURRENT_PROCESS: Handle = -1_isize as Handle;
pub(crate) const CURRENT_THREAD: Handle = -2_isize as Handle;
