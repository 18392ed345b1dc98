//! What the library does to its process: signals, interrupters in signal handlers, forks that no mechanism reports. Each test
//! has its own process, whose only threads are the test's and the library's.
#![cfg(target_os = "linux")]

mod common;

use common::seccomp::{refuse, MADVISE, WIPE_ON_FORK};
use common::*;
use std::ffi::c_void;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use xshm::*;

type SignalSet = [u64; 16];

/// `struct itimerval`.
#[repr(C)]
struct Timer {
    interval: [std::ffi::c_long; 2],
    value: [std::ffi::c_long; 2],
}

extern "C" {
    fn fork() -> i32;
    fn _exit(status: i32) -> !;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn alarm(seconds: u32) -> u32;
    fn kill(pid: i32, signal: i32) -> i32;
    fn signal(signal: i32, handler: usize) -> usize;
    fn setitimer(which: i32, new: *const Timer, old: *mut Timer) -> i32;
    fn pthread_sigmask(how: i32, set: *const SignalSet, old: *mut SignalSet) -> i32;
    fn sigwait(set: *const SignalSet, signal: *mut i32) -> i32;
    fn syscall(number: std::ffi::c_long, ...) -> std::ffi::c_long;
    fn __errno_location() -> *mut i32;
}

const SIG_BLOCK: i32 = 0;
const SIGALRM: i32 = 14;
const SIGTERM: i32 = 15;
const SIGCHLD: usize = 17;
/// SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV and SIGSYS, on x86-64 and arm64.
const FAULTS: [u32; 6] = [4, 5, 7, 8, 11, 31];

const IN_OWN_PROCESS: &str = "XSHM_TEST_GUEST";

/// Runs the test's body in a process whose only thread is this one: a fork of another run of this test.
fn in_own_process(test: &str, body: impl FnOnce()) {
    if std::env::var_os(IN_OWN_PROCESS).is_none() {
        let program = std::env::current_exe().unwrap();
        let arguments = [test, "--exact", "--nocapture", "--test-threads=1"];
        let mut own = Command::new(program);
        own.args(arguments).env(IN_OWN_PROCESS, "1").stdout(Stdio::null());
        let status = own.status().unwrap();
        assert!(status.success(), "{test}: {status}");
        return;
    }
    // SAFETY: the other thread of this process is the test harness's, which waits for this one.
    let child = unsafe { fork() };
    if child == 0 {
        // SAFETY: ends a test that hangs.
        unsafe { alarm(120) };
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err();
        // SAFETY: the harness runs only in the parent.
        unsafe { _exit(failed.into()) };
    }
    assert_eq!(status_of(child), 0, "{test}");
}

/// Waits for a child. A number below 128 is the signal that ended it; 14: it hung.
fn status_of(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the child is this process's.
    assert_eq!(unsafe { waitpid(child, &mut status, 0) }, child);
    status
}

fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// The signals that a thread blocks.
fn blocked(task: &std::path::Path) -> u64 {
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(blocked.trim(), 16).unwrap()
}

fn block(signal: i32) -> SignalSet {
    let mut set: SignalSet = [0; 16];
    set[0] = bit(signal as u32);
    // SAFETY: the set has the size of a `sigset_t`.
    assert_eq!(unsafe { pthread_sigmask(SIG_BLOCK, &set, std::ptr::null_mut()) }, 0);
    set
}

/// A handler that counts.
#[derive(Default)]
struct Counting {
    messages: AtomicU64,
    ends: AtomicU64,
}

impl AutoHandler for Counting {
    fn on_message(&self, _: ChannelKind, _: &[u8]) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }
    fn on_disconnect(&self) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

impl MultiHandler for Counting {
    fn on_message(&self, _: u32, _: &[u8]) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }
    fn on_client_disconnect(&self, _: u32) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

impl MultiClientHandler for Counting {
    fn on_message(&self, _: &[u8]) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }
    fn on_disconnect(&self) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

type Background = (AutoServer, AutoClient, MultiServer, MultiClient);

fn background(handler: &Arc<Counting>) -> Background {
    let (one, many) = (unique("guest-auto"), unique("guest-multi"));
    (
        AutoServer::start(&one, handler.clone(), AutoOptions::default()).unwrap(),
        AutoClient::connect(&one, handler.clone(), AutoOptions::default()).unwrap(),
        MultiServer::start(&many, handler.clone(), MultiOptions::default()).unwrap(),
        MultiClient::connect(&many, handler.clone(), MultiClientOptions::default()).unwrap(),
    )
}

