//! The cores on which the two sides run, the system, and the length of a tick.

use crate::bare::ticks;
use core_affinity::CoreId;
use serde::{Deserialize, Serialize};
#[cfg(target_arch = "x86")]
use std::arch::x86;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;
use std::time::{Duration, Instant};

/// One core for each side. `None`: the system cannot pin threads, or has only one core.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Cores {
    pub first: Option<usize>,
    pub second: Option<usize>,
}

impl Cores {
    /// Chooses two processors that are not threads of one core, if there are such.
    pub fn choose() -> Self {
        let all = core_affinity::get_core_ids().unwrap_or_default();
        let first = all.first().map(|core| core.id);
        let siblings = first.map(siblings).unwrap_or_default();
        let apart = all.iter().skip(1).find(|core| !siblings.contains(&core.id));
        match apart.or(all.get(1)) {
            Some(second) => Cores { first, second: Some(second.id) },
            None => Cores { first: None, second: None },
        }
    }

    /// Keeps the calling thread, and those that it starts from now on, on one core.
    pub fn pin(core: usize) -> bool {
        core_affinity::set_for_current(CoreId { id: core })
    }
}

/// The processors that share a core with this one. Only Linux reports them; elsewhere the list is empty.
fn siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    let range = |part: &str| -> Option<Vec<usize>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some((from.parse().ok()?..=to.parse().ok()?).collect())
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Whether the two cores are near each other, by the round trip of bare lines between them. Where this was measured, it took about
/// 100 ns, or 300 to 500 ns.
pub fn are_near(bare_line_ns: f64) -> bool {
    bare_line_ns < 250.0
}

/// Whether AMD made the processor.
pub fn is_amd() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        // The last part of "AuthenticAMD".
        x86::__cpuid(0).ecx == u32::from_le_bytes(*b"cAMD")
    }
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    false
}

/// The model of the processor, as it names itself.
pub fn processor() -> String {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        use x86::__cpuid;
        const LEAVES: std::ops::RangeInclusive<u32> = 0x8000_0002..=0x8000_0004;
        if __cpuid(0x8000_0000).eax >= *LEAVES.end() {
            let words = LEAVES.map(__cpuid).flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
            let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).filter(|byte| *byte != 0).collect();
            return String::from_utf8_lossy(&bytes).trim().to_owned();
        }
    }
    "a processor that does not name itself".to_owned()
}

/// Nanoseconds in a tick of the processor's counter.
pub fn nanoseconds_per_tick() -> f64 {
    let (time, start) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_millis(100));
    let (count, elapsed) = (ticks() - start, time.elapsed());
    elapsed.as_nanos() as f64 / count.max(1) as f64
}

/// Whether this is Wine, whose `ntdll` has one more function.
pub fn is_wine() -> bool {
    #[cfg(windows)]
    {
        use windows_sys::core::{s, w};
        use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
        // SAFETY: both texts end in a zero, and every process has `ntdll`.
        unsafe { GetProcAddress(GetModuleHandleW(w!("ntdll.dll")), s!("wine_get_version")).is_some() }
    }
    #[cfg(not(windows))]
    false
}
