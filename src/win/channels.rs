//! The channels that this process can see from outside, by the names in the directories of kernel objects.

use super::names::{local_directory, GLOBAL};
use super::{Section, User};
use crate::error::Result;
use crate::ntapi::*;
use crate::sys::kinds::{self, Reach};

type Channels = kinds::Channels<Section, User>;

const SESSIONS: &str = "\\Sessions";

/// Looks for names and sections.
pub(crate) fn channels(reach: Reach) -> Result<Channels> {
    let own = local_directory()?;
    let mut directories = vec![(GLOBAL.to_owned(), own != GLOBAL)];
    if own != GLOBAL {
        directories.push((own.clone(), false));
    }
    if reach == Reach::Machine {
        for session in entries(SESSIONS).unwrap_or_default() {
            let directory = format!("{SESSIONS}\\{session}{GLOBAL}");
            if directory != own {
                directories.push((directory, false));
            }
        }
    }
    let mut found = Channels { names: Vec::new(), sections: Vec::new() };
    for (directory, is_machines) in directories {
        // A directory that this process may not list has no channels for it.
        for entry in entries(&directory).unwrap_or_default() {
            look_at(&directory, &entry, if is_machines { "Global\\" } else { "" }, &mut found);
        }
    }
    Ok(found)
}

fn look_at(directory: &str, entry: &str, prefix: &str, found: &mut Channels) {
    if let Some(name) = entry.strip_prefix("xshm.link.").and_then(name_of_link) {
        let name = format!("{prefix}{name}");
        found.names.push(kinds::FoundName { name, user: None, process: None, is_busy: false });
        return;
    }
    let Some((id, name)) = entry.strip_prefix("xshm.section.").and_then(|rest| rest.split_once('.')) else {
        return;
    };
    let Ok(id) = u64::from_str_radix(id, 16) else { return };
    let path = format!("{directory}\\{entry}");
    let rights = SECTION_MAP_READ | SECTION_QUERY;
    // The right to ask for the owner may be missing.
    let Some(section) = open(&path, rights | READ_CONTROL).or_else(|| open(&path, rights)) else { return };
    let access = access_list(&section);
    let name = Some(format!("{prefix}{name}"));
    found.sections.push(kinds::FoundSection { id, name, section, processes: Vec::new(), access });
}

fn open(path: &str, rights: u32) -> Option<Section> {
    let attributes = Attributes::new(Some(path), None);
    // SAFETY: the attributes and the place for the handle are valid.
    let opened =
        attributes.handle_from(|handle, attributes| unsafe { NtOpenSection(handle, rights, attributes) });
    Section::from_handle(opened.ok()?).ok()
}

/// The name in a link's, which has its bytes in hexadecimal.
fn name_of_link(digits: &str) -> Option<String> {
    if digits.len() % 2 != 0 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = digits.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

/// The names of the objects in a directory.
fn entries(directory: &str) -> std::result::Result<Vec<String>, NtStatus> {
    let attributes = Attributes::new(Some(directory), None);
    // SAFETY: the attributes and the place for the handle are valid.
    let handle = attributes.handle_from(|handle, attributes| unsafe {
        NtOpenDirectoryObject(handle, DIRECTORY_QUERY, attributes)
    })?;
    let (mut context, mut found) = (0_u32, Vec::new());
    // One at a time: Wine 8 gives no more.
    let mut next = |words| {
        // SAFETY: the buffer is writable and as long as said, and so is the place for the context.
        query(words, |buffer, length, needed| unsafe {
            NtQueryDirectoryObject(handle.as_raw(), buffer, length, 1, 0, &mut context, needed)
        })
    };
    // Names of our objects have less than 200 units of 16 bits. The longest name of an object, and that of its type, have 64 KiB each.
    while let Ok(entry) = next(128).or_else(|_| next(17 << 10)) {
        found.extend(text_of(&entry));
    }
    Ok(found)
}

/// The entries of a section's access list, in words.
fn access_list(section: &Section) -> Option<Vec<String>> {
    // A descriptor with an access list alone has little more than 64 KiB at most.
    // SAFETY: the buffer is writable and as long as said.
    let buffer = query(9 << 10, |buffer, length, needed| unsafe {
        NtQuerySecurityObject(section.handle.as_raw(), DACL_SECURITY_INFORMATION, buffer, length, needed)
    });
    let buffer = buffer.ok()?;
    let entries = descriptor_entries(&bytes_at(&buffer, buffer.as_ptr())?)?;
    Some(entries.iter().map(describe).collect())
}

fn describe(entry: &AccessEntry) -> String {
    const RIGHTS: [(u32, &str); 4] = [
        (SECTION_MAP_READ, "map for reading"),
        (SECTION_MAP_WRITE, "map for writing"),
        (SECTION_QUERY, "query"),
        (READ_CONTROL, "read the access list"),
    ];
    let mut rights: Vec<_> = RIGHTS
        .iter()
        .filter(|(bit, _)| entry.rights & bit != 0)
        .map(|(_, right)| (*right).to_owned())
        .collect();
    let others = RIGHTS.iter().fold(entry.rights, |others, (bit, _)| others & !bit);
    if others != 0 {
        rights.push(format!("{others:#x}"));
    }
    let verb = if entry.allows { "may" } else { "may not" };
    format!("{} {verb}: {}", entry.sid, rights.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_say_names() {
        assert_eq!(name_of_link("64656d6f").as_deref(), Some("demo"));
        assert_eq!(name_of_link("41c3a9").as_deref(), Some("Aé"));
        for digits in ["6", "zz", "ff"] {
            assert_eq!(name_of_link(digits), None, "{digits}");
        }
    }
}
