//! Which of the clients that wait for a channel gets it next, and how many may wait.
//!
//! A server hands its channel to one client at a time: that client has its **turn**, in which it puts its request into the
//! section. Clients have their turns in the order in which they came, with two exceptions. After each turn of a process, the
//! other clients of that process count as having come at that moment: processes alternate, however many connections each has.
//! And a process that lets its turn pass a second time goes behind clients that come later, up to 10 s later. A user whose
//! processes let their turns pass goes behind other users in the same way. So a process that opens a thousand connections and
//! does nothing with them costs the others one turn now and then.
//!
//! Nothing here calls the system: the caller gives the times.

use std::time::{Duration, Instant};

/// How long a turn lasts when other clients wait, and for a process that has let no turn pass.
pub(super) const TURN: Duration = Duration::from_millis(20);

/// A process that has let turns pass may just be slow: each of its turns is twice as long as the one before, up to this, unless
/// a client that has let fewer turns pass waits.
const LONGEST_TURN: Duration = Duration::from_millis(320);

/// How long a process or a user goes behind the others at most.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// How long turns that passed are remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// The most processes and users that are remembered. The one that changed longest ago is forgotten first.
const MOST_RECORDS: usize = 256;

/// The process that a connection is of, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) pid: u32,
    pub(super) uid: u32,
}

