//! Windows: a process with fewer rights than the user that started it.

use std::ffi::c_void;
use std::mem::size_of;
use std::ptr;

type Handle = *mut c_void;

#[link(name = "kernel32")]
extern "system" {
    fn GetCommandLineW() -> *const u16;
    fn GetCurrentProcess() -> Handle;
    fn GetExitCodeProcess(process: Handle, code: *mut u32) -> i32;
    fn GetLastError() -> u32;
    fn GetModuleHandleA(name: *const u8) -> Handle;
    fn GetProcAddress(module: Handle, name: *const u8) -> *const c_void;
    fn GetStdHandle(which: u32) -> Handle;
    fn SetHandleInformation(handle: Handle, mask: u32, flags: u32) -> i32;
    fn WaitForSingleObject(object: Handle, millis: u32) -> u32;
}

#[link(name = "advapi32")]
extern "system" {
    fn CreateProcessAsUserW(
        token: Handle, program: *const u16, command_line: *mut u16, process_attributes: *const c_void,
        thread_attributes: *const c_void, inherit: i32, flags: u32, environment: *const c_void,
        directory: *const u16, startup: *const Startup, information: *mut Started,
    ) -> i32;
    fn CreateRestrictedToken(
        token: Handle, flags: u32, disabled: u32, disabled_sids: *const SidAndAttributes, deleted: u32,
        deleted_privileges: *const c_void, restricting: u32, restricting_sids: *const SidAndAttributes,
        restricted: *mut Handle,
    ) -> i32;
    fn GetTokenInformation(
        token: Handle, class: u32, information: *mut c_void, size: u32, needed: *mut u32,
    ) -> i32;
    fn OpenProcessToken(process: Handle, access: u32, token: *mut Handle) -> i32;
    fn SetTokenInformation(token: Handle, class: u32, information: *const c_void, size: u32) -> i32;
}

/// `STARTUPINFOW`.
#[repr(C)]
struct Startup {
    size: u32,
    names: [*const u16; 3],
    window: [u32; 7],
    flags: u32,
    show: u16,
    reserved: u16,
    reserved_bytes: *const u8,
    standard: [Handle; 3],
}

/// `PROCESS_INFORMATION`.
#[repr(C)]
struct Started {
    process: Handle,
    thread: Handle,
    ids: [u32; 2],
}

#[repr(C)]
struct SidAndAttributes {
    sid: *const c_void,
    attributes: u32,
}

const ALL_RIGHTS: u32 = 0x000f_01ff;
const TOKEN_USER: u32 = 1;
const TOKEN_GROUPS: u32 = 2;
const TOKEN_DEFAULT_DACL: u32 = 6;
const TOKEN_INTEGRITY_LEVEL: u32 = 25;

const ADMINISTRATORS: &str = "S-1-5-32-544";
const SYSTEM: &str = "S-1-5-18";

/// Integrity levels: the last number of their SIDs.
pub const LOW: u32 = 4096;
pub const MEDIUM: u32 = 8192;

/// Whether this is Wine: it checks less than Windows does.
pub fn is_wine() -> bool {
    // SAFETY: both names end with a NUL; the module is never unloaded.
    unsafe {
        !GetProcAddress(GetModuleHandleA(c"ntdll.dll".as_ptr().cast()), c"wine_get_version".as_ptr().cast())
            .is_null()
    }
}

/// What a process has less than the one that starts it. All of these processes have no privileges.
#[derive(Clone, Copy, PartialEq)]
pub enum Less {
    /// Its user's rights, and the administrators'.
    User,
    /// The administrators' rights.
    Administrators,
    /// The administrators' rights, and integrity above medium: what Windows gives an administrator's programs that are not
    /// elevated.
    Medium,
    /// Integrity above low.
    Low,
}

impl std::str::FromStr for Less {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "user" => Ok(Less::User),
            "administrators" => Ok(Less::Administrators),
            "medium" => Ok(Less::Medium),
            "low" => Ok(Less::Low),
            _ => Err(format!("{text}?")),
        }
    }
}

/// This process's token, with all rights.
fn own_token() -> Result<Handle, String> {
    let mut token = ptr::null_mut();
    // SAFETY: the place for the result is valid.
    if unsafe { OpenProcessToken(GetCurrentProcess(), ALL_RIGHTS, &mut token) } == 0 {
        return failed("opening the token");
    }
    Ok(token)
}

/// An answer about a token, in words, since it must be aligned. Its pointers lead into the buffer that is returned.
fn information(token: Handle, class: u32) -> Result<Vec<u64>, String> {
    let mut buffer = vec![0_u64; 2048];
    let (size, mut needed) = (8 * buffer.len() as u32, 0);
    // SAFETY: the buffer is as long as said.
    if unsafe { GetTokenInformation(token, class, buffer.as_mut_ptr().cast(), size, &mut needed) } == 0 {
        return failed(&format!("asking for {class}"));
    }
    Ok(buffer)
}

