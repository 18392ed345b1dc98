#!/usr/bin/env bash
# Tests the models: puts one fault at a time into a copy of the code, and expects a model to fail.
#   ci/mutants.sh            all faults
#   ci/mutants.sh NAME ...   only these
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target_dir="$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
wanted=("$@")
configuration="--cfg loom"
caught=0
missed=()

# $1: the fault's name; $2: text that occurs exactly once in the sources; $3: its replacement; the rest: the starts of
# models' names. One of these models must fail.
mutant() {
    local name=$1 from=$2 to=$3 each
    shift 3
    if [ ${#wanted[@]} -gt 0 ]; then
        case " ${wanted[*]} " in *" $name "*) ;; *) return 0 ;; esac
    fi
    rm -rf "$copy/src"
    cp -r Cargo.toml Cargo.lock src "$copy"
    for each in .cargo README.md docs c examples tests; do
        if [ -e "$each" ]; then cp -r "$each" "$copy"; fi
    done
    FROM="$from" TO="$to" perl -0pi -e '
        $found += s/\Q$ENV{FROM}\E/$ENV{TO}/g;
        END { die "ci/mutants.sh: found $found times, not once: $ENV{FROM}\n" unless $found == 1; }
    ' "$copy"/src/*.rs "$copy"/src/ring/*.rs "$copy"/src/channel/*.rs "$copy"/src/background/*.rs "$copy"/src/session/*.rs
    # A fault that does not compile would also make the models' command fail, and so would count as caught.
    if ! (cd "$copy" && RUSTFLAGS="$configuration" CARGO_TARGET_DIR="$target_dir/mutants" \
        cargo test --quiet --locked --release --package xshm --lib --no-run) >"$copy/log" 2>&1; then
        cat "$copy/log" >&2
        echo "ci/mutants.sh: $name does not compile" >&2
        exit 1
    fi
    if (cd "$copy" && RUST_BACKTRACE=0 RUSTFLAGS="$configuration" CARGO_TARGET_DIR="$target_dir/mutants" timeout 600 \
        cargo test --quiet --locked --release --package xshm --lib -- "$@") >"$copy/log" 2>&1; then
        missed+=("$name")
        echo "NOT CAUGHT  $name"
    else
        caught=$((caught + 1))
        echo "caught      $name"
    fi
}

# Long frames.
configuration="--cfg loom --cfg xshm_long_frames"
mutant no-length-of-a-long-frame \
    'self.ring.words.at(place.start().wrapping_add(FRAME_HEADER)).store(place.len as u64, Relaxed);' '' models::push
mutant relaxed-length-of-a-long-frame 'self.ring.words.at(start.wrapping_add(FRAME_HEADER)).load(Acquire)' \
    'self.ring.words.at(start.wrapping_add(FRAME_HEADER)).load(Relaxed)' models::push models::eviction
mutant payload-of-a-long-frame-over-its-length 'self.start().wrapping_add(frame_header(self.len))' \
    'self.start().wrapping_add(FRAME_HEADER)' models::push
configuration="--cfg loom"

# The ring.
mutant no-zeroing 'self.ring.words.at(end).store(0, Relaxed);' '' models::push models::eviction
mutant zeroing-what-is-unread 'self.free(self.read_pos).min(self.zeroing.most)' 'self.zeroing.most' models::eviction models::a_full
mutant no-zeroing-where-the-zeros-end '!is_before(end, self.zeroed)' 'is_before(self.zeroed, end)' \
    models::push models::eviction
mutant zeroed-too-far-at-first 'zeroed: start.wrapping_add(FRAME_ALIGN)' \
    'zeroed: start.wrapping_add(3 * FRAME_ALIGN)' models::push models::eviction
mutant no-free-place 'total + FRAME_ALIGN <=' 'total <=' models::eviction models::a_full
mutant no-free-place-where-it-is-clear 'self.free(self.read_pos) - FRAME_ALIGN;' 'self.free(self.read_pos);' \
    models::eviction models::a_full
mutant relaxed-publication 'words.at(place.at).store(header.0, Release);' \
    'words.at(place.at).store(header.0, Relaxed);' models::push models::a_pad
