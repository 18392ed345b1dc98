//! The queue of clients that wait for a channel, on Linux: clients of several processes come, use their turns or miss
//! them, and come again, in any order. No client is lost, and the queue never exceeds its limit. Clients of processes
//! that never missed a turn have their turns in the order in which they came, and before each process that missed a turn
//! after they came. They are never removed to make room for such a process.
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
    /// The next client has its turn, and uses it.
    Keep {
        barred: Option<u8>,
    },
    /// The next client has its turn, and misses it.
    Pass {
        barred: Option<u8>,
    },
    Time {
        millis: u16,
    },
}

/// The number of processes. Every second one belongs to the same user.
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
    /// When a process last missed a turn. `users`: the same for all processes of a user.
    passed: BTreeMap<u32, u64>,
    users: BTreeMap<u32, u64>,
}

impl Model {
    /// Whether neither the process nor its user has missed a turn.
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
                    "{client} missed a turn at {passed}, {number} came at {}",
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
                // No two clients come at the same time.
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
                    // Missed turns of its user are still remembered.
                    model.passed.remove(&caller.0);
                } else {
                    now += turn;
                    queue.pass(caller, now);
                    // The queue forgets turns after 60 s.
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