struct Waiting<C> {
    connection: C,
    caller: Caller,
    since: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Offender {
    Process(u32),
    User(u32),
}

/// An offender's turns that passed.
struct Record {
    offender: Offender,
    passed: u32,
    last: Instant,
    /// Its clients count as having come at this time, where they came before it.
    behind: Instant,
}

/// The clients that wait, each with its connection.
pub(super) struct Pending<C> {
    /// In the order in which they came.
    clients: Vec<Waiting<C>>,
    most: usize,
    records: Vec<Record>,
}

impl<C> Pending<C> {
    /// Keeps up to `most` clients.
    pub(super) fn new(most: usize) -> Self {
        Pending { clients: Vec::new(), most: most.max(1), records: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether another client should be looked at: there is room for it, or a client here would have to make room.
    pub(super) fn takes_more(&self, is_blocked: impl Fn(Caller) -> bool) -> bool {
        let makes_room = |client: &Waiting<C>| self.makes_room(client.caller) || is_blocked(client.caller);
        self.clients.len() < self.most || self.clients.iter().any(makes_room)
    }

    /// Whether a client makes room for others: its process has let turns pass, or its user's processes have; or its process
    /// has more than half of all places.
    fn makes_room(&self, caller: Caller) -> bool {
        let places = || self.clients.iter().filter(|client| client.caller.pid == caller.pid).count();
        self.passed_by(caller) > 0
            || self.passed(Offender::User(caller.uid)) > 0
            || self.clients.len() >= self.most && places() > self.most / 2
    }

    /// Adds a client that has just come. Returns the connection of one that has to go, since there is no room for it: one
    /// of a process that has let turns pass, or that is blocked, or of such a user; or else the client that has just come.
    pub(super) fn push(
        &mut self, connection: C, caller: Caller, now: Instant, is_blocked: impl Fn(Caller) -> bool,
    ) -> Option<C> {
        self.clients.push(Waiting { connection, caller, since: now });
        if self.clients.len() <= self.most {
            return None;
        }
        let last = (0..self.clients.len()).max_by_key(|&at| {
            let client = &self.clients[at];
            let offends = self.passed_by(client.caller) > 0 || is_blocked(client.caller);
            (offends, self.makes_room(client.caller), self.rank(client), at)
        });
        last.map(|at| self.clients.remove(at).connection)
    }

    /// Drops the clients that have gone.
    pub(super) fn retain(&mut self, mut is_there: impl FnMut(&C) -> bool) {
        self.clients.retain(|client| is_there(&client.connection));
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = &C> {
        self.clients.iter().map(|client| &client.connection)
    }

    /// Puts a client back that could not be handed the channel. It comes first in its rank again.
    pub(super) fn put_back(&mut self, connection: C, caller: Caller, since: Instant) {
        self.clients.insert(0, Waiting { connection, caller, since });
    }

    /// Takes the next client, of those that `may` have a turn. Returns its connection, and when it came.
    pub(super) fn take_next(&mut self, may: impl Fn(Caller) -> bool) -> Option<(C, Caller, Instant)> {
        let next = (0..self.clients.len())
            .filter(|&at| may(self.clients[at].caller))
            .min_by_key(|&at| (self.rank(&self.clients[at]), at))?;
        let Waiting { connection, caller, since } = self.clients.remove(next);
        Some((connection, caller, since))
    }

    /// When a client counts as having come, and what decides between two that came at the same time.
    fn rank(&self, client: &Waiting<C>) -> (Instant, u32) {
        let process = self.record(Offender::Process(client.caller.pid));
        let user = self.record(Offender::User(client.caller.uid));
        let behind = [process, user].into_iter().flatten().map(|record| record.behind);
        let came = behind.chain([client.since]).max().unwrap_or(client.since);
        (came, process.map_or(0, |record| record.passed))
    }

    /// Whether a client waits that has let fewer turns pass than this one.
    pub(super) fn has_better(&self, caller: Caller) -> bool {
        let passed = self.passed_by(caller);
        passed > 0 && self.clients.iter().any(|client| self.passed_by(client.caller) < passed)
    }

    /// How long a turn of this process lasts, unless a better client waits.
    pub(super) fn turn_of(&self, caller: Caller) -> Duration {
        (TURN * (1 << self.passed_by(caller).min(4))).min(LONGEST_TURN)
    }

    fn passed_by(&self, caller: Caller) -> u32 {
        self.passed(Offender::Process(caller.pid))
    }

    fn passed(&self, offender: Offender) -> u32 {
        self.record(offender).map_or(0, |record| record.passed)
    }

    fn record(&self, offender: Offender) -> Option<&Record> {
        self.records.iter().find(|record| record.offender == offender)
    }

    /// A process has let its turn pass.
    pub(super) fn pass(&mut self, caller: Caller, now: Instant) {
        self.records.retain(|record| now.saturating_duration_since(record.last) < MEMORY);
        let is_first = self.passed_by(caller) == 0;
        self.record_missed(Offender::Process(caller.pid), now);
        if is_first {
            self.record_missed(Offender::User(caller.uid), now);
        }
    }

    fn record_missed(&mut self, offender: Offender, now: Instant) {
        let mut record = self.take_record(offender, now);
        record.passed = record.passed.saturating_add(1);
        // Behind all that came so far; from the second time on, behind some that are yet to come.
        let delay = match record.passed {
            1 => Duration::ZERO,
            times => (TURN * (1 << times.min(9))).min(LONGEST_DELAY),
        };
        (record.last, record.behind) = (now, now + delay);
        self.records.push(record);
    }

    /// Takes the record of an offender out of the list, to be put at its end: what changed longest ago comes first.
    fn take_record(&mut self, offender: Offender, now: Instant) -> Record {
        if let Some(at) = self.records.iter().position(|record| record.offender == offender) {
            return self.records.remove(at);
        }
        if self.records.len() >= MOST_RECORDS {
            // One that let no turn pass is no loss.
            let harmless = self.records.iter().position(|record| record.passed == 0);
            self.records.remove(harmless.unwrap_or(0));
        }
        Record { offender, passed: 0, last: now, behind: now }
    }

    /// A process has used its turn.
    pub(super) fn keep(&mut self, caller: Caller, now: Instant) {
        let record = self.take_record(Offender::Process(caller.pid), now);
        self.records.push(Record { passed: 0, last: now, behind: now, ..record });
        if let Some(user) =
            self.records.iter_mut().find(|record| record.offender == Offender::User(caller.uid))
        {
            user.passed /= 2;
        }
    }
}

/// What the fuzzer of `fuzz/fuzz_targets/pending.rs` drives: processes and users by number, times in milliseconds.
#[cfg(fuzzing)]
#[allow(missing_docs, missing_debug_implementations)]
pub mod fuzzing {
    use super::*;

    pub struct Queue {
        pending: Pending<u32>,
        start: Instant,
    }

    impl Queue {
        pub const TURN: u64 = TURN.as_millis() as u64;

        pub fn new(most: usize) -> Self {
            Queue { pending: Pending::new(most), start: Instant::now() }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        /// A client comes. Returns the one that has to go.
        pub fn push(&mut self, client: u32, (pid, uid): (u32, u32), now: u64) -> Option<u32> {
            self.pending.push(client, Caller { pid, uid }, self.at(now), |_| false)
        }

        pub fn takes_more(&self) -> bool {
            self.pending.takes_more(|_| false)
        }

        /// The next client, of those whose process is not `barred`.
        pub fn take_next(&mut self, barred: Option<u32>) -> Option<(u32, (u32, u32))> {
            let (client, caller, _) = self.pending.take_next(|caller| Some(caller.pid) != barred)?;
            Some((client, (caller.pid, caller.uid)))
        }

        pub fn turn_of(&self, (pid, uid): (u32, u32)) -> u64 {
            self.pending.turn_of(Caller { pid, uid }).as_millis() as u64
        }

        pub fn pass(&mut self, (pid, uid): (u32, u32), now: u64) {
            let now = self.at(now);
            self.pending.pass(Caller { pid, uid }, now);
        }

        pub fn keep(&mut self, (pid, uid): (u32, u32), now: u64) {
            let now = self.at(now);
            self.pending.keep(Caller { pid, uid }, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process whose user has no other.
    const fn caller(pid: u32) -> Caller {
        Caller { pid, uid: pid }
    }

    const ANY: fn(Caller) -> bool = |_| true;
    const NOT: fn(Caller) -> bool = |_| false;

    #[test]
    fn clients_have_their_turns_in_the_order_in_which_they_came() {
        let (mut pending, now) = (Pending::new(8), Instant::now());
        for number in 0..5_u32 {
            let came = now + Duration::from_micros(number.into());
            assert!(pending.push(number, caller(number % 2), came, NOT).is_none());
        }
        for number in 0..5 {
            assert_eq!(pending.take_next(ANY).unwrap().0, number);
        }
        assert!(pending.is_empty() && pending.take_next(ANY).is_none());
    }

    #[test]
    fn a_process_that_lets_its_turn_pass_goes_behind_the_others() {
        let (mut pending, now) = (Pending::new(200), Instant::now());
        for number in 0..100_u32 {
            pending.push(number, caller(1), now, NOT);
        }
        pending.push(1000, caller(2), now + TURN / 2, NOT);
        assert_eq!(pending.take_next(ANY).unwrap().0, 0);
        pending.pass(caller(1), now + TURN);
        assert_eq!(pending.take_next(ANY).unwrap().0, 1000);
        // When no other client waits, it has its turns, each twice as long.
        assert_eq!(pending.take_next(ANY).unwrap().0, 1);
        assert_eq!(pending.turn_of(caller(1)), 2 * TURN);
        pending.pass(caller(1), now + 3 * TURN);
        // Now it is behind clients that come later.
        pending.push(2000, caller(3), now + 4 * TURN, NOT);
        assert_eq!(pending.take_next(ANY).unwrap().0, 2000);
    }

    #[test]
    fn however_often_a_process_lets_its_turn_pass_it_delays_others_by_a_few_turns() {
        let (mut pending, mut now) = (Pending::new(200), Instant::now());
        for number in 0..100_u32 {
            pending.push(number, caller(1), now, NOT);
        }
        let mut delayed = 0;
        // For 10 s another process comes every 50 ms.
        for number in 0..200_u32 {
            now += Duration::from_millis(50);
            pending.push(1000 + number, caller(2 + number), now, NOT);
            while pending.take_next(ANY).unwrap().1 == caller(1) {
                delayed += 1;
                now += TURN;
                pending.pass(caller(1), now);
            }
        }
        assert!(delayed < 12, "{delayed} turns of 20 ms");
    }

    #[test]
    fn a_user_whose_processes_let_turns_pass_goes_behind_other_users() {
        let (mut pending, now) = (Pending::new(200), Instant::now());
        for number in 0..50_u32 {
            pending.push(number, Caller { pid: number, uid: 2 }, now, NOT);
        }
        let later = now + TURN / 2;
        pending.push(1000, Caller { pid: 1000, uid: 1 }, later, NOT);
        let (_, first, _) = pending.take_next(ANY).unwrap();
        pending.pass(first, now + TURN);
        assert_eq!(pending.take_next(ANY).unwrap().0, 1000);
        assert_eq!(pending.take_next(ANY).unwrap().0, 1);
    }

    #[test]
    fn one_that_let_its_turn_pass_makes_room_and_else_the_last_to_come() {
        let (mut pending, now) = (Pending::new(2), Instant::now());
        assert_eq!(pending.push(1, caller(1), now, NOT), None);
        assert_eq!(pending.push(2, caller(4), now, NOT), None);
        assert!(!pending.takes_more(NOT));
        assert_eq!(pending.push(3, caller(2), now, NOT), Some(3));
        pending.pass(caller(1), now);
        assert!(pending.takes_more(NOT));
        assert_eq!(pending.push(4, caller(2), now, NOT), Some(1));
        assert_eq!(pending.push(5, caller(1), now, NOT), Some(5));
        assert_eq!(pending.push(6, caller(3), now, NOT), Some(6));
        assert!(!pending.takes_more(NOT));
        pending.keep(caller(1), now);
        assert_eq!(pending.turn_of(caller(1)), TURN);
    }

    #[test]
    fn processes_have_their_turns_one_after_the_other_however_many_clients_they_have() {
        let (mut pending, mut now) = (Pending::new(200), Instant::now());
        for number in 0..100_u32 {
            pending.push(number, caller(1), now, NOT);
        }
        assert_eq!(pending.take_next(ANY).unwrap().0, 0);
        pending.push(1000, caller(2), now + TURN / 4, NOT);
        now += TURN / 2;
        pending.keep(caller(1), now);
        assert_eq!(pending.take_next(ANY).unwrap().0, 1000);
        assert_eq!(pending.take_next(ANY).unwrap().0, 1);
        assert_eq!(pending.turn_of(caller(1)), TURN);
    }

    #[test]
    fn a_process_with_most_of_the_places_makes_room() {
        let (mut pending, now) = (Pending::new(4), Instant::now());
        for number in 0..4_u32 {
            pending.push(number, caller(1), now, NOT);
        }
        assert!(pending.takes_more(NOT));
        assert_eq!(pending.push(4, caller(1), now, NOT), Some(4));
        assert_eq!(pending.push(5, caller(2), now, NOT), Some(3));
        assert_eq!(pending.push(6, caller(3), now, NOT), Some(2));
        assert!(!pending.takes_more(NOT));
    }

    #[test]
    fn a_process_that_is_blocked_makes_room() {
        let (mut pending, now) = (Pending::new(2), Instant::now());
        pending.push(1, caller(1), now, NOT);
        pending.push(2, caller(2), now, NOT);
        let blocked = |other| other == caller(1);
        assert!(!pending.takes_more(NOT) && pending.takes_more(blocked));
        assert_eq!(pending.push(3, caller(3), now, blocked), Some(1));
        pending.retain(|&connection| connection != 2);
        assert_eq!(pending.connections().collect::<Vec<_>>(), [&3]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let (mut pending, now) = (Pending::<u32>::new(2), Instant::now());
        for pid in 0..1000 {
            pending.pass(Caller { pid, uid: pid }, now);
        }
        assert!(pending.records.len() <= MOST_RECORDS);
        assert_eq!(pending.turn_of(caller(999)), 2 * TURN);
        pending.pass(caller(1), now + 2 * MEMORY);
        assert_eq!(pending.records.len(), 2);
    }
}