mutant batch-shown-as-it-is-written 'None => first = Some((place, header)),' \
    'None => { self.ring.words.at(place.at).store(header.0, Relaxed); first = Some((place, header)) }' \
    models::a_batch
mutant zeros-under-a-place-that-is-given-up 'self.zeroed = self.write_pos.wrapping_add(FRAME_ALIGN);' '' \
    models::a_message_written
mutant no-zeroing-after-a-place 'self.zero(place.end());
        let header' 'let header' models::a_message_written
mutant batch-without-a-swap 'self.ring.header().read_pos.compare_exchange(self.read_pos, run.end, SeqCst, Acquire)?;' \
    'if run.count == 1 { self.ring.header().read_pos.compare_exchange(self.read_pos, run.end, SeqCst, Acquire)?; }
        else { self.ring.header().read_pos.store(run.end, SeqCst); }' models::a_batch
mutant delivered-before-the-swap '                            self.jump(read_pos)?;
                            if len' \
    '                            self.jump(read_pos)?;
                            if true { unsafe { to.commit(run.len) }; return Ok(Pop::Message(run.len)); }
                            if len' \
    models::a_batch models::eviction
mutant no-fence-after-eviction 'fence(Release);' '' models::eviction models::a_peek
mutant take-without-release 'compare_exchange(self.read_pos, run.end, SeqCst, Acquire)' \
    'compare_exchange(self.read_pos, run.end, Acquire, Acquire)' models::a_place
mutant relaxed-failure-of-a-take 'compare_exchange(self.read_pos, run.end, SeqCst, Acquire)' \
    'compare_exchange(self.read_pos, run.end, SeqCst, Relaxed)' models::eviction models::a_peek
mutant relaxed-reload 'self.ring.header().read_pos.load(Acquire);
        if read_pos == self.read_pos {' 'self.ring.header().read_pos.load(Relaxed);
        if read_pos == self.read_pos {' models::eviction models::a_peek
mutant size-without-reload 'if self.follow()? {
                            continue;
                        }' '' models::a_reported_size
mutant positions-from-zero '(generation as u64 & 0xffff) << 48' '(generation as u64 & 0) << 48' \
    models::an_old
mutant follow-into-the-next-generation 'FURTHEST_EVICTION: u64 = 1 << 47' \
    'FURTHEST_EVICTION: u64 = 1 << 63' models::an_old

# Wake words and waiting.
mutant no-fence-after-a-store '        // Between (c) and (d).
        fence(Ordering::SeqCst);
' '' models::a_sleeper models::each_sleep models::a_sender_that_sleeps
mutant sleep-without-a-bound-after-a-promise 'self.wait_in_kernel(&[event], deadline, bound)?;' \
    'self.wait_in_kernel(&[event], deadline, None)?;' models::a_sleeper_that_had models::a_sender_that_had
mutant promise-kept 'own.withdraw(bits.awake)?;' '' \
    models::a_sleeper_that_had models::a_sender_that_had
mutant event-loop-that-does-not-wait-after-a-promise 'sleep(left);' 'let _ = left; break;' models::an_event_loop_after
mutant export-that-does-not-wait-after-a-promise 'let _ = self.end_promise(Interest::Data);' '' models::a_native
mutant promise-withdrawn-after-the-look 'let bound = self.withdraw_promise(interest)?;
        self.announce(&[interest], &[event])?;
        fail_point!("sleep.announced");
        let mut found = attempt_again(condition);
' 'self.announce(&[interest], &[event])?;
        fail_point!("sleep.announced");
        let mut found = attempt_again(condition);
        let bound = self.withdraw_promise(interest)?;
' models::a_sleeper_that_had models::a_sender_that_had
mutant store-and-look-of-any-distance '        light_barrier(self.word, bits.awake);
' '' models::a_sleeper_that_had models::a_sender_that_had
mutant look-before-the-store-is-visible 'own.time_has_passed(bits.awake);' '' \
    models::a_sleeper_that_had models::a_sender_that_had
mutant taken-by-a-relaxed-store 'read_pos.store(run.end, Release);' 'read_pos.store(run.end, Relaxed);' \
    models::a_place
mutant acquire-look-of-the-taker '        look_barrier();
' '' models::a_sender_that_sleeps models::a_receiver_whose_wait
mutant acquire-look-of-the-sleeper '        // Between (a) and (b).
        fence(Ordering::SeqCst);
' '' models::a_sleeper models::each_sleep models::a_sender_that_sleeps models::a_receiver_whose_wait
mutant signal-taken-after-the-last-look 'self.announce(&[interest], &[event])?;
        fail_point!("sleep.announced");
        let mut found = attempt_again(condition);
' \
    'self.announce(&[interest], &[])?;
        fail_point!("sleep.announced");
        let mut found = attempt_again(condition);
        event.take_left();
' models::each_sleep
mutant signal-taken-after-the-look-of-an-event-loop \
    'announce(&self.session, Interest::Data)?;
        // The look after the announcement: whatever is published from now on is signalled.
        let there = self.consumer.peek().map_err(|what| self.session.corrupted(what))?;
' \
    'self.session.announce_sleep(&[Interest::Data], &[])?;
        // The look after the announcement: whatever is published from now on is signalled.
        let there = self.consumer.peek().map_err(|what| self.session.corrupted(what))?;
        self.session.event(Interest::Data).unwrap().take_left();
' models::an_event_loop
mutant bit-cleared-by-a-store 'let before = self.change(|bits| bits & !bit)?;' \
    'let before = bits; self.word.store(u64::from(self.generation) << 32 | u64::from(bits & !bit), Ordering::SeqCst);' \
    models::two models::each_sleep
mutant all-bits-cleared 'let before = self.change(|bits| bits & !bit)?;' 'let before = self.change(|_| 0)?;' \
    models::two
mutant no-second-look 'let mut found = attempt_again(condition);' \
    'let mut found: Result<Polled<C::Found>> = Ok(Polled::Nothing);' models::a_sleeper
mutant no-last-look 'return match attempt_again(&mut condition)? {
                    Polled::Found(found) => Ok(found),
                    _ => Err(over),
                };' 'return Err(over);' models::messages_sent models::a_receiver_that_never
