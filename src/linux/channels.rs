//! The channels that this process can see from outside, by what `/proc` says of names and processes.
//!
//! A name is an abstract Unix socket, which `/proc/net/unix` lists for each user. A section is a file in memory without a path. The
//! processes that have it open have a link to it in `/proc/PID/fd`. A process may follow the links
//! of processes of the same user, and root may follow all.

use super::descriptors;
use super::section::{Section, LABEL};
use super::system::{failed, io_error, User};
use super::wire::{BUSY, MACHINE};
use crate::error::Result;
use crate::sys::kinds::{self, Reach};
use rustix::fs::{fstat, lstat, readlink, Dir};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

type Channels = kinds::Channels<Section, User>;
type FoundName = kinds::FoundName<User>;
type FoundSection = kinds::FoundSection<Section>;

/// Looks for names and sections.
pub(crate) fn channels(reach: Reach) -> Result<Channels> {
    let own = geteuid().as_raw();
    let mut sockets = listening(&names_of_sockets()?);
    if reach == Reach::Own {
        sockets.retain(|socket| socket.user.is_none() || socket.user == Some(own));
    }
    let (mut holders, mut sections) = (HashMap::new(), Vec::new());
    let processes = entries("/proc").map_err(failed("listing the processes (open /proc)"))?;
    for process in processes.iter().filter_map(|name| name.parse().ok()) {
        look_at_process(process, &mut holders, &mut sections).map_err(failed("looking at the processes"))?;
    }
    let names = sockets.into_iter().map(|socket| FoundName {
        process: holders.get(&socket.number).copied(),
        name: socket.name,
        user: socket.user.map(User),
        is_busy: socket.is_busy,
    });
    Ok(Channels { names: names.collect(), sections })
}

/// What the kernel lists of Unix sockets.
fn names_of_sockets() -> Result<Vec<u8>> {
    let file = descriptors::existing("/proc/net/unix");
    let file = file.map_err(failed("listing the names (open /proc/net/unix)"))?;
    let mut text = Vec::new();
    match File::from(file).read_to_end(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(io_error(&error, "listing the names (read /proc/net/unix)")),
    }
}

/// The socket of a name.
#[derive(Debug, PartialEq)]
struct NameSocket {
    number: u64,
    name: String,
    /// `None`: the name is the machine's.
    user: Option<u32>,
    is_busy: bool,
}

/// The sockets of names in the kernel's list, which shows each NUL as `@`.
fn listening(list: &[u8]) -> Vec<NameSocket> {
    const LISTENS: u64 = 0x10000;
    let read = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        // Address, references, protocol, flags, type, state; then the number, with spaces before it, and the path.
        let mut fields = line.splitn(7, ' ');
        let flags = u64::from_str_radix(fields.nth(3)?, 16).ok()?;
        let (number, path) = fields.nth(2)?.trim_start().split_once(' ')?;
        let (owner, name) =
            path.strip_prefix('@')?.strip_prefix(LABEL)?.strip_prefix('/')?.split_once('/')?;
        if flags & LISTENS == 0 || name.is_empty() {
            return None;
        }
        let (user, name) = match owner {
            MACHINE => (None, format!("Global\\{name}")),
            owner => (Some(owner.parse().ok()?), name.to_owned()),
        };
        Some(NameSocket { number: number.parse().ok()?, name, user, is_busy: false })
    };
    // A name may contain newlines, which the kernel prints as they are. Each line of a socket begins with an address of 16 digits.
    let is_socket =
        |line: &[u8]| line.len() > 17 && line[16] == b':' && line[..16].iter().all(u8::is_ascii_hexdigit);
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in list.split(|byte| *byte == b'\n') {
        match lines.last_mut() {
            Some(last) if !line.is_empty() && !is_socket(line) => last.extend([b"\n", line].concat()),
            _ => lines.push(line.to_vec()),
        }
    }
    let mut sockets: Vec<NameSocket> = lines.iter().filter_map(|line| read(line)).collect();
    // A name that another one extends by this ending is no name, but says that the other one's server is busy.
    let ending = BUSY.replace('\0', "@");
    let (busy, names): (Vec<_>, Vec<_>) =
        sockets.drain(..).partition(|socket| socket.name.ends_with(&ending));
    sockets.extend(names);
    for marker in busy {
        let of = marker.name.strip_suffix(&ending).unwrap_or_default();
        match sockets.iter_mut().find(|socket| socket.name == of && socket.user == marker.user) {
            Some(socket) => socket.is_busy = true,
            None => sockets.push(marker),
        }
    }
    sockets
}

