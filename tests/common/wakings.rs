//! Counts how often processes wake up, by `/proc`: natively, and under Wine, whose processes are Linux processes, and which
//! shows Linux's root directory as drive Z. Windows itself does not report it.
//!
//! A process marks itself. A third process, which is not watched, finds the mark and counts, since counting wakes up the
//! process that counts.

use super::raw;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PROC: &str = if cfg!(windows) { "Z:\\proc" } else { "/proc" };

/// Marks this process for as long as it lives: it maps a file with the mark in its name. (Under Wine a program does not know
/// its number in `/proc`.)
pub fn mark(name: &str) {
    let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let mut options = fs::File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const DELETE_ON_CLOSE: u32 = 0x0400_0000;
        options.custom_flags(DELETE_ON_CLOSE);
    }
    let file = options.open(&path).expect("a file can be made");
    file.set_len(4096).expect("a file of a page");
    raw::map_file(file);
    #[cfg(unix)]
    fs::remove_file(path).expect("this process made it");
}

/// Processes that are watched.
#[derive(Default)]
pub struct Watched(Vec<PathBuf>);

impl Watched {
    /// All processes that have the mark. `None`: there is no `/proc` here.
    pub fn find(mark: &str) -> Option<Self> {
        let is_marked = |process: &PathBuf| {
            process.file_name().is_some_and(|id| id.as_encoded_bytes()[0].is_ascii_digit())
                && fs::read(process.join("maps")).is_ok_and(|maps| contains(&maps, mark.as_bytes()))
        };
        let processes = fs::read_dir(PROC).ok()?.flatten().map(|entry| entry.path());
        Some(Watched(processes.filter(is_marked).collect()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits until no thread wakes up for 50 ms, or for 2 s.
    pub fn settle(&self) {
        let _ = (0..40).find(|_| self.count_at_once(50) == 0);
    }

    /// The sum over all threads of how often they wake up and sleep again in `millis` milliseconds. Threads that end or
    /// begin meanwhile do not count.
    pub fn count(&self, millis: u64) -> u64 {
        // The thread that asked for the count may be a watched one, and now goes to sleep.
        self.settle();
        self.count_at_once(millis)
    }

    fn count_at_once(&self, millis: u64) -> u64 {
        let sleeps = || -> Vec<_> { self.0.iter().map(|process| sleeps(process)).collect() };
        let before = sleeps();
        std::thread::sleep(Duration::from_millis(millis));
        let after = sleeps();
        let both = before.iter().zip(&after);
        let of_each = both.flat_map(|(before, after)| {
            before.iter().filter_map(|(thread, count)| after.get(thread).map(|now| now - count))
        });
        of_each.sum()
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// How often each thread of a process has gone to sleep so far.
fn sleeps(process: &Path) -> BTreeMap<PathBuf, u64> {
    let threads = fs::read_dir(process.join("task")).expect("the process lives").flatten();
    let count = |path: PathBuf| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        Some((path, line.split_whitespace().nth(1)?.parse().ok()?))
    };
    threads.filter_map(|thread| count(thread.path())).collect()
}