fn set_information(token: Handle, class: u32, information: *const c_void, size: usize) -> Result<(), String> {
    // SAFETY: the callers pass a pointer to as many bytes.
    match unsafe { SetTokenInformation(token, class, information, size as u32) } {
        0 => failed(&format!("setting {class}")),
        _ => Ok(()),
    }
}

fn failed<T>(what: &str) -> Result<T, String> {
    // SAFETY: no pointers.
    Err(format!("{what}: error {}", unsafe { GetLastError() }))
}

/// The SIDs of a token's user and of its logon session. A system service may have no logon SID.
fn identity(token: Handle) -> Result<Vec<Vec<u8>>, String> {
    const SE_GROUP_LOGON_ID: u32 = 0xc000_0000;
    let (user, groups) = (information(token, TOKEN_USER)?, information(token, TOKEN_GROUPS)?);
    // SAFETY: a TOKEN_USER is one entry, a TOKEN_GROUPS has its count before its entries; all pointers lead into the buffers,
    // to whole SIDs.
    unsafe {
        let user = &*user.as_ptr().cast::<SidAndAttributes>();
        let count = *groups.as_ptr().cast::<u32>() as usize;
        let first = groups.as_ptr().cast::<usize>().add(1).cast::<SidAndAttributes>();
        let logon = std::slice::from_raw_parts(first, count)
            .iter()
            .find(|group| group.attributes & SE_GROUP_LOGON_ID == SE_GROUP_LOGON_ID);
        let bytes = |entry: &SidAndAttributes| {
            let sid = entry.sid.cast::<u8>();
            std::slice::from_raw_parts(sid, 8 + 4 * usize::from(*sid.add(1))).to_vec()
        };
        Ok(std::iter::once(user).chain(logon).map(bytes).collect())
    }
}

/// The integrity level of this process.
pub fn integrity() -> u32 {
    let label = own_token().and_then(|token| information(token, TOKEN_INTEGRITY_LEVEL)).unwrap();
    // SAFETY: a TOKEN_MANDATORY_LABEL is one entry, whose SID is in the buffer and has one number after its 8 bytes.
    unsafe { (*label.as_ptr().cast::<SidAndAttributes>()).sid.cast::<u32>().add(2).read() }
}

/// Starts this program once more, with the same arguments, input and output, but with fewer rights. Waits until it has ended.
/// Returns its exit code, or the reason why there is none.
///
/// A new process may have to open its own token, threads and unnamed objects. By default these admit its user, the system
/// and, for an administrator, the administrators; a process without these rights could not even begin. So this process first
/// changes its own default list, which all of these get: it also admits the logon session, whose SID every process of this
/// user's logon has, and which stays enabled. The same SID admits it to the session's directory of names, and to the window
/// station. (Microsoft: "SID Attributes in an Access Token", "DACL for a New Object", and `CreateProcessAsUser`, which says
/// that the process gets the default descriptor of the token's user.) The objects of a named channel have lists of their own.
pub fn run_restricted(less: Less) -> Result<u32, String> {
    const GENERIC_ALL: u32 = 0x1000_0000;
    const DISABLE_MAX_PRIVILEGE: u32 = 1;
    const DETACHED_PROCESS: u32 = 8;
    const USE_STANDARD_HANDLES: u32 = 0x100;
    let token = own_token()?;
    let identity = identity(token)?;
    let (administrators, system) = (sid(ADMINISTRATORS), sid(SYSTEM));
    let admitted: Vec<&[u8]> =
        identity.iter().map(Vec::as_slice).chain([&system[..], &administrators]).collect();
    let admitted = list(ACCESS_ALLOWED, GENERIC_ALL, &admitted);
    // A TOKEN_DEFAULT_DACL is a pointer to the list.
    set_information(
        token,
        TOKEN_DEFAULT_DACL,
        (&admitted.as_ptr() as *const *const u8).cast(),
        size_of::<usize>(),
    )?;

    let disabled = [&administrators, &identity[0]]
        .map(|sid| SidAndAttributes { sid: sid.as_ptr().cast(), attributes: 0 });
    let disabled = match less {
        Less::User => &disabled[..],
        Less::Administrators | Less::Medium => &disabled[..1],
        Less::Low => &[],
    };
    let mut restricted = ptr::null_mut();
    // SAFETY: the place for the result is valid, and the list is as long as said.
    let made = unsafe {
        let (count, list, none) = (disabled.len() as u32, disabled.as_ptr(), ptr::null());
        CreateRestrictedToken(
            token,
            DISABLE_MAX_PRIVILEGE,
            count,
            list,
            0,
            none,
            0,
            ptr::null(),
            &mut restricted,
        )
    };
    if made == 0 {
        return failed("restricting the token");
    }
    let level = match less {
        Less::Low => Some(LOW),
        Less::Medium => Some(MEDIUM),
        Less::User | Less::Administrators => None,
    };
    if let Some(level) = level {
        const SE_GROUP_INTEGRITY: u32 = 0x20;
        let level = sid(&format!("S-1-16-{level}"));
        let label = SidAndAttributes { sid: level.as_ptr().cast(), attributes: SE_GROUP_INTEGRITY };
        let (label, size) = (&label as *const SidAndAttributes, size_of::<SidAndAttributes>());
        set_information(restricted, TOKEN_INTEGRITY_LEVEL, label.cast(), size)?;
    }
    // SAFETY: the places for the results are valid; what is passed lives as long as the calls do.
    unsafe {
        // Input, output, errors.
        let standard = [-10_i32, -11, -12].map(|which| GetStdHandle(which as u32));
        for handle in standard {
            SetHandleInformation(handle, 1, 1);
        }
        let startup = Startup {
            size: size_of::<Startup>() as u32,
            names: [ptr::null(); 3],
            window: [0; 7],
            flags: USE_STANDARD_HANDLES,
            show: 0,
            reserved: 0,
            reserved_bytes: ptr::null(),
            standard,
        };
        let line = GetCommandLineW();
        let length = (0..).find(|&at| *line.add(at) == 0).expect("it ends with a NUL");
        let mut line = std::slice::from_raw_parts(line, length + 1).to_vec();
        let mut started = std::mem::zeroed::<Started>();
        // It needs no console: its input and output are pipes.
        let started_it = CreateProcessAsUserW(
            restricted,
            ptr::null(),
            line.as_mut_ptr(),
            ptr::null(),
            ptr::null(),
            1,
            DETACHED_PROCESS,
            ptr::null(),
            ptr::null(),
            &startup,
            &mut started,
        );
        if started_it == 0 {
            return failed("starting a process");
        }
        let mut code = 0;
        WaitForSingleObject(started.process, u32::MAX);
        GetExitCodeProcess(started.process, &mut code);
        Ok(code)
    }
}

