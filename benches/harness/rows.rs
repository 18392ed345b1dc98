//! The rows between two processes: round trips, streams, kernel calls, memory.

use crate::bench::{Bench, Measure, CROWD};
use crate::figures::Spread;
use crate::line::{Outcome, LONGEST};
use crate::lines::{
    Kind, ASLEEP, BARE, BATCH, BATCHED, COMPACT, COPY, FRAMES, FRAMES_TOGETHER, FRAME_4K, GUARDED_SIGNALS,
    IN_PLACE, LONG_COPY, ROOMY, SIGNALS, TAKEN_FRAMES, TOGETHER, XSHM,
};
use crate::peers;
use crate::report::{Goal, Row};

/// The size of a message unless a row has another one, in bytes.
const SMALL: usize = 64;
const KILOBYTE: usize = 1024;

/// P1: round trips with both sides spinning, against two bare cache lines, and against bare frames of the same size.
pub fn round_trips(bench: &mut Bench) -> Outcome<Vec<Row>> {
    const SIZES: [(usize, Goal); 8] = [
        (8, Goal::AtMost(1.5)),
        (56, Goal::AtMost(1.5)),
        (SMALL, Goal::AtMost(2.0)),
        (256, Goal::None),
        (KILOBYTE, Goal::None),
        (4096, Goal::None),
        (16_384, Goal::None),
        (LONGEST, Goal::None),
    ];
    /// For this number of sizes, from the first on, the table also has bare frames.
    const FEWEST: usize = 3;
    bench.open(&XSHM)?;
    bench.open(&FRAMES)?;
    let (limit, _) = bench.limit()?;
    let framed = Goal::AtMostBy { near: 1.2, far: 1.05 };
    let ours = SIZES.iter().map(|(size, _)| Measure::round_trip(&XSHM, *size));
    let frames = SIZES[..FEWEST].iter().map(|(size, _)| Measure::round_trip(&FRAMES, *size));
    let subjects: Vec<_> = ours.chain(frames).collect();
    let comparisons = bench.compare(Measure::round_trip(limit, 0), &subjects)?;
    let row = |((size, goal), comparison): (_, &_)| {
        // One name for both bare lines, whichever was faster.
        Row::new("P1", format!("round trip, {size} bytes"), BARE.name, goal).times(comparison)
    };
    let bare = |((size, _), comparison): (_, &_)| {
        Row::new("P1", format!("({}, {size} bytes)", FRAMES.name), BARE.name, Goal::None).times(comparison)
    };
    let (ours, frames) = comparisons.split_at(SIZES.len());
    let mut rows: Vec<_> =
        SIZES.into_iter().zip(ours).map(row).chain(SIZES.into_iter().zip(frames).map(bare)).collect();
    for (size, _) in &SIZES[..FEWEST] {
        let comparisons =
            bench.compare(Measure::round_trip(&FRAMES, *size), &[Measure::round_trip(&XSHM, *size)])?;
        let what = format!("round trip, {size} bytes");
        rows.extend(comparisons.iter().map(|each| Row::new("P1", &what, FRAMES.name, framed).times(each)));
    }
    Ok(rows)
}

/// P2: the same against iceoryx2.
pub fn against_iceoryx(bench: &mut Bench) -> Outcome<Vec<Row>> {
    let row = |name| Row::new("P2", format!("round trip, {SMALL} bytes"), name, Goal::AtMost(0.6));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = bench;
        Ok(vec![row("iceoryx2").missing("measured only on Linux")])
    }
    #[cfg(target_os = "linux")]
    {
        let peer = &peers::ICEORYX;
        bench.open(&XSHM)?;
        bench.open(peer)?;
        let subject = Measure::round_trip(&XSHM, SMALL);
        let comparisons = bench.compare(Measure::round_trip(peer, SMALL), &[subject])?;
        Ok(comparisons.iter().map(|comparison| row(peer.name).times(comparison)).collect())
    }
}

/// P3: streams of short messages, against rtrb, and against bare frames.
pub fn short_streams(bench: &mut Bench) -> Outcome<Vec<Row>> {
    let goal = Goal::AtLeast(0.9);
    let kinds = [
        (&XSHM, "one at a time".to_owned(), goal),
        (&BATCHED, format!("{BATCH} with one call"), goal),
        (&COMPACT, "one at a time, ring of 32 KiB".to_owned(), Goal::None),
        (&ROOMY, "one at a time, 4000 wait at most".to_owned(), Goal::None),
        (&TAKEN_FRAMES, "(bare frames)".to_owned(), Goal::None),
        (&FRAMES_TOGETHER, format!("(bare frames, {TOGETHER} shown together)"), Goal::None),
        (&COPY, "(memcpy, slot by slot)".to_owned(), Goal::None),
        (&peers::RTRB_BATCHED, format!("(rtrb itself, {BATCH} with one call)"), Goal::None),
    ];
    bench.open(&peers::RTRB)?;
    for (kind, ..) in &kinds {
        bench.open(kind)?;
    }
    let subjects = kinds.each_ref().map(|(kind, ..)| Measure::stream(kind, SMALL));
    let comparisons = bench.compare(Measure::stream(&peers::RTRB, SMALL), &subjects)?;
    let row = |((_, how, goal), comparison)| {
        Row::new("P3", format!("rate, {SMALL} bytes, {how}"), peers::RTRB.name, goal).rates(comparison)
    };
    let mut rows: Vec<_> = kinds.into_iter().zip(&comparisons).map(row).collect();
    let framed = bench.compare(Measure::stream(&TAKEN_FRAMES, SMALL), &[Measure::stream(&XSHM, SMALL)])?;
    let row = |comparison| {
        let what = format!("rate, {SMALL} bytes, one at a time");
        Row::new("P3", what, FRAMES.name, Goal::AtLeast(0.85)).rates(comparison)
    };
    rows.extend(framed.iter().map(row));
    Ok(rows)
}

