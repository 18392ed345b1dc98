//! Security identifiers and descriptors as bytes, in the self-relative form that the kernel takes and gives.

/// A security identifier (SID): a user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sid(Box<[u8]>);

impl Sid {
    /// `S-1-1-0`.
    pub(crate) fn everyone() -> Self {
        Sid::from_parts(1, &[0])
    }

    /// `S-1-5-18`, the operating system itself.
    pub(crate) fn system() -> Self {
        Sid::from_parts(5, &[18])
    }

    /// `S-1-5-32-544`.
    pub(crate) fn administrators() -> Self {
        Sid::from_parts(5, &[32, 544])
    }

    /// `S-1-5-7`, a client that does not say who it is.
    pub(crate) fn anonymous() -> Self {
        Sid::from_parts(5, &[7])
    }

    /// `S-1-3-4`: what an object's owner may do, in place of the rights that every owner has.
    pub(crate) fn owner_rights() -> Self {
        Sid::from_parts(3, &[4])
    }

    /// The last of its numbers, which distinguishes users of one machine, or levels of integrity.
    pub(crate) fn last(&self) -> Option<u32> {
        let last = self.0[8..].chunks_exact(4).last()?;
        Some(u32::from_le_bytes(last.try_into().expect("a chunk has 4 bytes")))
    }

    fn from_parts(authority: u64, sub_authorities: &[u32]) -> Self {
        let mut bytes = vec![1, sub_authorities.len() as u8];
        bytes.extend_from_slice(&authority.to_be_bytes()[2..]);
        for part in sub_authorities {
            bytes.extend_from_slice(&part.to_le_bytes());
        }
        Sid(bytes.into())
    }

    /// The SID at the start of `bytes`.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&revision, &count) = (bytes.first()?, bytes.get(1)?);
        if revision != 1 || count > 15 {
            return None;
        }
        Some(Sid(bytes.get(..8 + 4 * usize::from(count))?.into()))
    }

    /// Reads `S-1-<authority>-<sub-authority>…`, decimal.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("S-1-")?.split('-');
        let authority: u64 = parts.next()?.parse().ok().filter(|&authority| authority < 1 << 48)?;
        let rest: Option<Vec<u32>> = parts.map(|part| part.parse().ok()).collect();
        rest.filter(|rest| rest.len() <= 15).map(|rest| Sid::from_parts(authority, &rest))
    }
}

impl std::fmt::Display for Sid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut authority = [0; 8];
        authority[2..].copy_from_slice(&self.0[2..8]);
        write!(f, "S-1-{}", u64::from_be_bytes(authority))?;
        for part in self.0[8..].chunks_exact(4) {
            write!(f, "-{}", u32::from_le_bytes(part.try_into().expect("a chunk has 4 bytes")))?;
        }
        Ok(())
    }
}

const SE_DACL_PRESENT: u16 = 0x0004;
const SE_DACL_PROTECTED: u16 = 0x1000;
const SE_SELF_RELATIVE: u16 = 0x8000;
const DESCRIPTOR_HEADER: usize = 20;