// ------------------------------------------------------------------------------------------ SIDs and access lists

/// `ACCESS_ALLOWED_ACE_TYPE`.
const ACCESS_ALLOWED: u8 = 0;
/// `SYSTEM_MANDATORY_LABEL_ACE_TYPE`.
const MANDATORY_LABEL: u8 = 0x11;
/// All rights to sections and events.
const ALL_OBJECT_RIGHTS: u32 = 0x001f_001f;

/// A SID, from its text.
fn sid(text: &str) -> Vec<u8> {
    let mut parts = text.split('-').skip(2).map(|part| part.parse::<u64>().expect("a SID is numbers"));
    let authority = parts.next().expect("a SID has an authority");
    let parts: Vec<u32> = parts.map(|part| part as u32).collect();
    let mut bytes = vec![1, parts.len() as u8];
    bytes.extend_from_slice(&authority.to_be_bytes()[2..]);
    bytes.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
    bytes
}

/// An access list with an entry of this kind for each SID.
fn list(kind: u8, rights: u32, sids: &[&[u8]]) -> Vec<u8> {
    let mut entries = Vec::new();
    for sid in sids {
        entries.extend_from_slice(&[kind, 0]);
        entries.extend_from_slice(&(8 + sid.len() as u16).to_le_bytes());
        entries.extend_from_slice(&rights.to_le_bytes());
        entries.extend_from_slice(sid);
    }
    let mut bytes = vec![2, 0];
    bytes.extend_from_slice(&(8 + entries.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&(sids.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&entries);
    bytes
}

/// A self-relative security descriptor whose owner is this user.
fn descriptor(label: &[u8], list: &[u8]) -> Vec<u8> {
    const SE_DACL_PRESENT: u16 = 4;
    const SE_SACL_PRESENT: u16 = 0x10;
    const SE_SELF_RELATIVE: u16 = 0x8000;
    let owner = sid(&xshm::UserId::current().expect("this user has an id").to_string());
    let has_label = if label.is_empty() { 0 } else { SE_SACL_PRESENT };
    let mut bytes = vec![1, 0];
    bytes.extend_from_slice(&(SE_DACL_PRESENT | SE_SELF_RELATIVE | has_label).to_le_bytes());
    let label_at = 20 + owner.len();
    for offset in [20, 0, if label.is_empty() { 0 } else { label_at }, label_at + label.len()] {
        bytes.extend_from_slice(&(offset as u32).to_le_bytes());
    }
    [&bytes[..], &owner, label, list].concat()
}

/// Admits administrators to sections and events, and no other users.
pub fn descriptor_for_administrators() -> Vec<u8> {
    descriptor(&[], &list(ACCESS_ALLOWED, ALL_OBJECT_RIGHTS, &[&sid(ADMINISTRATORS)]))
}

/// Admits this user's processes of low integrity too.
pub fn descriptor_for_low_integrity() -> Vec<u8> {
    const NO_WRITE_UP: u32 = 1;
    let user = sid(&xshm::UserId::current().expect("this user has an id").to_string());
    let label = list(MANDATORY_LABEL, NO_WRITE_UP, &[&sid(&format!("S-1-16-{LOW}"))]);
    descriptor(&label, &list(ACCESS_ALLOWED, ALL_OBJECT_RIGHTS, &[&user]))
}
