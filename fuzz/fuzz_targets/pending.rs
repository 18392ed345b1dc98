//! The clients that wait for a channel on Linux: processes that come, use their turns, let them pass, and come again, in any order.
//! No client is lost; there are never more than may be; those that never let a turn pass are served in the order in which they
//! came, and before each process that has let one pass since they came; they make no room for such a process.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use xshm::fuzzing::Queue;

#[derive(Debug, Arbitrary)]
enum Step {
    /// A client of a process comes.
    Come {
        process: u8,
    },
    /// The next one has its turn, and uses it.
    Keep {
        barred: Option<u8>,
    },
    /// Or lets it pass.
    Pass {
        barred: Option<u8>,
    },
    Time {
        millis: u16,
    },
}

/// So many processes; every second one is of the same user.
const PROCESSES: u8 = 12;

fn caller(process: u8) -> (u32, u32) {
    let process = u32::from(process % PROCESSES);
    (process + 1, process % 2)
}

#[derive(Clone, Copy)]
struct Waiting {
    caller: (u32, u32),
    came: u64,
}

#[derive(Default)]
struct Model {
    waiting: BTreeMap<u32, Waiting>,
    /// When a process last had a turn.
    turns: BTreeMap<u32, u64>,
    /// When a process last let a turn pass; a user's processes among them.
    passed: BTreeMap<u32, u64>,
    users: BTreeMap<u32, u64>,
}

impl Model {
    /// Whether neither the process nor its user has ever let a turn pass.
    fn is_clean(&self, (pid, uid): (u32, u32)) -> bool {
        !self.passed.contains_key(&pid) && !self.users.contains_key(&uid)
    }

    fn check_taken(&self, client: u32, taken: Waiting, barred: Option<u32>) {
        let others = self.waiting.iter().filter(|(_, other)| Some(other.caller.0) != barred);
        for (&number, &other) in others.filter(|(_, other)| self.is_clean(other.caller)) {
            // After a turn, a process's other clients count as having come at that moment.
            let came =
                |waiting: Waiting| waiting.came.max(self.turns.get(&waiting.caller.0).copied().unwrap_or(0));
            if self.is_clean(taken.caller) {
                let (own, others) = ((came(taken), client), (came(other), number));
                let is_fair =
                    if taken.caller.0 == other.caller.0 { client < number } else { own.0 <= others.0 };
                assert!(is_fair, "{own:?} before {others:?}");
            } else if let Some(&passed) = self.passed.get(&taken.caller.0) {
                assert!(
                    came(other) >= passed,
                    "{client} let a turn pass at {passed}, {number} came at {}",
                    came(other)
                );
            }
        }
    }
}

fuzz_target!(|input: (u8, Vec<Step>)| {
    let (most, steps) = input;
    let most = usize::from(most % 16) + 4;
    let (mut queue, mut model, mut now, mut next) = (Queue::new(most), Model::default(), 0_u64, 0_u32);
    for step in steps {
        match step {
            Step::Time { millis } => now += u64::from(millis),
            Step::Come { process } => {
                let caller = caller(process);
                // No two come at the same time.
                now += 1;
                let client = next;
                next += 1;
                model.waiting.insert(client, Waiting { caller, came: now });
                if let Some(gone) = queue.push(client, caller, now) {
                    let gone = model.waiting.remove(&gone).expect("it was waiting");
                    let offends = |waiting: &Waiting| model.passed.contains_key(&waiting.caller.0);
                    assert!(offends(&gone) || !model.waiting.values().any(offends), "an offender was kept");
                }
                assert!(model.waiting.len() <= most);
            }
            Step::Keep { barred } | Step::Pass { barred } => {
                let keeps = matches!(step, Step::Keep { .. });
                let barred = barred.map(|process| caller(process).0);
                let Some((client, caller)) = queue.take_next(barred) else {
                    assert!(
                        model.waiting.values().all(|other| Some(other.caller.0) == barred),
                        "a client that may have its turn was left out"
                    );
                    continue;
                };
                let taken = model.waiting.remove(&client).expect("it was waiting");
                assert!(taken.caller == caller && Some(caller.0) != barred);
                model.check_taken(client, taken, barred);
                let turn = queue.turn_of(caller);
                assert!((Queue::TURN..=16 * Queue::TURN).contains(&turn));
                if keeps {
                    queue.keep(caller, now);
                    model.turns.insert(caller.0, now);
                    // What its user has let pass is remembered for a while.
                    model.passed.remove(&caller.0);
                } else {
                    now += turn;
                    queue.pass(caller, now);
                    // What is longer ago is forgotten.
                    model.turns.retain(|_, had| now - *had < 60_000);
                    model.turns.insert(caller.0, now);
                    model.passed.retain(|_, passed| now - *passed < 60_000);
                    model.users.retain(|_, passed| now - *passed < 60_000);
                    model.passed.insert(caller.0, now);
                    model.users.insert(caller.1, now);
                }
            }
        }
        assert!(queue.takes_more() || model.waiting.len() == most);
    }
});
