//! Failpoints: named points in the code at which a test can stop a process, to kill it there or to let it continue
//! later. A build without `--cfg xshm_failpoints` contains none of them.

#[cfg(xshm_failpoints)]
type Hook = std::sync::Arc<dyn Fn(&'static str) + Send + Sync>;

#[cfg(xshm_failpoints)]
static HOOK: std::sync::RwLock<Option<Hook>> = std::sync::RwLock::new(None);

/// From now on every thread calls the hook when it reaches a failpoint. `None` removes the hook.
#[cfg(xshm_failpoints)]
pub fn on_each(hook: Option<Hook>) {
    *HOOK.write().unwrap_or_else(std::sync::PoisonError::into_inner) = hook;
}

#[cfg(xshm_failpoints)]
pub(crate) fn reach(name: &'static str) {
    let hook = HOOK.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    if let Some(hook) = hook {
        hook(name);
    }
}

/// Marks a failpoint. tests/failpoints.rs lists the names.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(xshm_failpoints)]
        crate::verify::failpoints::reach($name);
    };
}
