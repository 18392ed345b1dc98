//! Windows: a process with fewer rights than the user that started it.

use std::ffi::c_void;
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

/// S-1-5-32-544.
const ADMINISTRATORS: [u8; 16] = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];

/// Whether this is Wine: it checks less than Windows does.
pub fn is_wine() -> bool {
    // SAFETY: both names end with a NUL; the module is never unloaded.
    unsafe {
        !GetProcAddress(GetModuleHandleA(c"ntdll.dll".as_ptr().cast()), c"wine_get_version".as_ptr().cast())
            .is_null()
    }
}

/// Starts this program once more, with the same arguments, input and output, but without the administrators' rights, nor
/// any privilege; if `user` is true, also without the user's own rights. Waits until it has ended. Returns its exit code,
/// or the reason why there is none.
pub fn run_restricted(user: bool) -> Result<u32, String> {
    const ALL_RIGHTS: u32 = 0x000f_01ff;
    const TOKEN_USER: u32 = 1;
    const DISABLE_MAX_PRIVILEGE: u32 = 1;
    const USE_STANDARD_HANDLES: u32 = 0x100;
    let failed = |what: &str| {
        // SAFETY: no pointers.
        Err(format!("{what}: error {}", unsafe { GetLastError() }))
    };
    // A TOKEN_USER begins with a pointer to the SID, which is in the buffer too.
    let mut buffer = [0_u64; 16];
    let (mut token, mut restricted, mut needed) = (ptr::null_mut(), ptr::null_mut(), 0);
    // SAFETY: the places for the results are valid and as long as said; what is passed lives as long as the calls do.
    unsafe {
        if OpenProcessToken(GetCurrentProcess(), ALL_RIGHTS, &mut token) == 0
            || GetTokenInformation(token, TOKEN_USER, buffer.as_mut_ptr().cast(), 128, &mut needed) == 0
        {
            return failed("querying the user");
        }
        let disabled = [
            SidAndAttributes { sid: ADMINISTRATORS.as_ptr().cast(), attributes: 0 },
            SidAndAttributes { sid: buffer[0] as *const c_void, attributes: 0 },
        ];
        let count = if user { 2 } else { 1 };
        let (flags, none) = (DISABLE_MAX_PRIVILEGE, ptr::null());
        if CreateRestrictedToken(
            token,
            flags,
            count,
            disabled.as_ptr(),
            0,
            none,
            0,
            ptr::null(),
            &mut restricted,
        ) == 0
        {
            return failed("restricting the token");
        }
        // Input, output, errors.
        let standard = [-10_i32, -11, -12].map(|which| GetStdHandle(which as u32));
        for handle in standard {
            SetHandleInformation(handle, 1, 1);
        }
        let startup = Startup {
            size: std::mem::size_of::<Startup>() as u32,
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
        let started_it = CreateProcessAsUserW(
            restricted,
            ptr::null(),
            line.as_mut_ptr(),
            ptr::null(),
            ptr::null(),
            1,
            0,
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

/// A self-relative security descriptor that admits administrators to sections and events, and no other users. Its owner is
/// this user.
pub fn descriptor_for_administrators() -> Vec<u8> {
    const ALL_RIGHTS: u32 = 0x001f_001f;
    let user = xshm::UserId::current().expect("this user has an id").to_string();
    let mut parts = user.split('-').skip(2).map(|part| part.parse().expect("a SID is numbers"));
    let authority: u64 = parts.next().expect("a SID has an authority");
    let parts: Vec<u32> = parts.map(|part| part as u32).collect();
    let mut owner = vec![1, parts.len() as u8];
    owner.extend_from_slice(&authority.to_be_bytes()[2..]);
    owner.extend(parts.iter().flat_map(|part| part.to_le_bytes()));

    let mut bytes = vec![1, 0, 0x04, 0x80];
    for offset in [20, 0, 0, 20 + owner.len() as u32] {
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    bytes.extend_from_slice(&owner);
    // The list's head, its one entry's head (ACCESS_ALLOWED_ACE_TYPE), and that.
    bytes.extend_from_slice(&[2, 0, 32, 0, 1, 0, 0, 0]);
    bytes.extend_from_slice(&[0, 0, 24, 0]);
    bytes.extend_from_slice(&ALL_RIGHTS.to_le_bytes());
    bytes.extend_from_slice(&ADMINISTRATORS);
    bytes
}
