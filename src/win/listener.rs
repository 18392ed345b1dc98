//! The server's side of a name.

use super::names::{creation_error, Names};
use super::token::{self, integrity, token_number, MEDIUM_INTEGRITY};
use super::{create_event, create_section, security, ClientEnd, Event, Process, Section, User};
use super::{EVENT_ACCESS, SECTION_ACCESS};
use crate::error::{Result, ShmError};
use crate::naming::ChannelName;
use crate::ntapi::*;
use crate::sync::{lock, Mutex};
use crate::sys::kinds::{self, Audience, Clients, Unwatchable};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr;
use std::time::{Duration, Instant};

pub(crate) type Prepared = kinds::Prepared<Section, Event, ClientEnd, Offer>;

/// The last step for a channel: the name leads to it.
pub(crate) struct Offer {
    instance: u64,
}

/// The owner of a name, until dropped or until the process ends.
pub(crate) struct Listener {
    names: Names,
    section_security: Vec<u8>,
    event_security: Vec<u8>,
    /// The number in the names of the second link and of the admission event.
    number: u64,
    admission: Event,
    offered: Mutex<Option<OwnedHandle>>,
    /// The channel's name. The open handle is what counts. The last field: the name comes free when all else is gone.
    _link: OwnedHandle,
}

impl Listener {
    pub(crate) fn held_name(&self) -> super::HeldName {
        super::HeldName
    }

    /// Takes a name, if no living server has it.
    pub(crate) fn bind(name: &ChannelName, audience: &Audience<'_, User>, _clients: Clients) -> Result<Self> {
        check_can_serve()?;
        let names = Names::of(name)?;
        let section_security = security(audience, SECTION_ACCESS)?;
        let event_security = security(audience, EVENT_ACCESS)?;
        let number = fresh();
        let link = link(&names.link(), &names.offer(number))
            .map_err(|status| creation_error(status, name, "creating the channel's name"))?;
        let attributes = Attributes::new(Some(&names.admission(number)), Some(&event_security));
        let admission = create_event(&attributes, SYNCHRONIZATION_EVENT)
            .map_err(|status| creation_error(status, name, "creating the channel's objects"))?;
        Ok(Listener {
            names,
            section_security,
            event_security,
            number,
            admission,
            offered: Mutex::new(None),
            _link: link,
        })
    }

    /// Makes what a fresh channel consists of, under names of its own.
    pub(crate) fn prepare(&self, size: usize) -> Result<Prepared> {
        let names = &self.names;
        let failed = |status| creation_error(status, &names.name, "creating the channel's objects");
        loop {
            let instance = fresh();
            let section = match create_section(Some(&names.section(instance)), &self.section_security, size) {
                // Another instance of 2^64 has this number: draw again.
                Err(STATUS_OBJECT_NAME_COLLISION) => continue,
                other => other.map_err(failed)?,
            };
            let events = kinds::try_array(|index| {
                let path = names.event(instance, index);
                let attributes = Attributes::new(Some(&path), Some(&self.event_security));
                create_event(&attributes, SYNCHRONIZATION_EVENT).map_err(failed)
            })?;
            let (client_end, offer) = (ClientEnd::new(), Offer { instance });
            return Ok(Prepared { section, events, instance, client_end, offer });
        }
    }

    /// Whether this process has changed its user since it took the name. Here it never does.
    pub(crate) fn has_changed_user(&self) -> bool {
        false
    }

    /// Makes the name lead to a channel. For a moment it leads to none: a client that looks then, looks again.
    pub(crate) fn offer(&self, offer: Offer) -> Result<()> {
        let (path, target) = (self.names.offer(self.number), self.names.section(offer.instance));
        let mut offered = lock(&self.offered);
        // The link's name is free when its one handle is closed.
        *offered = None;
        *offered = Some(link(&path, &target).map_err(|status| self.offering_error(status, &path))?);
        self.admission.set();
        Ok(())
    }

    /// Any process that may create objects in the directory can take the second link's name while the link is made anew.
    fn offering_error(&self, status: NtStatus, path: &str) -> ShmError {
        match status {
            STATUS_OBJECT_NAME_COLLISION
            | STATUS_OBJECT_TYPE_MISMATCH
            | STATUS_OBJECT_PATH_NOT_FOUND
            | STATUS_ACCESS_DENIED => ShmError::Refused {
                reason: format!(
                    "another process holds the name {path}, by which clients of {:?} find the next session; end that \
                     process, or stop the server and start it again, which draws another name",
                    self.names.name.given()
                ),
            },
            status => error(status, "offering a channel under the server's name"),
        }
    }

