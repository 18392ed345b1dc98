//! Named places in which a test can hold a process: to kill it just there, or to let it go on later. Nothing of them is in a
//! build without `--cfg xshm_failpoints`.

#[cfg(xshm_failpoints)]
type Hook = std::sync::Arc<dyn Fn(&'static str) + Send + Sync>;

#[cfg(xshm_failpoints)]
static HOOK: std::sync::RwLock<Option<Hook>> = std::sync::RwLock::new(None);

/// From now on every thread calls the hook wherever it comes to a named place.
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

/// A place with a name. The names are those of tests/failpoints.rs.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(xshm_failpoints)]
        crate::verify::failpoints::reach($name);
    };
}
