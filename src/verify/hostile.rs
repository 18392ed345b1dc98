//! Atomics for fuzzing. Before each access they call a hook, which acts as a hostile peer. So the peer acts between
//! any two accesses of xshm, also where no real thread would be fast enough.

use std::cell::RefCell;
use std::sync::atomic::{self, Ordering};

type Hook = Box<dyn FnMut()>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// From now on this thread calls the hook before each access to an atomic of the crate. `None` removes the hook.
pub fn on_each_step(hook: Option<Hook>) {
    HOOK.with(|current| *current.borrow_mut() = hook);
}

fn step() {
    // `try_with` fails at a thread's end, when the hook is gone. `try_borrow_mut` fails if the hook itself accesses an
    // atomic; then it is not called again.
    let _ = HOOK.try_with(|hook| {
        if let Ok(mut hook) = hook.try_borrow_mut() {
            if let Some(hook) = hook.as_mut() {
                hook();
            }
        }
    });
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[repr(transparent)]
        pub struct $name(atomic::$name);

        // Each of the two types has methods that only the other one needs.
        #[allow(dead_code)]
        impl $name {
            pub const fn new(value: $value) -> Self {
                $name(atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                step();
                self.0.store(value, order)
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.swap(value, order)
            }

            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_add(value, order)
            }

            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_max(value, order)
            }

            pub fn compare_exchange(
                &self, current: $value, new: $value, success: Ordering, failure: Ordering,
            ) -> Result<$value, $value> {
                step();
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