/// P4: streams of the longest messages, against `memcpy`.
pub fn long_streams(bench: &mut Bench) -> Outcome<Vec<Row>> {
    bench.open(&XSHM)?;
    bench.open(&COPY)?;
    let subject = Measure::stream(&XSHM, LONGEST);
    let comparisons = bench.compare(Measure::stream(&COPY, LONGEST), &[subject])?;
    let row = |comparison| {
        Row::new("P4", format!("rate, {LONGEST} bytes"), COPY.name, Goal::AtLeast(0.8)).rates(comparison)
    };
    Ok(comparisons.iter().map(row).collect())
}

/// P5: round trips with both sides asleep, against the kernel's signals.
pub fn asleep(bench: &mut Bench) -> Outcome<Vec<Row>> {
    let ours = Row::new("P5", format!("round trip asleep, {SMALL} bytes"), SIGNALS.name, Goal::AtMost(1.15));
    let guarded = Row::new("P5", format!("({})", GUARDED_SIGNALS.name), SIGNALS.name, Goal::None);
    for kind in [&ASLEEP, &SIGNALS, &GUARDED_SIGNALS] {
        bench.open(kind)?;
    }
    let subjects = [Measure::round_trip(&ASLEEP, SMALL), Measure::round_trip(&GUARDED_SIGNALS, 0)];
    let comparisons = bench.compare(Measure::round_trip(&SIGNALS, 0), &subjects)?;
    Ok([ours, guarded].into_iter().zip(&comparisons).map(|(row, comparison)| row.times(comparison)).collect())
}

/// P6: kernel calls, by the counts of both sides.
pub fn kernel_calls(bench: &mut Bench) -> Outcome<Vec<Row>> {
    /// Messages of a burst that find the receiver asleep.
    const BURST: u64 = 100;
    bench.open(&XSHM)?;
    bench.open(&ASLEEP)?;
    let blocks = bench.plan.blocks;

    let before = bench.kernel_calls(&XSHM)?;
    for _ in 0..blocks {
        bench.block(Measure::round_trip(&XSHM, SMALL))?;
        bench.block(Measure::stream(&XSHM, SMALL))?;
    }
    let after = bench.kernel_calls(&XSHM)?;
    let awake = (after[0] - before[0] + after[1] - before[1]) as f64;
    let awake_row = Row::new("P6", "kernel calls while awake", "none expected", Goal::AtMost(0.0))
        .with(Spread::exactly(awake), blocks);

    let before = bench.kernel_calls(&ASLEEP)?;
    for _ in 0..blocks {
        bench.burst(Measure::stream(&ASLEEP, SMALL), BURST)?;
    }
    let after = bench.kernel_calls(&ASLEEP)?;
    let (signals, sleeps) = (after[0] - before[0], after[1] - before[1]);
    let row = Row::new("P6", "signals, receiver asleep", "sleeps", Goal::AtMost(1.0));
    let asleep_row = if sleeps == 0 {
        row.missing("no side ever slept")
    } else {
        let messages = blocks as u64 * BURST;
        row.with(Spread::exactly(signals as f64 / sleeps as f64), blocks)
            .note(format!("{messages} messages, {signals} signals, {sleeps} sleeps"))
    };
    Ok(vec![awake_row, asleep_row])
}

/// P8: how much of the section connecting touches, in KiB.
pub fn connecting(bench: &mut Bench) -> Outcome<Vec<Row>> {
    let row = Row::new("P8", "KiB of the section after connecting", "1 KiB", Goal::AtMost(63.0));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = bench;
        Ok(vec![row.missing("only Linux reports it")])
    }
    #[cfg(target_os = "linux")]
    {
        use crate::side::Job;
        let name = format!("{}-fresh", bench.shared.base);
        let mut server = xshm::SharedServer::start(&name)?;
        bench.process.give(Job::Connect { server: name })?;
        server.wait_for_client(Some(crate::PATIENCE))?;
        bench.process.answer()?;
        let section = i32::try_from(server.section_handle())?;
        // SAFETY: all bit patterns are valid for the structure.
        let mut status: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is the server's, and open; the structure is lent.
        if unsafe { libc::fstat(section, &mut status) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        let touched = status.st_blocks * 512;
        let whole = status.st_size / 1024;
        Ok(vec![row.with(Spread::exactly(touched as f64 / 1024.0), 1).note(format!("of {whole} KiB"))])
    }
}

