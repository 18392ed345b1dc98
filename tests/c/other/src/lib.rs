//! Stands for a library for C that another project makes with Rust. It uses what all such libraries have of the standard library:
//! memory, threads, panics and the program's arguments.

use std::collections::HashMap;

/// Returns the sum of the squares of the numbers below `count`, from a thread that panics afterwards.
#[no_mangle]
pub extern "C" fn other_sum(count: u32) -> u64 {
    let squares: HashMap<u32, u64> = (0..count).map(|n| (n, u64::from(n) * u64::from(n))).collect();
    let sum: u64 = squares.values().sum();
    let thread = std::thread::spawn(move || -> u64 {
        std::panic::panic_any(sum);
    });
    match thread.join() {
        Err(payload) if std::env::args().count() > 0 => *payload.downcast().unwrap_or_default(),
        _ => 0,
    }
}
