//! The names of users.

/// Looks names of users up.
pub struct Users {
    #[cfg(unix)]
    users: sysinfo::Users,
}

#[cfg(unix)]
impl Users {
    pub fn of_this_machine() -> Self {
        Users { users: sysinfo::Users::new_with_refreshed_list() }
    }

    /// The name of the user with this number, or the number itself.
    pub fn name(&self, id: &str) -> String {
        let found = self.users.iter().find(|user| user.id().to_string() == id);
        found.map_or_else(|| id.to_owned(), |user| user.name().to_owned())
    }
}

#[cfg(windows)]
impl Users {
    pub fn of_this_machine() -> Self {
        Users {}
    }

    /// The domain and the name of the user with this security identifier, or the identifier itself.
    pub fn name(&self, id: &str) -> String {
        let sid = winsafe::ConvertStringSidToSid(id);
        match sid.and_then(|sid| winsafe::LookupAccountSid(None, &sid)) {
            Ok((name, domain, _)) if domain.is_empty() => name,
            Ok((name, domain, _)) => format!("{domain}\\{name}"),
            Err(_) => id.to_owned(),
        }
    }
}