/// The names in a folder.
fn entries(folder: &str) -> rustix::io::Result<Vec<String>> {
    let folder = Dir::new(descriptors::existing(folder)?)?;
    folder.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Leaves out what has ended, or what this process may not look into. Fails if this process lacks descriptors or memory.
fn unless_lacking<T>(result: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match result {
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(error),
        result => Ok(result.ok()),
    }
}

/// Adds the sections and the sockets that a process has open. Adds nothing of a process that has ended, or that this one may not
/// look into.
fn look_at_process(
    process: u32, holders: &mut HashMap<u64, u32>, sections: &mut Vec<FoundSection>,
) -> rustix::io::Result<()> {
    let folder = format!("/proc/{process}/fd");
    for number in unless_lacking(entries(&folder))?.unwrap_or_default() {
        let path = format!("{folder}/{number}");
        let Ok(target) = readlink(&path, Vec::new()) else { continue };
        // The permissions of a link are those of its descriptor. One that may only read belongs to a process that looks, as this one.
        let reads_only = || lstat(&path).is_ok_and(|link| link.st_mode & 0o200 == 0);
        let target = target.to_string_lossy();
        if let Some(number) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            number.parse().ok().map(|number| holders.insert(number, process));
        } else if let Some(name) = name_of_section(&target).filter(|_| !reads_only()) {
            add_section(process, &path, name, sections)?;
        }
    }
    Ok(())
}

/// The name in the link to a section's file. `None`: it is another file. `Some(None)`: the channel has no name.
fn name_of_section(target: &str) -> Option<Option<&str>> {
    let label = target.strip_prefix("/memfd:")?.strip_prefix(LABEL)?;
    let label = label.strip_suffix(" (deleted)").unwrap_or(label);
    match label.strip_prefix(':') {
        Some(name) => Some(Some(name)),
        None => label.is_empty().then_some(None),
    }
}

fn add_section(
    process: u32, path: &str, name: Option<&str>, sections: &mut Vec<FoundSection>,
) -> rustix::io::Result<()> {
    let Some(file) = unless_lacking(descriptors::existing(path))? else { return Ok(()) };
    let Ok(stat) = fstat(&file) else { return Ok(()) };
    let id = stat.st_ino;
    if let Some(known) = sections.iter_mut().find(|section| section.id == id) {
        if !known.processes.contains(&process) {
            known.processes.push(process);
        }
        return Ok(());
    }
    // A file of this name that is not sealed is no section: to look into it could fault.
    let Ok(section) = Section::from_file(file) else { return Ok(()) };
    let name = name.map(str::to_owned);
    sections.push(FoundSection { id, name, section, processes: vec![process], access: None });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_the_kernels_list() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 21 @xshm/0/demo\n\
            0000000000000000: 00000002 00000000 00010000 0005 01    22 @xshm/1000/with a space\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 23 @xshm/0/demo@busy\n\
            0000000000000000: 00000003 00000000 00000000 0005 03 24 @xshm/0/demo\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 25 @xshm/global/a/b\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 26 @xshm/0/x@busy\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 27 /run/socket\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 29 @xshm/0/two\nlines\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 28\n";
        let socket =
            |number, name: &str, user, is_busy| NameSocket { number, name: name.to_owned(), user, is_busy };
        let found = listening(list.as_bytes());
        assert_eq!(
            found,
            [
                socket(21, "demo", Some(0), true),
                socket(22, "with a space", Some(1000), false),
                socket(25, "Global\\a/b", None, false),
                socket(29, "two\nlines", Some(0), false),
                socket(26, "x@busy", Some(0), false),
            ]
        );
    }

    #[test]
    fn links_say_the_names_of_sections() {
        assert_eq!(name_of_section("/memfd:xshm:a b (deleted)"), Some(Some("a b")));
        assert_eq!(name_of_section("/memfd:xshm:Global\\x (deleted)"), Some(Some("Global\\x")));
        assert_eq!(name_of_section("/memfd:xshm (deleted)"), Some(None));
        assert_eq!(name_of_section("/memfd:xshmoo (deleted)"), None);
        assert_eq!(name_of_section("/dev/null"), None);
    }
}
