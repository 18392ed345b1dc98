//! Sandboxes: system calls that the kernel refuses to this process.

use std::ffi::{c_int, c_long, c_ulong};

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
}

/// A system call by its name, and its numbers on x86-64 and on Arm.
#[derive(Clone, Copy, Debug)]
pub struct SystemCall(pub &'static str, pub u32, pub u32);

impl SystemCall {
    fn number(self) -> u32 {
        if cfg!(target_arch = "x86_64") {
            self.1
        } else {
            self.2
        }
    }
}

pub const EPOLL_PWAIT: SystemCall = SystemCall("epoll_pwait", 281, 22);
pub const MADVISE: SystemCall = SystemCall("madvise", 28, 233);

/// An argument of a system call by its place, from 0 on, and its value.
pub type Argument = (u32, u32);

/// `MADV_WIPEONFORK` among the arguments of `madvise`.
pub const WIPE_ON_FORK: Argument = (2, 18);

/// `struct sock_filter`.
#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// From now on a system call of this process returns an error: `errno`, or success without effect for 0. With `argument`, only
/// a call with that argument does.
pub fn refuse(call: SystemCall, errno: i32, argument: Option<Argument>) {
    // SAFETY: the program is lent for the call, and its jumps stay within it.
    with_filter(call, errno, argument, |program| unsafe {
        const PR_SET_SECCOMP: c_int = 22;
        const SECCOMP_MODE_FILTER: c_ulong = 2;
        assert_eq!(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program as c_ulong, 0, 0), 0);
    });
}

/// As [`refuse`], for the threads that run already, too.
pub fn refuse_in_all_threads(call: SystemCall, errno: i32) {
    const SECCOMP: SystemCall = SystemCall("seccomp", 317, 277);
    // SAFETY: as above.
    with_filter(call, errno, None, |program| unsafe {
        const SECCOMP_SET_MODE_FILTER: c_ulong = 1;
        const SECCOMP_FILTER_FLAG_TSYNC: c_ulong = 1;
        let number = c_long::from(SECCOMP.number());
        assert_eq!(syscall(number, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, program), 0);
    });
}

fn with_filter(
    call: SystemCall, errno: i32, argument: Option<Argument>, install: impl FnOnce(*const Program),
) {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const FAIL: u32 = 0x0005_0000;
    const NUMBER_AT: u32 = 0;
    const FIRST_ARGUMENT_AT: u32 = 16;
    let (place, value) = argument.unwrap_or((0, 0));
    let instruction = |code, if_true, if_false, value| Instruction { code, if_true, if_false, value };
    let instructions = [
        instruction(LOAD, 0, 0, NUMBER_AT),
        instruction(JUMP_IF_EQUAL, 0, 3, call.number()),
        instruction(LOAD, 0, 0, FIRST_ARGUMENT_AT + 8 * place),
        // Without an argument to compare, both ways lead to the error.
        instruction(JUMP_IF_EQUAL, 0, u8::from(argument.is_some()), value),
        instruction(RETURN, 0, 0, FAIL | errno as u32),
        instruction(RETURN, 0, 0, ALLOW),
    ];
    let program = Program { length: instructions.len() as u16, instructions: instructions.as_ptr() };
    const PR_SET_NO_NEW_PRIVS: c_int = 38;
    // SAFETY: the call takes numbers alone.
    assert_eq!(unsafe { prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    install(&program);
}
