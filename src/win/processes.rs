//! When other processes began, for processes that this one may not open.

use crate::ntapi::*;
use crate::sys::kinds::Birth;
use std::mem::size_of;

/// The longest list of processes that is asked for.
const LONGEST: usize = 64 << 20;

/// When a process began, by the system's time in units of 100 ns.
///
/// Windows soon gives the id of an ended process to another one, which began later.
pub(crate) fn birth(pid: u32) -> Birth {
    let Some(list) = all_processes() else { return Birth::Unknown };
    let mut entries = Entries(&list);
    let entry = entries.find(|entry| word(entry, PROCESS_ID) == Some(pid as usize));
    entry.map_or(Birth::None, |entry| number(entry, CREATED).map_or(Birth::Unknown, Birth::At))
}

/// The places in a `SYSTEM_PROCESS_INFORMATION`, which begins with the distance to the next one. Its name, between the two, is a
/// `UNICODE_STRING`.
const CREATED: usize = 32;
const PROCESS_ID: usize = if cfg!(target_pointer_width = "64") { 80 } else { 68 };

fn all_processes() -> Option<Vec<u8>> {
    let mut length = 256 << 10;
    while length <= LONGEST {
        // In words, since the kernel wants the buffer aligned.
        let mut buffer = vec![0_u64; length / 8];
        let mut needed = 0;
        // SAFETY: the buffer is writable and as long as said.
        let status = unsafe {
            let place = buffer.as_mut_ptr().cast();
            NtQuerySystemInformation(SYSTEM_PROCESS_INFORMATION, place, length as u32, &mut needed)
        };
        match status {
            STATUS_INFO_LENGTH_MISMATCH => length = (2 * length).max(needed as usize),
            status if status < 0 => return None,
            _ => return Some(buffer.iter().flat_map(|word| word.to_ne_bytes()).collect()),
        }
        // The list may grow meanwhile.
        length = length.next_multiple_of(8);
    }
    None
}

struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let entry = self.0;
        let distance = u32::from_ne_bytes(entry.get(..4)?.try_into().ok()?) as usize;
        self.0 = if distance == 0 { &[] } else { entry.get(distance..).unwrap_or(&[]) };
        Some(entry)
    }
}

fn number(entry: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(entry.get(at..at + 8)?.try_into().ok()?))
}

fn word(entry: &[u8], at: usize) -> Option<usize> {
    const SIZE: usize = size_of::<usize>();
    Some(usize::from_ne_bytes(entry.get(at..at + SIZE)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::SystemTime;

    #[test]
    fn a_process_began_when_it_was_started() {
        let own = birth(std::process::id()).time().expect("this process runs");
        assert_eq!(birth(std::process::id()), Birth::At(own));
        // The system's time begins with the year 1601.
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = (since_1970.as_nanos() / 100) as u64 + 116_444_736_000_000_000;
        const HOUR: u64 = 36_000_000_000;
        assert!((now - HOUR..=now).contains(&own), "{own}, now {now}");
        // Ids are divisible by 4.
        assert_eq!(birth(u32::MAX - 1), Birth::None);
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg("--list").stdout(Stdio::null()).spawn().unwrap();
        child.wait().unwrap();
        // This process holds it open, so that its id is still its own.
        assert_eq!(birth(child.id()), Birth::None);
    }
}