/// A descriptor owned by `owner` that grants these rights to these users, and nothing to any other user.
pub(crate) fn descriptor(owner: &Sid, allowed: &[(Sid, u32)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (sid, access) in allowed {
        list.extend_from_slice(&[0, 0]); // ACCESS_ALLOWED_ACE_TYPE, no flags
        list.extend_from_slice(&(8 + sid.0.len() as u16).to_le_bytes());
        list.extend_from_slice(&access.to_le_bytes());
        list.extend_from_slice(&sid.0);
    }
    let owner_at = DESCRIPTOR_HEADER;
    let list_at = owner_at + owner.0.len();

    let mut bytes = vec![1, 0];
    bytes.extend_from_slice(&(SE_DACL_PRESENT | SE_DACL_PROTECTED | SE_SELF_RELATIVE).to_le_bytes());
    for offset in [owner_at, 0, 0, list_at] {
        bytes.extend_from_slice(&(offset as u32).to_le_bytes());
    }
    bytes.extend_from_slice(&owner.0);
    bytes.extend_from_slice(&[2, 0]); // ACL_REVISION
    bytes.extend_from_slice(&(8 + list.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&(allowed.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&list);
    bytes
}

/// Whether `bytes` can be handed to the kernel as a self-relative descriptor: its parts lie within it.
pub(crate) fn is_descriptor(bytes: &[u8]) -> bool {
    let offset = |at: usize| {
        let bytes = bytes.get(at..)?.get(..4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let sid_fits = |at: usize| at == 0 || bytes.get(at..).is_some_and(|rest| Sid::from_bytes(rest).is_some());
    let acl_fits = |at: usize| {
        let fits = |rest: &[u8]| {
            let size = rest.get(2..4).map_or(0, |size| usize::from(u16::from_le_bytes([size[0], size[1]])));
            (8..=rest.len()).contains(&size)
        };
        at == 0 || bytes.get(at..).is_some_and(fits)
    };
    let (Some(owner), Some(group), Some(sacl), Some(dacl)) = (offset(4), offset(8), offset(12), offset(16))
    else {
        return false;
    };
    let control = u16::from_le_bytes([bytes[2], bytes[3]]);
    bytes[0] == 1
        && control & SE_SELF_RELATIVE != 0
        && sid_fits(owner)
        && sid_fits(group)
        && acl_fits(sacl)
        && acl_fits(dacl)
}

/// The owner in a self-relative descriptor.
pub(crate) fn descriptor_owner(bytes: &[u8]) -> Option<Sid> {
    let at = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    if at == 0 {
        return None;
    }
    Sid::from_bytes(bytes.get(at..)?)
}

/// An entry of an access list: whether it allows or denies rights, which, and whose.
pub(crate) struct AccessEntry {
    pub(crate) allows: bool,
    pub(crate) rights: u32,
    pub(crate) sid: Sid,
}

/// The entries that allow or deny, in a self-relative descriptor's access list. `None`: it has no list, or the bytes are no
/// descriptor.
pub(crate) fn descriptor_entries(bytes: &[u8]) -> Option<Vec<AccessEntry>> {
    const ALLOWED: u8 = 0;
    const DENIED: u8 = 1;
    let short = |bytes: &[u8], at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let at = long(bytes, 16)? as usize;
    if at == 0 {
        return None;
    }
    let list = bytes.get(at..)?;
    let (count, mut rest) = (short(list, 4)?, list.get(8..)?);
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = rest.get(..short(rest, 2)?.into())?;
        if let (&kind @ (ALLOWED | DENIED), Some(sid)) =
            (entry.first()?, entry.get(8..).and_then(Sid::from_bytes))
        {
            entries.push(AccessEntry { allows: kind == ALLOWED, rights: long(entry, 4)?, sid });
        }
        rest = rest.get(entry.len()..)?;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_are_read_and_written() {
        for text in
            ["S-1-1-0", "S-1-5-18", "S-1-5-32-544", "S-1-5-21-4294967295-0-1000", "S-1-281474976710655-1"]
        {
            let sid = Sid::parse(text).unwrap();
            assert_eq!(sid.to_string(), text);
            assert_eq!(Sid::from_bytes(&sid.0).unwrap(), sid);
        }
        for text in ["", "S-1", "S-1-", "S-2-5-18", "S-1-5-x", "S-1-5-4294967296", "S-1-281474976710656"] {
            assert!(Sid::parse(text).is_none(), "{text:?}");
        }
        assert!(Sid::from_bytes(&[1, 2, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0]).is_none());
    }

    #[test]
    fn a_descriptor_says_who_owns_it() {
        let user = Sid::parse("S-1-5-21-1-2-3-1000").unwrap();
        let bytes = descriptor(&user, &[(user.clone(), 7), (Sid::system(), 7)]);
        assert!(is_descriptor(&bytes));
        assert_eq!(descriptor_owner(&bytes), Some(user.clone()));
        let entries = descriptor_entries(&bytes).unwrap();
        let found: Vec<_> = entries.iter().map(|entry| (entry.allows, entry.rights, &entry.sid)).collect();
        assert_eq!(found, [(true, 7, &user), (true, 7, &Sid::system())]);
        for cut in 0..bytes.len() {
            assert!(!is_descriptor(&bytes[..cut]), "cut at {cut}");
            assert!(cut == 0 || descriptor_entries(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }
}