    /// Lets the next client have the channel that the name leads to.
    pub(crate) fn offer_again(&self) {
        self.admission.set();
    }

    /// The number of the admission event, by which clients find it.
    pub(crate) fn admission_number(&self) -> u64 {
        self.number
    }

    /// Nothing to wait for besides the request event: clients find the channel by themselves.
    pub(crate) fn wait_for(&self) -> (Option<&Event>, Option<Duration>) {
        (None, None)
    }

    pub(crate) fn is_overdue(&self) -> bool {
        false
    }

    pub(crate) fn session_began(&self) {}

    pub(crate) fn session_ended(&self) {}

    pub(crate) fn pass_turn(&self) {}

    pub(crate) fn hand_over(&self, _section: &Section, _end: &ClientEnd) -> Result<()> {
        Ok(())
    }

    /// The process of a request.
    pub(crate) fn open_requester(&self, pid: u32) -> std::result::Result<Process, Unwatchable> {
        Process::open(pid)
    }
}

/// Checks that other processes can find a server of this process.
///
/// # Errors
/// [`ShmError::Refused`]: Windows lets only processes that are sandboxed too follow the links that this one creates.
fn check_can_serve() -> Result<()> {
    let reason = if token_number(TOKEN_IS_APP_CONTAINER).is_some_and(|is_one| is_one != 0) {
        "in an AppContainer"
    } else if integrity().is_some_and(|level| level < MEDIUM_INTEGRITY) {
        "below medium integrity"
    } else {
        return Ok(());
    };
    let reason = format!(
        "this process runs {reason}, so that other processes could not find its server; start it outside"
    );
    Err(ShmError::Refused { reason })
}

/// A link to which no other process has a handle.
fn link(path: &str, target: &str) -> std::result::Result<OwnedHandle, NtStatus> {
    let target: Vec<u16> = target.encode_utf16().collect();
    let target = unicode_string(&target);
    // No other process needs a handle to the link. (Windows would let its creator have one in any case; Wine 8 checks
    // the list at creation too.)
    let user = token::user(&token::of_process(CURRENT_PROCESS)?)?.0;
    let security = descriptor(&user, &[(user.clone(), SYMBOLIC_LINK_QUERY)]);
    let attributes = Attributes::new(Some(path), Some(&security));
    // SAFETY: the attributes, the target and the place for the handle are valid.
    attributes.handle_from(|handle, attributes| unsafe {
        NtCreateSymbolicLinkObject(handle, SYMBOLIC_LINK_QUERY, attributes, &target)
    })
}

/// A number that no other instance has: a number that the system gives only once, hashed with the time and the place of the
/// stack. It keeps names apart, and is no secret: any process that may list the directory reads it there. It is not from the
/// system's random generator, since std's way to that imports bcryptprimitives.dll into every C program.
fn fresh() -> u64 {
    let mut unique = 0_u64;
    // SAFETY: the place for the number is valid. (It can't fail; a zero would be drawn again at the collision.)
    unsafe { NtAllocateLocallyUniqueId(&mut unique) };
    let mut hasher = DefaultHasher::new();
    (unique, std::process::id(), Instant::now(), ptr::from_ref(&unique) as usize).hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that took the name of the second link must not make the server fail without a word about it.
    #[test]
    fn a_server_says_that_the_name_of_its_next_session_is_taken() {
        let name = ChannelName::parse(&format!("offer-{}", std::process::id())).unwrap();
        let server = Listener::bind(&name, &Audience::Owner, Clients::One).unwrap();
        let offer = || server.prepare(65536).map(|prepared| server.offer(prepared.offer)).unwrap();
        offer().unwrap();
        *lock(&server.offered) = None;
        let path = server.names.offer(server.number);
        let attributes = Attributes::new(Some(&path), None);
        let event = create_event(&attributes, SYNCHRONIZATION_EVENT).unwrap();
        let link = || link(&path, "\\Nowhere").unwrap();
        let check = |what| {
            let error = offer();
            let Err(ShmError::Refused { reason }) = &error else { panic!("{what}: {error:?}") };
            assert!(reason.contains(&path) && reason.contains("another process"), "{what}: {reason}");
        };
        check("an event");
        drop(event);
        let squatter = link();
        check("a link");
        drop(squatter);
        offer().unwrap();
    }
}