#[test]
fn line_40_threads_of_the_library_block_signals_except_those_of_their_own_faults() {
    in_own_process("line_40_threads_of_the_library_block_signals_except_those_of_their_own_faults", || {
        block(12); // SIGUSR2
        let own = std::path::Path::new("/proc/thread-self");
        let before = blocked(own);
        assert_ne!(before & bit(12), 0);
        let endpoints = background(&Arc::default());
        assert_eq!(blocked(own), before, "a start changes the caller's signals");
        let of_library = |task: &PathBuf| !task.ends_with(std::process::id().to_string());
        let tasks = || -> Vec<PathBuf> {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            tasks.map(|task| task.unwrap().path()).filter(of_library).collect()
        };
        // Two threads of a multi-client server, one of which begins for its first client; one of each other endpoint.
        wait_until(|| tasks().len() == 5);
        for task in tasks() {
            // A thread that has just begun blocks all signals for a moment.
            wait_until(|| blocked(&task) & bit(FAULTS[0]) == 0);
            let blocked = blocked(&task);
            // SIGKILL and SIGSTOP cannot be blocked; 32 and 33 are the C library's.
            for signal in (1..=64).filter(|signal| ![9, 19, 32, 33].contains(signal)) {
                let is_fault = FAULTS.contains(&signal);
                assert_eq!(blocked & bit(signal) == 0, is_fault, "signal {signal}");
            }
        }
        drop(endpoints);
        assert_eq!(blocked(own), before, "a stop changes the caller's signals");
    });
}

#[test]
fn line_40_a_signal_that_the_program_waits_for_comes_to_it() {
    in_own_process("line_40_a_signal_that_the_program_waits_for_comes_to_it", || {
        let endpoints = background(&Arc::default());
        let set = block(SIGTERM);
        for _ in 0..100 {
            let mut signal = 0;
            // SAFETY: the other threads are the library's. If one of them took the signal, it would end this process.
            unsafe {
                assert_eq!(kill(std::process::id() as i32, SIGTERM), 0);
                assert_eq!(sigwait(&set, &mut signal), 0);
            }
            assert_eq!(signal, SIGTERM);
        }
        drop(endpoints);
    });
}

static INTERRUPTER: OnceLock<Interrupter> = OnceLock::new();
static HANDLED: AtomicU64 = AtomicU64::new(0);
static ERRNO_CHANGED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt_in_handler(_: i32) {
    // SAFETY: the calling thread's own.
    let errno = unsafe { &mut *__errno_location() };
    let before = std::mem::replace(errno, 4242);
    INTERRUPTER.get().unwrap().interrupt();
    if *errno != 4242 {
        ERRNO_CHANGED.store(true, Ordering::Relaxed);
    }
    *errno = before;
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Has SIGALRM come at intervals of this many microseconds. 0: no more.
fn set_timer(interval: std::ffi::c_long) {
    let timer = Timer { interval: [0, interval], value: [0, interval] };
    // SAFETY: the structure is the one that the function wants.
    assert_eq!(unsafe { setitimer(0, &timer, std::ptr::null_mut()) }, 0);
}

#[test]
fn line_40_a_signal_handler_may_interrupt() {
    in_own_process("line_40_a_signal_handler_may_interrupt", || {
        let mut server = SharedServer::start(&unique("guest-handler")).unwrap();
        let interrupter = server.interrupter();
        assert!(INTERRUPTER.set(server.interrupter()).is_ok());
        // A thread that sees whether the main thread hangs, which has the alarm for other things. It takes no signal.
        let finished = Arc::new(AtomicBool::new(false));
        let watched = finished.clone();
        let watch = std::thread::spawn(move || {
            block(SIGALRM);
            let (mut handled, mut since) = (0, Instant::now());
            while !watched.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
                let now = HANDLED.load(Ordering::Relaxed);
                if now != handled {
                    (handled, since) = (now, Instant::now());
                }
                if since.elapsed() > Duration::from_secs(20) {
                    eprintln!("the main thread hangs after {handled} signals");
                    std::process::abort();
                }
            }
        });
        // SAFETY: the handler does nothing that a signal handler must not do; that is what this test is about.
        unsafe {
            alarm(0);
            signal(SIGALRM, interrupt_in_handler as *const () as usize);
        }
        let enough = if long() { 100_000 } else { 10_000 };
        for round in 1..=10 {
            set_timer(100);
            let until = HANDLED.load(Ordering::Relaxed) + enough / 20;
            while HANDLED.load(Ordering::Relaxed) < until {
                interrupter.interrupt();
                interrupter.reset();
            }
            let until = HANDLED.load(Ordering::Relaxed) + enough / 20;
            while HANDLED.load(Ordering::Relaxed) < until {
                assert_eq!(server.wait_for_client(None), Err(ShmError::Interrupted));
                interrupter.reset();
            }
            set_timer(0);
            // What the signals left is consistent: an interrupt ends the waits, and a reset permits them.
            interrupter.interrupt();
            assert!(interrupter.is_interrupted());
            assert_eq!(server.wait_for_client(None), Err(ShmError::Interrupted), "round {round}");
            interrupter.reset();
            assert!(!interrupter.is_interrupted());
            let before = cpu_time();
            assert_eq!(server.wait_for_client(millis(20)), Err(ShmError::Timeout), "round {round}");
            // An event that stays set while the flag is not makes the wait a busy loop.
            let used = cpu_time() - before;
            assert!(used < Duration::from_millis(10), "a wait of 20 ms took {used:?} of processor time");
        }
        assert!(!ERRNO_CHANGED.load(Ordering::Relaxed), "the handler changes errno");
        finished.store(true, Ordering::Relaxed);
        watch.join().unwrap();
    });
}

