//! Channel names: what a caller may write, and the names of the kernel objects that follow from it.

use crate::error::{Result, ShmError};

/// Which processes share a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The session (Windows) or the user (Linux): a bare name, or one that begins with `Local\`.
    Local,
    /// The machine: a name that begins with `Global\`.
    Global,
}

/// A channel's name, taken apart and found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelName {
    given: String,
    pub(crate) scope: Scope,
    prefix: usize,
}

impl ChannelName {
    /// The longest name in bytes of UTF-8, without its prefix.
    pub(crate) const LONGEST: usize = 80;

    pub(crate) fn parse(name: &str) -> Result<Self> {
        let (scope, prefix) = match name {
            _ if name.starts_with("Global\\") => (Scope::Global, "Global\\".len()),
            _ if name.starts_with("Local\\") => (Scope::Local, "Local\\".len()),
            _ => (Scope::Local, 0),
        };
        let base = &name[prefix..];
        let invalid = |reason| ShmError::InvalidName { name: name.to_owned(), reason };
        if base.is_empty() {
            return Err(invalid("it is empty"));
        }
        if base.len() > Self::LONGEST {
            return Err(invalid("it has more than 80 bytes"));
        }
        if base.contains('\0') {
            return Err(invalid("it contains a NUL"));
        }
        if base.contains('\\') {
            return Err(invalid("it contains a backslash that is not the end of Local\\ or Global\\"));
        }
        Ok(ChannelName { given: name.to_owned(), scope, prefix })
    }

    /// As the caller wrote it.
    pub(crate) fn given(&self) -> &str {
        &self.given
    }

    /// Without its prefix.
    pub(crate) fn base(&self) -> &str {
        &self.given[self.prefix..]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn prefixes_say_the_scope() {
        for (name, scope, base) in [
            ("chat", Scope::Local, "chat"),
            ("Local\\chat", Scope::Local, "chat"),
            ("Global\\chat", Scope::Global, "chat"),
            ("global", Scope::Local, "global"),
            ("grüße/1.2", Scope::Local, "grüße/1.2"),
        ] {
            let parsed = ChannelName::parse(name).unwrap();
            assert_eq!((parsed.scope, parsed.base(), parsed.given()), (scope, base, name));
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused_with_the_reason() {
        let long = "x".repeat(81);
        for (name, reason) in [
            ("", "empty"),
            ("Local\\", "empty"),
            ("Global\\", "empty"),
            (long.as_str(), "80 bytes"),
            ("a\0b", "NUL"),
            ("a\\b", "backslash"),
            ("Global\\a\\b", "backslash"),
            ("global\\a", "backslash"),
        ] {
            match ChannelName::parse(name) {
                Err(error @ ShmError::InvalidName { .. }) => {
                    assert!(error.to_string().contains(reason), "{name:?}: {error}")
                }
                other => panic!("{name:?}: {other:?}"),
            }
        }
        assert!(ChannelName::parse(&"x".repeat(80)).is_ok());
        assert!(ChannelName::parse(&format!("Global\\{}", "x".repeat(80))).is_ok());
    }
}
