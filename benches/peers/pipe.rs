//! Two pipes, which have names, so that the second process does not have to inherit them.

use super::streams::Streams;
use crate::line::Outcome;
use crate::lines::{Kind, Offer};
use crate::side::Shared;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub const KIND: Kind = Kind::new(
    "pipe",
    |shared| {
        let paths = paths(shared);
        for path in &paths {
            make(path)?;
        }
        Offer::once(move || {
            // Opening waits for the other side, so both do it in the same order.
            let writes = File::options().write(true).open(&paths[0])?;
            let reads = File::open(&paths[1])?;
            for path in &paths {
                fs::remove_file(path)?;
            }
            Ok(Streams { reads, writes })
        })
    },
    |shared, _| {
        let [there, back] = paths(shared);
        let reads = File::open(there)?;
        Ok(Box::new(Streams { reads, writes: File::options().write(true).open(back)? }))
    },
)
.sleeping();

fn paths(shared: &Shared) -> [PathBuf; 2] {
    ["there", "back"].map(|way| std::env::temp_dir().join(format!("{}-{way}", shared.base)))
}

fn make(path: &Path) -> Outcome<()> {
    let path = CString::new(path.to_str().ok_or("the path is not valid UTF-8")?)?;
    // SAFETY: the path ends in a zero.
    if unsafe { libc::mkfifo(path.as_ptr(), 0o600) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error().into())
    }
}