/// The processor time of the calling thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Forks without the C library, which therefore does not call our function in the child.
fn raw_clone() -> i32 {
    const CLONE: std::ffi::c_long = if cfg!(target_arch = "x86_64") { 56 } else { 220 };
    let zero = std::ptr::null::<c_void>();
    // SAFETY: without flags it is a fork.
    unsafe { syscall(CLONE, SIGCHLD, zero, zero, zero, zero) as i32 }
}

fn pair(name: &str) -> (SharedServer, SharedClient) {
    let mut server = SharedServer::start(name).unwrap();
    let client = std::thread::scope(|scope| {
        let client = scope.spawn(|| SharedClient::connect(name, Duration::from_secs(10)).unwrap());
        server.wait_for_client(seconds(10)).unwrap();
        client.join().unwrap()
    });
    (server, client)
}

/// The child of each kind of fork drops its copies, and the parent's sessions go on.
fn copies_end_no_session(errno: i32) {
    refuse(MADVISE, errno, Some(WIPE_ON_FORK));
    // SAFETY: the child uses this thread alone, and ends by `_exit`.
    let by_the_library = || unsafe { fork() };
    for by in [raw_clone, by_the_library] {
        let (server, client) = pair(&unique("guest-wipe"));
        let mut received = Vec::new();
        let handler = Arc::<Counting>::default();
        let endpoints = background(&handler);
        exchange(&endpoints, &handler);
        let child = by();
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: a hang is seen as a signal. The child runs nothing of the harness.
            unsafe { alarm(20) };
            drop((server, client, endpoints));
            // SAFETY: as above.
            unsafe { _exit(0) };
        }
        assert_eq!(status_of(child), 0, "the child ended by a signal (14: it hung), or failed");
        assert!(server.is_connected());
        server.send_to_client(b"after the fork").unwrap();
        client.receive_from_server_timeout(&mut received, seconds(10)).unwrap();
        assert_eq!(received, b"after the fork");
        client.send_to_server(b"and back").unwrap();
        server.receive_from_client_timeout(&mut received, seconds(10)).unwrap();
        exchange(&endpoints, &handler);
        assert_eq!(handler.ends.load(Ordering::Relaxed), 0);
    }
}

/// Sends a message over each session in each direction, and sees all of them arrive.
fn exchange((auto_server, auto_client, server, client): &Background, handler: &Counting) {
    let before = handler.messages.load(Ordering::Relaxed);
    auto_server.send(b"xx").unwrap();
    auto_client.send(b"xx").unwrap();
    assert_eq!(server.broadcast(b"xx").unwrap(), 1);
    client.send(b"xx").unwrap();
    wait_until(|| handler.messages.load(Ordering::Relaxed) == before + 4);
}

fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn line_37_copies_end_no_session_where_wiping_does_nothing() {
    in_own_process("line_37_copies_end_no_session_where_wiping_does_nothing", || copies_end_no_session(0));
}

#[test]
fn line_37_copies_end_no_session_where_wiping_is_refused() {
    const EPERM: i32 = 1;
    in_own_process("line_37_copies_end_no_session_where_wiping_is_refused", || copies_end_no_session(EPERM));
}