mutant no-last-look-without-waiting \
    'take(&self.session, &mut self.consumer, to)?.ok_or(over)' 'Err(over)' models::a_receiver_that_never
mutant export-without-a-signal '        self.signal_native_waiters();
        let [s2c' '        let [s2c' models::a_native
mutant leaving-wakes-no-sender 'events.space(self.side.receives()).set();' '' models::both_halves
mutant leaving-wakes-no-receiver 'events.data(self.side.sends()).set();
            events.space' 'events.space' models::both_halves models::messages_sent models::a_receiver_that_never

# The handshake, and successive sessions.
mutant generation-as-acceptance 'if word == ready || word == standing.in_state(ClientState::Ended) {' \
    'if channel.view.control().generation.load(Ordering::Acquire) != 0 {' models::of_two models::a_withdrawal
mutant no-request '                channel.signal(Events::request);
                fail_point!("connect.requested");' '' models::a_client
mutant rings-reset-under-a-call '        release();
        match ExclusiveRings::after(session) {' '        drop(session);
        let _ = release;
        match Ok::<ExclusiveRings, Arc<Session>>(ExclusiveRings::unused()) {' models::a_receive_beside models::a_send_beside
mutant halves-kept-while-accepting '        release();
        match ExclusiveRings' '        let _ = &release;
        match ExclusiveRings' models::a_receive_beside models::a_send_beside
mutant reset-undoes-a-stop \
    'self.state.compare_exchange(INTERRUPTED, RUNNING, Ordering::AcqRel, Ordering::Acquire);' \
    'Ok::<u32, u32>(self.state.swap(RUNNING, Ordering::AcqRel));' models::a_reset
mutant interrupt-event-not-settled 'if now == is_set {' 'if now == is_set || !now || now {' \
    models::a_reset models::interrupts
mutant queue-waits-for-no-room '(!self.queue.is_empty() || self.refused_len.is_some())' \
    'self.refused_len.is_some()' models::an_auto

echo "$caught caught, ${#missed[@]} not caught"
[ ${#missed[@]} -eq 0 ]
