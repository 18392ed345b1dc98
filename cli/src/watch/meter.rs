//! Rates, from samples of a channel's state.

use crate::channels::{Machine, State};
use std::collections::VecDeque;
use std::time::Instant;
use xshm::inspect::{Channel, ChannelState, RingState};

/// The intervals that are kept for the pictures.
const HISTORY: usize = 120;

/// The channels that are watched.
#[derive(Default)]
pub struct Meters {
    machine: Option<Machine>,
    meters: Vec<Meter>,
}

/// One channel.
pub struct Meter {
    /// The channel's place among those of the machine.
    index: usize,
    id: u64,
    name: Option<String>,
    slot: Option<u64>,
    ends: String,
    state: State,
    generation: u32,
    since: Instant,
    /// To the client, and to the server.
    lines: [Line; 2],
}

/// One direction of a channel.
#[derive(Default)]
struct Line {
    before: Option<Counts>,
    now: Counts,
    samples: u32,
    asleep: u32,
    rates: Rates,
    history: VecDeque<u64>,
}

/// What a ring has counted since the session began.
#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    /// In bytes of the ring.
    position: u64,
    dropped: u64,
    queued: u64,
    is_partial: bool,
}

/// What has gone through in an interval, for each second.
#[derive(Clone, Copy, Default)]
pub struct Rates {
    pub messages: f64,
    /// With headers and pads.
    pub bytes: f64,
    pub dropped: f64,
    pub queued: u64,
    pub is_partial: bool,
    /// The share of samples in which the receiver slept.
    pub asleep: f64,
}

impl Meters {
    pub fn is_empty(&self) -> bool {
        self.meters.is_empty()
    }

    pub fn len(&self) -> usize {
        self.meters.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Meter> {
        self.meters.iter()
    }

    /// Follows these channels from now on. Those that were followed before keep their history. A server's new channel takes the place
    /// of the one before.
    pub fn follow(&mut self, machine: Machine, is_wanted: impl Fn(&Channel) -> bool) {
        let mut before = std::mem::take(&mut self.meters);
        for (index, channel) in machine.channels.iter().enumerate().filter(|(_, channel)| is_wanted(channel))
        {
            let row = machine.row(channel);
            // Of a server for one client, the channel that it keeps for the last client is over.
            let is_over = matches!(row.state, State::ServerGone | State::ServerDead);
            let is_same = |meter: &Meter| meter.id == channel.id();
            let is_successor =
                |meter: &Meter| !is_over && meter.name.as_deref() == channel.name() && meter.slot == row.slot;
            let known = before.iter().position(is_same).or_else(|| before.iter().position(is_successor));
            let end = |process: Option<&crate::channels::Process>| {
                process.map_or_else(
                    || "none".to_owned(),
                    |process| format!("{} {}", process.id, process.program.as_deref().unwrap_or("(ended)")),
                )
            };
            let ends = format!("server {}, client {}", end(row.server.as_ref()), end(row.client.as_ref()));
            let mut meter = match known {
                Some(at) => before.swap_remove(at),
                None => Meter::new(channel.name().map(str::to_owned)),
            };
            if meter.id != channel.id() {
                meter.lines.iter_mut().for_each(|line| line.before = None);
            }
            (meter.index, meter.id, meter.slot, meter.state, meter.ends) =
                (index, channel.id(), row.slot, row.state, ends);
            self.meters.push(meter);
        }
        self.meters.sort_by(|a, b| (&a.name, a.slot, a.id).cmp(&(&b.name, b.slot, b.id)));
        self.machine = Some(machine);
    }

    /// Reads each channel once.
    pub fn sample(&mut self) {
        let Some(machine) = &self.machine else { return };
        for meter in &mut self.meters {
            meter.sample(&machine.channels[meter.index].read());
        }
    }

    /// Calculates the rates of the interval that ends now.
    pub fn end_interval(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.refresh_processes();
            for meter in &mut self.meters {
                meter.state = machine.row(&machine.channels[meter.index]).state;
                meter.end_interval(Instant::now());
            }
        }
    }
}

impl Meter {
    fn new(name: Option<String>) -> Self {
        Meter {
            index: 0,
            id: 0,
            name,
            slot: None,
            ends: String::new(),
            state: State::Idle,
            generation: 0,
            since: Instant::now(),
            lines: Default::default(),
        }
    }

    pub fn name(&self) -> String {
        let name = self.name.as_deref().unwrap_or("(no name)");
        self.slot.map_or_else(|| name.to_owned(), |slot| format!("{name}#{slot}"))
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The processes at both ends.
    pub fn ends(&self) -> &str {
        &self.ends
    }

    pub fn directions(&self) -> [(&'static str, Rates); 2] {
        [("to-client", self.lines[0].rates), ("to-server", self.lines[1].rates)]
    }

    /// The messages in each interval, oldest first.
    pub fn history(&self, direction: usize) -> &VecDeque<u64> {
        &self.lines[direction].history
    }

    fn sample(&mut self, state: &ChannelState) {
        if state.generation != self.generation {
            self.generation = state.generation;
            self.lines.iter_mut().for_each(|line| line.before = None);
        }
        self.lines[0].sample(state.to_client, state.client_wait.sleeps_for_data);
        self.lines[1].sample(state.to_server, state.server_wait.sleeps_for_data);
    }

    fn end_interval(&mut self, now: Instant) {
        let seconds = now.duration_since(self.since).as_secs_f64().max(1e-9);
        self.since = now;
        self.lines.iter_mut().for_each(|line| line.end_interval(seconds));
    }
}

impl Line {
    fn sample(&mut self, ring: Option<RingState>, sleeps: bool) {
        self.samples += 1;
        self.asleep += u32::from(sleeps);
        let Some(ring) = ring else { return };
        let now = Counts {
            sent: ring.sent(),
            position: ring.read_position.wrapping_add(ring.queued_bytes),
            dropped: ring.drop_count,
            queued: ring.queued,
            is_partial: ring.is_partial,
        };
        self.before.get_or_insert(now);
        self.now = now;
    }

    fn end_interval(&mut self, seconds: f64) {
        let before = self.before.unwrap_or(self.now);
        // Counts that lag behind may seem to have gone back, and those that a side has overwritten may be anything.
        let passed = |now: u64, before: u64| {
            let passed = now.wrapping_sub(before);
            if passed > 1 << 48 {
                0
            } else {
                passed
            }
        };
        let messages = passed(self.now.sent, before.sent);
        self.rates = Rates {
            messages: messages as f64 / seconds,
            bytes: passed(self.now.position, before.position) as f64 / seconds,
            dropped: passed(self.now.dropped, before.dropped) as f64 / seconds,
            queued: self.now.queued,
            is_partial: self.now.is_partial,
            asleep: f64::from(self.asleep) / f64::from(self.samples.max(1)),
        };
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(messages);
        (self.before, self.samples, self.asleep) = (Some(self.now), 0, 0);
    }
}
