//! A mapped section, validated once, handing out typed views.

use crate::constants::{MAGIC, PROTOCOL_VERSION};
use crate::error::{Result, ShmError};
use crate::layout::{
    ControlBlock, Direction, Geometry, RingHeader, FLAG_EVENTS, FLAG_LENGTHS, FLAG_MULTI, FLAG_REJECT,
    SERVER_UP,
};
use crate::ring::Ring;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::{Mapping, Section};
use std::mem::size_of;

/// A channel's section in this process's memory.
///
/// What of the control block never changes after the server made it was read once, checked, and is kept here; the
/// peer may change it in the section as it likes.
pub(crate) struct SharedView {
    mapping: Mapping,
    section: Section,
    constants: Constants,
}

/// What never changes in a section.
struct Constants {
    geometry: Geometry,
    flags: u32,
    instance: u64,
    server_pid: u32,
}

impl SharedView {
    /// Fills in a new section. No other process can find it yet.
    pub(crate) fn create(section: Section, geometry: Geometry, flags: u32, instance: u64) -> Result<Self> {
        let mapping = Mapping::map(&section)?;
        let flags = if geometry.max_message_size().is_some() { flags | FLAG_LENGTHS } else { flags };
        let constants = Constants { geometry, flags, instance, server_pid: crate::sys::process_id() };
        let view = SharedView { mapping, section, constants };
        #[cfg(loom)]
        // SAFETY: the new section has the size of this geometry, and no thread uses it yet.
        unsafe {
            view.construct()
        };
        view.restore();
        Ok(view)
    }

    /// The server writes what never changes in a section, where something else stands: at first, and when a client has
    /// overwritten it.
    pub(crate) fn restore(&self) {
        let control = self.control();
        let Constants { geometry, flags, instance, server_pid } = self.constants;
        // A line that both sides only read is not taken away from them without need.
        let put = |field: &AtomicU32, value: u32, order: Ordering| {
            if field.load(Ordering::Relaxed) != value {
                field.store(value, order);
            }
        };
        put(&control.capacity, geometry.capacity() as u32, Ordering::Relaxed);
        put(&control.message_limit, geometry.message_limit() as u32, Ordering::Relaxed);
        put(&control.flags, flags, Ordering::Relaxed);
        put(&control.server_pid, server_pid, Ordering::Relaxed);
        let put_long = |field: &AtomicU64, value: u64| {
            if field.load(Ordering::Relaxed) != value {
                field.store(value, Ordering::Relaxed);
            }
        };
        put_long(&control.instance, instance);
        put_long(&self.first_header().max_message_size, geometry.max_message_size().unwrap_or(0));
        put(&control.server_state, SERVER_UP, Ordering::Relaxed);
        put(&control.version, PROTOCOL_VERSION, Ordering::Relaxed);
        // A client that is handed the section in some other way than by name sees all of the above once it sees the magic.
        put(&control.magic, MAGIC, Ordering::Release);
    }

    /// Maps and checks a section that a server made, or that pretends to be.
    pub(crate) fn open(section: Section) -> Result<Self> {
        let (mapping, constants) = Self::read(&section)?;
        Ok(SharedView { mapping, section, constants })
    }

    /// Checks that a section is a channel's.
    pub(crate) fn check(section: &Section) -> Result<()> {
        Self::read(section).map(drop)
    }

    /// Maps a section, and reads and checks its constants.
    fn read(section: &Section) -> Result<(Mapping, Constants)> {
        let differs = |what, found: u64, expected: u64| Err(ShmError::Incompatible { what, found, expected });
        let size = section.size();
        if size < size_of::<ControlBlock>() {
            return differs("section size", size as u64, Geometry::DEFAULT.section_size() as u64);
        }
        let mapping = Mapping::map(section)?;
        // SAFETY: the section is at least as large as a control block, which consists of atomics; a mapping starts
        // at a page.
        let control = unsafe { mapping.base().cast::<ControlBlock>().as_ref() };
        let magic = control.magic.load(Ordering::Acquire);
        if magic != MAGIC {
            return differs("magic", magic.into(), MAGIC.into());
        }
        let version = control.version.load(Ordering::Relaxed);
        if version != PROTOCOL_VERSION {
            return differs("protocol version", version.into(), PROTOCOL_VERSION.into());
        }
        let flags = control.flags.load(Ordering::Relaxed);
        let known = FLAG_EVENTS | FLAG_REJECT | FLAG_MULTI | FLAG_LENGTHS;
        if flags & !known != 0 {
            return differs("flags", flags.into(), known.into());
        }
        let mut geometry = Geometry::from_section(
            control.capacity.load(Ordering::Relaxed),
            control.message_limit.load(Ordering::Relaxed),
            size,
        )?;
        if flags & FLAG_LENGTHS != 0 {
            // SAFETY: the section is as large as the geometry says.
            let header = unsafe { first_header(&mapping, geometry) };
            geometry = geometry.with_max_message_size(header.max_message_size.load(Ordering::Relaxed))?;
        }
        let instance = control.instance.load(Ordering::Relaxed);
        let server_pid = control.server_pid.load(Ordering::Relaxed);
        Ok((mapping, Constants { geometry, flags, instance, server_pid }))
    }

