//! A process without memory. What is sized by a message or by an option fails with an error, and the program goes on. The
//! allocator here refuses long allocations of threads that ask for it, so this test has a separate program.

mod common;

use common::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use xshm::{
    AutoClient, AutoHandler, AutoOptions, MessageBatch, MultiHandler, MultiOptions, MultiServer,
    ServerOptions, SharedClient, SharedServer, ShmError,
};

/// Refuses allocations of this many bytes or more.
const LONG: usize = 8192;

struct Short;

thread_local! {
    static IS_SHORT: Cell<bool> = const { Cell::new(false) };
}

fn is_refused(size: usize) -> bool {
    size >= LONG && IS_SHORT.with(Cell::get)
}

// SAFETY: what is not refused is the system's.
unsafe impl GlobalAlloc for Short {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_refused(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: by the caller.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Short = Short;

/// Calls `call`, and refuses this thread long allocations meanwhile.
fn without_memory<T>(call: impl FnOnce() -> T) -> T {
    IS_SHORT.with(|is_short| is_short.set(true));
    let result = call();
    IS_SHORT.with(|is_short| is_short.set(false));
    result
}

/// As `SHM_ERROR_MEMORY` is made of.
#[track_caller]
fn assert_no_memory<T: std::fmt::Debug>(result: Result<T, ShmError>) {
    let has_code = matches!(
        result,
        Err(ShmError::SystemError { code: 12, .. } | ShmError::WindowsError { code: 0xC000_0017, .. })
    );
    assert!(has_code, "{result:?}");
}

fn connected(name: &str, options: ServerOptions) -> (SharedServer, SharedClient) {
    let name = unique(name);
    let mut server = options.start(&name).unwrap();
    let client = std::thread::spawn(move || SharedClient::connect(&name, Duration::from_secs(10)).unwrap());
    server.wait_for_client(seconds(10)).unwrap();
    (server, client.join().unwrap())
}

#[test]
fn line_39_a_message_without_memory_for_it_stays_in_the_queue() {
    let (server, client) = connected("memory-receive", ServerOptions::new());
    let long = message(1, 60_000);
    server.send_to_client(&long).unwrap();
    let mut buffer = Vec::new();
    assert_no_memory(without_memory(|| client.try_receive_from_server(&mut buffer)));
    assert_no_memory(without_memory(|| client.receive_from_server_timeout(&mut buffer, seconds(5))));
    assert_eq!(client.try_receive_from_server(&mut buffer), Ok(60_000));
    assert_eq!(check_message(&buffer), 1);
}

#[test]
fn line_39_a_batch_without_memory_takes_nothing() {
    let (server, mut client) = connected("memory-batch", ServerOptions::new());
    server.send_to_client(&message(1, 64)).unwrap();
    let (_, receiver) = client.split().unwrap();
    let mut batch = MessageBatch::new(10, 0);
    assert_no_memory(without_memory(|| receiver.try_receive_batch(&mut batch)));
    assert_eq!(receiver.try_receive_batch(&mut batch), Ok(1));
    assert_eq!(check_message(batch.iter().next().unwrap()), 1);
    // More than there is address space.
    server.send_to_client(&message(2, 64)).unwrap();
    assert_no_memory(receiver.try_receive_batch(&mut MessageBatch::new(1, usize::MAX)));
    assert_eq!(receiver.try_receive_batch(&mut batch), Ok(1));
}

/// A sender keeps a list of the messages in its ring. Where it cannot grow, the ring is full earlier.
#[test]
fn line_39_a_ring_of_many_messages_is_full_earlier_without_memory() {
    let options = || ServerOptions::new().ring_size(1 << 20).message_limit(10_000);
    let (server, client) = connected("memory-ring", options().reject_when_full());
    let mut sent = 0;
    let error = without_memory(|| loop {
        match server.try_send_to_client(&message(sent, 16)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    });
    assert_eq!(error, ShmError::QueueFull);
    assert!((250..10_000).contains(&sent), "{sent}");
    let mut buffer = Vec::new();
    for sequence in 0..sent {
        client.try_receive_from_server(&mut buffer).unwrap();
        assert_eq!(check_message(&buffer), sequence);
    }
    // With memory, it holds as many as the limit says.
    for sequence in 0..10_000 {
        server.try_send_to_client(&message(sequence, 16)).unwrap();
    }
    // One that evicts makes room.
    let (server, _client) = connected("memory-evict", options());
    without_memory(|| {
        (0..2000).for_each(|sequence| assert!(server.send_to_client(&message(sequence, 16)).is_ok()))
    });
}

struct Quiet;

impl AutoHandler for Quiet {}

impl MultiHandler for Quiet {}

#[test]
fn line_39_a_background_endpoint_without_memory_refuses_what_it_cannot_queue() {
    let options = AutoOptions { max_send_queue: 1_000_000, ..AutoOptions::default() };
    let client = AutoClient::connect(&unique("memory-queue"), Arc::new(Quiet), options);
    let client = client.unwrap();
    client.send(&message(1, 60_000)).unwrap();
    without_memory(|| {
        assert_no_memory(client.send(&[0; 10_000]));
        assert_no_memory(client.try_send(&[0; 10_000]));
        assert_no_memory(client.send_timeout(&[0; 10_000], millis(100)));
        // The list of the queue cannot grow either, at some time.
        let mut refused = Ok(());
        for _ in 0..10_000 {
            refused = refused.and(client.send(&[0; 16]));
        }
        assert_no_memory(refused);
    });
    client.send(&message(2, 60_000)).unwrap();
    client.stop();
}

#[test]
fn line_39_a_server_without_memory_for_its_slots_does_not_start() {
    let name = unique("memory-slots");
    let start = |max_clients| {
        let options = MultiOptions { max_clients, ..MultiOptions::default() };
        MultiServer::start(&name, Arc::new(Quiet), options).map(drop)
    };
    assert_no_memory(without_memory(|| start(1000)));
    assert_eq!(start(1000), Ok(()));
}
