//! A client against a hostile server: the handshake's client side, and both rings.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;
use xshm::ClientOptions;
use xshm_fuzz::{acceptable, against, perform, Call, Peer, Write, LIMIT, RING, SECTION};

#[derive(Debug, Arbitrary)]
struct Input {
    /// Whether the fixed fields of the section are valid at first.
    whole: bool,
    /// Whether the server has set the longest message, and to what length.
    lengths: Option<u16>,
    generation: u32,
    writes: Vec<Write>,
    calls: Vec<Call>,
}

fuzz_target!(|input: Input| {
    let file = memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, SECTION as u64).unwrap();
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
    let peer = Peer::map(file.as_raw_fd() as isize);
    {
        let mut peer = peer.borrow_mut();
        let put = |at: usize, low: u32, high: u32| {
            peer.word(at).store(u64::from(low) | u64::from(high) << 32, Ordering::Relaxed)
        };
        put(0, 0x5853_484d, 0x0002_0000);
        put(8, input.generation, 1);
        put(40, RING as u32, LIMIT);
        put(48, if input.lengths.is_some() { 8 } else { 0 }, std::process::id());
        // Some of the lengths are impossible.
        put(64 + 56, u32::from(input.lengths.unwrap_or(0)) % 2100, 0);
        let first = peer.first_position();
        for header in [64, 128 + RING] {
            peer.word(header).store(first, Ordering::Relaxed);
            peer.word(header + 8).store(first, Ordering::Relaxed);
        }
        for wake in [24, 32] {
            peer.word(wake).store(u64::from(input.generation) << 32, Ordering::Relaxed);
        }
        peer.accepts = true;
        peer.plan(input.writes);
        if !input.whole {
            for _ in 0..8 {
                peer.step();
            }
        }
    }
    let attached = against(&peer, || {
        let options = ClientOptions::new().spin(Duration::ZERO);
        options.attach(&file, Duration::ZERO)
    });
    match attached {
        Ok(mut client) => {
            if let Ok((sender, receiver)) = client.split() {
                for call in input.calls.iter().take(64) {
                    peer.borrow_mut().begin();
                    against(&peer, || perform(call, sender, receiver));
                }
            }
            peer.borrow_mut().begin();
            against(&peer, || drop(client));
        }
        Err(error) => assert!(acceptable(&error), "{error}"),
    }
    peer.borrow_mut().unmap();
});
