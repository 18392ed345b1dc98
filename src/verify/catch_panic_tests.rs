//! Line 30 of docs/guarantees.md: a panic becomes an error code, and does not unwind into C.

use crate::ffi::shm_error_t::*;
use crate::ffi::*;
use std::ffi::{c_char, CStr};
use std::time::Duration;

/// Returns what shm_last_error and shm_last_error_message report on this thread.
fn last() -> (shm_error_t, String) {
    let mut text = [0 as c_char; 256];
    // SAFETY: the buffer has that size, and a NUL after the text.
    let message = unsafe {
        shm_last_error_message(text.as_mut_ptr(), text.len() as u32);
        CStr::from_ptr(text.as_ptr()).to_str().unwrap().to_owned()
    };
    (shm_last_error(), message)
}

fn clear_last_error() {
    LAST.with(|last| last.replace(None));
    assert_eq!(shm_last_error(), SHM_SUCCESS);
}

fn assert_recorded() {
    assert_eq!(last(), (SHM_ERROR_INTERNAL, "a defect of the library: it panicked".to_owned()));
    clear_last_error();
}

#[test]
fn line_30_a_panic_becomes_a_code() {
    clear_last_error();
    assert_eq!(returning_code::<()>(|| panic!("a text")), SHM_ERROR_INTERNAL);
    assert_recorded();
    assert_eq!(returning_code::<()>(|| std::panic::panic_any(7)), SHM_ERROR_INTERNAL);
    assert_recorded();
    let index = std::hint::black_box(7);
    assert_eq!(returning(77, || Ok([0u32; 3][index])), 77);
    assert_recorded();
    assert!(returning_handle(|| -> Outcome<Arc<u32>> { panic!("no handle") }).is_null());
    assert_recorded();
}

/// A handle that may panic when it is closed.
#[derive(Default)]
struct Plain {
    panics: bool,
    gate: Gate,
}

impl Closable for Plain {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn end(&self) -> bool {
        assert!(!self.panics, "while closing");
        true
    }

    fn own_calls(&self) -> usize {
        self.gate.depth()
    }

    fn is_forked(&self) -> bool {
        false
    }

    fn give_up_name(&self) {}
}

#[test]
fn line_30_after_a_panic_the_handle_can_be_closed() {
    clear_last_error();
    let handle = returning_handle(|| Ok(Arc::new(Plain::default())));
    let call = || {
        // SAFETY: the handle is not closed yet.
        returning_code(|| unsafe { enter(handle).map(|inside| assert!(inside.panics)) })
    };
    assert_eq!(call(), SHM_ERROR_INTERNAL);
    assert_recorded();
    // If the call still counted as one that uses the handle, `close` would wait for ever.
    // SAFETY: it's the last use of the handle.
    unsafe { close(handle) };
    assert_eq!(shm_last_error(), SHM_SUCCESS);
    // A panic while the handle is closed is caught too.
    let handle = returning_handle(|| Ok(Arc::new(Plain { panics: true, ..Plain::default() })));
    // SAFETY: as above.
    unsafe { close(handle) };
    assert_recorded();
}

#[test]
fn a_gate_that_is_shut_starts_no_callback_and_waits_for_those_of_other_threads() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let (gate, called) = (Gate::default(), AtomicU32::new(0));
    let (entered, inside) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            gate.run(|| {
                entered.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                called.fetch_add(1, Ordering::Relaxed);
            });
        });
        inside.recv().unwrap();
        // `shut` works from inside the gate's own callback too.
        gate.run(|| {
            assert_eq!(gate.depth(), 1);
            gate.shut(true);
            assert_eq!(called.load(Ordering::Relaxed), 1);
            gate.run(|| panic!("a callback after the end"));
        });
        assert_eq!(gate.depth(), 0);
        gate.run(|| panic!("a callback after the end"));
    });
}

/// Every function that C can call catches panics or calls one that does, except those that only return constants.
#[test]
#[cfg_attr(miri, ignore = "only reads texts")]
fn line_30_every_function_catches_panics() {
    const CATCHING: [&str; 13] = [
        "returning_code(",
        "returning_handle(",
        "returning(",
        "stats(",
        "close(",
        "shm_",
        "both::",
        "background::",
        "create(",
        "event_loop::",
        "crate::auto::ffi::stats(",
        "for_slot(",
        "for_session(",
    ];
    const FIXED: [&str; 4] = ["shm_last_error", "shm_last_error_message", "shm_error_string", "xshm_version"];
    let sources = [
        include_str!("../ffi.rs"),
        include_str!("../ffi/codes.rs"),
        include_str!("../ffi/caller.rs"),
        include_str!("../ffi/client.rs"),
        include_str!("../ffi/event_loop.rs"),
        include_str!("../ffi/interrupter.rs"),
        include_str!("../ffi/options.rs"),
        include_str!("../ffi/pending.rs"),
        include_str!("../ffi/server.rs"),
        include_str!("../auto/ffi.rs"),
        include_str!("../multi/ffi/client.rs"),
        include_str!("../multi/ffi/server.rs"),
    ];
    let (mut names, mut uncaught) = (Vec::new(), Vec::new());
    for source in sources {
        let source = source.replace("\r\n", "\n");
        for function in source.split("#[no_mangle]").skip(1) {
            let (_, function) = function.split_once(" extern \"C\" fn ").expect("a function of C's");
            let (name, function) = function.split_once('(').unwrap();
            let (body, _) = function.split_once("\n}").unwrap();
            let (_, body) = body.split_once('{').unwrap();
            let mut lines = body.lines().map(|line| line.trim().trim_start_matches("unsafe {").trim_start());
            // Filling a structure cannot panic.
            let aside = ["//", "let config = shm_endpoint_config_t {", "let handles = ClientHandles {"];
            let first =
                lines.find(|line| !line.is_empty() && !aside.iter().any(|start| line.starts_with(start)));
            let first = first.unwrap_or_default();
            let catches = CATCHING.iter().any(|start| first.starts_with(start));
            if !catches && !FIXED.contains(&name) && !name.ends_with("_default") {
                uncaught.push(name.to_owned());
            }
            names.push(name.to_owned());
        }
    }
    assert_eq!(uncaught, [""; 0]);
    let bodies = [
        include_str!("../ffi/background.rs"),
        include_str!("../ffi/both.rs"),
        include_str!("../ffi/endpoint.rs"),
        include_str!("../ffi/event_loop.rs"),
    ];
    for source in bodies {
        // Some functions are a call of another one.
        let calls = ["session_handles", "store_until_next_look"];
        let calling = calls.map(|call| source.matches(&format!("\n    unsafe {{ {call}(")).count());
        let catching = source.matches("\n    returning").count() + calling.iter().sum::<usize>();
        let functions = source.matches(") unsafe fn ").count() + source.matches("#[no_mangle]").count();
        assert_eq!(functions, catching, "a body that catches no panic");
    }
    // The list of sources above is complete.
    names.sort();
    let listed: Vec<&str> = include_str!("../../tests/c/symbols.txt").lines().collect();
    assert_eq!(names, listed);
}
