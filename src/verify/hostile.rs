//! Atomics for fuzzing: before each access a hook runs, which plays a hostile peer. So the peer acts between any two steps
//! of ours, also where no thread would be fast enough to get in between.

use std::cell::RefCell;
use std::sync::atomic::{self, Ordering};

type Hook = Box<dyn FnMut()>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// From now on this thread calls the hook before each access to an atomic of the crate. `None`: no more.
pub fn on_each_step(hook: Option<Hook>) {
    HOOK.with(|place| *place.borrow_mut() = hook);
}

fn step() {
    // At a thread's end there is no hook any more; and one that comes back here itself is not called once more.
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

        // Each of the two has a method that only the other one needs.
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