    /// Puts loom's atomics where a real section has zeros.
    #[cfg(loom)]
    unsafe fn construct(&self) {
        let base = self.mapping.base().as_ptr();
        // SAFETY: by the caller, the memory is ours and as large as the geometry says, whose offsets these are.
        unsafe {
            base.cast::<ControlBlock>().write(ControlBlock::default());
            for direction in [Direction::ServerToClient, Direction::ClientToServer] {
                base.add(self.constants.geometry.header_offset(direction))
                    .cast::<RingHeader>()
                    .write(RingHeader::default());
                let words = base.add(self.constants.geometry.ring_offset(direction)).cast::<AtomicU64>();
                for at in 0..self.constants.geometry.capacity() as usize / 8 {
                    words.add(at).write(AtomicU64::new(0));
                }
            }
        }
    }

    pub(crate) fn control(&self) -> &ControlBlock {
        // SAFETY: the section was made for, or checked against, `geometry`, whose section begins with a control
        // block; it is mapped at a page for as long as `self` lives, and consists of atomics.
        unsafe { self.mapping.base().cast().as_ref() }
    }

    /// One of the rings.
    ///
    /// # Safety
    /// The ring is not used after `self` is dropped.
    pub(crate) unsafe fn ring(&self, direction: Direction) -> Ring {
        let base = self.mapping.base().as_ptr();
        // SAFETY: both offsets are within the section, by its geometry, and aligned, since they are multiples of 64
        // from a page on. All of it consists of atomics, for which any bytes are valid. It stays mapped as long as
        // `self` lives. Capacities are powers of two. The geometry's lengths fit its rings.
        unsafe {
            Ring::new(
                base.add(self.constants.geometry.header_offset(direction)).cast(),
                base.add(self.constants.geometry.ring_offset(direction)).cast(),
                self.constants.geometry.capacity(),
                self.constants.geometry.lengths(),
                self.rejects(),
            )
        }
    }

    pub(crate) fn section(&self) -> &Section {
        &self.section
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.constants.geometry
    }

    /// Whether a full ring rejects instead of evicting.
    pub(crate) fn rejects(&self) -> bool {
        self.constants.flags & FLAG_REJECT != 0
    }

    /// Whether the channel is one of a multi-client server's.
    pub(crate) fn is_multi(&self) -> bool {
        self.constants.flags & FLAG_MULTI != 0
    }

    /// Where a multi-client server writes its client's slot.
    pub(crate) fn slot(&self) -> &AtomicU64 {
        &self.first_header().slot
    }

    /// Where it says that the client waits for a slot.
    pub(crate) fn slot_awaited(&self) -> &AtomicU64 {
        &self.first_header().slot_awaited
    }

    /// Where a server says which event its clients take turns by.
    pub(crate) fn turn(&self) -> &AtomicU64 {
        &self.first_header().turn
    }

    fn first_header(&self) -> &RingHeader {
        // SAFETY: as in `ring`.
        unsafe { first_header(&self.mapping, self.constants.geometry) }
    }

    /// Whether both sides wait on events, or look again and again.
    pub(crate) fn has_events(&self) -> bool {
        self.constants.flags & FLAG_EVENTS != 0
    }

    pub(crate) fn instance(&self) -> u64 {
        self.constants.instance
    }

    pub(crate) fn server_pid(&self) -> u32 {
        self.constants.server_pid
    }
}

/// The header of the first ring.
///
/// # Safety
/// The mapping is of a section that is as large as the geometry says.
unsafe fn first_header(mapping: &Mapping, geometry: Geometry) -> &RingHeader {
    let header = geometry.header_offset(Direction::ServerToClient);
    // SAFETY: the offset is within the section, by the caller, and a multiple of 64 from a page on. A header consists of atomics.
    unsafe { &*mapping.base().as_ptr().add(header).cast() }
}