/// P10: spinning round trips, against a signal for each message, as earlier builds of xshm send it.
pub fn against_signals_for_each(bench: &mut Bench) -> Outcome<Vec<Row>> {
    let row = |against| {
        Row::new("P10", format!("round trip, {SMALL} bytes, spinning"), against, Goal::AtMost(0.01))
    };
    #[cfg(not(windows))]
    {
        let _ = bench;
        Ok(vec![row("an event set for each message").missing("measured only for Windows")])
    }
    #[cfg(windows)]
    {
        let other = &crate::lines::ANNOUNCED;
        bench.open(&XSHM)?;
        bench.open(other)?;
        let subject = Measure::round_trip(&XSHM, SMALL);
        let comparisons = bench.compare(Measure::round_trip(other, 0), &[subject])?;
        Ok(comparisons.iter().map(|comparison| row(other.name).times(comparison)).collect())
    }
}

/// P13: streams of frames that are written and read in place, against `memcpy`.
///
/// In the reference and in ours, the first process copies each frame from its own memory into shared memory with one `memcpy`, and
/// the second process copies it out into its own memory with another. Both use the same private memory, 128 MiB of the same kind
/// of shared memory, and the same places in pages. The processes of the reference wait for nothing except the flag of a slot.
///
/// When the blocks begin, both processes have touched every page: the stream that finds the number of frames in a block does that.
/// The longer frames come first, because only with them that stream goes through the whole ring.
pub fn frames(bench: &mut Bench) -> Outcome<Vec<Row>> {
    const SIZES: [usize; 2] = [FRAME_4K, 8 * 1024 * KILOBYTE];
    /// Blocks in each session: a block takes up to a tenth of a second.
    const BLOCKS: usize = 8;
    bench.open(&IN_PLACE)?;
    bench.open(&LONG_COPY)?;
    let blocks = BLOCKS.min(bench.plan.blocks);
    let mut rows = Vec::new();
    for size in SIZES {
        let subject = Measure::stream(&IN_PLACE, size);
        let comparisons = bench.compare_in(blocks, Measure::stream(&LONG_COPY, size), &[subject])?;
        let row = |comparison| {
            let what = format!("rate, {size} bytes, in place");
            Row::new("P13", what, LONG_COPY.name, Goal::AtLeast(0.95)).rates(comparison)
        };
        rows.extend(comparisons.iter().map(row));
    }
    Ok(rows)
}

/// Round trips and streams against each peer that is available.
pub fn peers(bench: &mut Bench) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for kind in [&XSHM, &ASLEEP] {
        bench.open(kind)?;
    }
    for peer in peers::ALL {
        eprintln!("  {}", peer.name);
        if let Err(error) = bench.open(peer) {
            rows.push(Row::new("peers", "round trips and streams", peer.name, Goal::None).missing(error));
            continue;
        }
        for size in [SMALL, KILOBYTE] {
            // A peer that sleeps in the kernel is also compared with xshm asleep.
            let subjects: &[&Kind] = if peer.sleeps { &[&XSHM, &ASLEEP] } else { &[&XSHM] };
            let measures: Vec<_> = subjects.iter().map(|kind| Measure::round_trip(kind, size)).collect();
            let comparisons = bench.compare(Measure::round_trip(peer, size), &measures)?;
            for (kind, comparison) in subjects.iter().zip(&comparisons) {
                let asleep = if kind.name == ASLEEP.name { " asleep" } else { "" };
                let what = format!("round trip{asleep}, {size} bytes");
                rows.push(Row::new("peers", what, peer.name, Goal::None).times(comparison));
            }
        }
        if peer.sleeps && !peer.in_process {
            bench.open_crowd(&ASLEEP, SMALL)?;
            bench.open_crowd(peer, SMALL)?;
            let subject = Measure::in_turn(&ASLEEP, SMALL);
            for comparison in &bench.compare(Measure::in_turn(peer, SMALL), &[subject])? {
                let what = format!("round trip asleep, {SMALL} bytes, {CROWD} clients in turn");
                rows.push(Row::new("peers", what, peer.name, Goal::None).times(comparison));
            }
        }
        let streamed: &[usize] = if peer.streams { &[SMALL, LONGEST] } else { &[] };
        for &size in streamed {
            let subject = Measure::stream(&XSHM, size);
            let comparisons = bench.compare(Measure::stream(peer, size), &[subject])?;
            for comparison in &comparisons {
                let what = format!("rate, {size} bytes");
                rows.push(Row::new("peers", what, peer.name, Goal::None).rates(comparison));
            }
        }
    }
    Ok(rows)
}
