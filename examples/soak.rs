//! Runs all kinds of channels at the same time, for as long as you like: messages of random sizes at random rates, and
//! processes that connect, leave and are killed. At the end it accounts for every message.
//!
//! ```text
//! cargo run --release --example soak -- 1      for one minute
//! ```
//!
//! It prints a table every ten seconds. The exit code is 0 if no message was duplicated, torn, out of order or lost by
//! mistake, and if the memory, handles and threads of this process, which has all servers, did not grow.
//!
//! The sender numbers the messages of a session and marks the last one. So the receiver knows which messages it should have
//! received. If the sender was killed, the receiver checks the messages up to the last one that came.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xshm::{
    AutoClient, AutoHandler, AutoOptions, AutoServer, ChannelKind, MultiClient, MultiClientHandler,
    MultiClientOptions, MultiHandler, MultiOptions, MultiServer, ReceiveHalf, SendHalf, ServerOptions,
    SharedClient, SharedServer, ShmError,
};

const KINDS: [&str; 4] = ["lossless", "evicting", "auto", "multi"];
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

// ------------------------------------------------------------------------------------------------------- messages

/// A small pseudo-random generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }

    /// A random size of a message: mostly short, sometimes long.
    fn size(&mut self) -> usize {
        match self.below(100) {
            0 => 24 + self.below(60_000) as usize,
            1..=20 => 24 + self.below(3000) as usize,
            _ => 24 + self.below(100) as usize,
        }
    }
}

fn write_message(buffer: &mut Vec<u8>, session: u64, number: u64, last: bool, size: usize) {
    buffer.clear();
    buffer.extend_from_slice(&session.to_le_bytes());
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.extend_from_slice(&u64::from(last).to_le_bytes());
    let pattern = session ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    buffer.extend((24..size.max(24)).map(|at| (pattern >> (at % 8 * 8)) as u8 ^ at as u8));
}

/// Returns the session, the number, and whether the message is the last one. `None`: the message is torn.
fn read_message(bytes: &[u8]) -> Option<(u64, u64, bool)> {
    thread_local! {
        static EXPECTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (session, number, last) = (word(0)?, word(8)?, word(16)?);
    let whole = EXPECTED.with(|expected| {
        let mut expected = expected.borrow_mut();
        write_message(&mut expected, session, number, last == 1, bytes.len());
        expected.as_slice() == bytes
    });
    whole.then_some((session, number, last == 1))
}

/// The counts of one kind of channel, in one direction.
#[derive(Default)]
struct Account {
    sessions: AtomicU64,
    complete: AtomicU64,
    received: AtomicU64,
    /// Evicted messages, as the channel counts them.
    dropped: AtomicU64,
    duplicated: AtomicU64,
    out_of_order: AtomicU64,
    torn: AtomicU64,
    lost: AtomicU64,
    kills: AtomicU64,
}

impl Account {
    fn faults(&self) -> u64 {
        [&self.duplicated, &self.out_of_order, &self.torn, &self.lost]
            .iter()
            .map(|count| count.load(Relaxed))
            .sum()
    }

    fn line(&self, name: &str) -> String {
        let get = |count: &AtomicU64| count.load(Relaxed);
        format!(
            "{name:<22}{:>9}{:>9}{:>7}{:>12}{:>11}{:>6}{:>6}{:>6}{:>6}",
            get(&self.sessions),
            get(&self.complete),
            get(&self.kills),
            get(&self.received),
            get(&self.dropped),
            get(&self.duplicated),
            get(&self.out_of_order),
            get(&self.torn),
            get(&self.lost),
        )
    }
}

/// Checks the messages of one session as they come.
struct Ledger {
    evicts: bool,
    next: u64,
    gaps: u64,
    complete: bool,
}

impl Ledger {
    fn new(evicts: bool, account: &Account) -> Self {
        account.sessions.fetch_add(1, Relaxed);
        Ledger { evicts, next: 0, gaps: 0, complete: false }
    }

    fn note(&mut self, number: u64, last: bool, account: &Account) {
        account.received.fetch_add(1, Relaxed);
        if number + 1 == self.next {
            account.duplicated.fetch_add(1, Relaxed);
        } else if number < self.next {
            account.out_of_order.fetch_add(1, Relaxed);
        } else {
            self.gaps += number - self.next;
            self.next = number + 1;
        }
        self.complete |= last;
    }

    /// Adds the session to the account. `dropped`: the number of evicted messages, as the channel counts them.
    fn close(&self, dropped: u64, account: &Account) {
        if self.complete {
            account.complete.fetch_add(1, Relaxed);
        }
        account.dropped.fetch_add(dropped, Relaxed);
        // The channel reports every gap. A channel that does not evict has none.
        let allowed = if self.evicts { dropped } else { 0 };
        account.lost.fetch_add(self.gaps.abs_diff(allowed), Relaxed);
    }
}

// ------------------------------------------------------------------------------------------------------ both sides

/// Sends numbered messages until `stop` is set or the session is over.
fn send_all(sender: &mut SendHalf, session: u64, evicts: bool, stop: &AtomicBool) -> Result<(), ShmError> {
    let (mut random, mut buffer, mut number) = (Random(session | 1), Vec::new(), 0);
    loop {
        let last = stop.load(Relaxed);
        write_message(&mut buffer, session, number, last, random.size());
        if evicts {
            sender.send(&buffer)?;
        } else {
            sender.send_timeout(&buffer, PATIENCE)?;
        }
        number += 1;
        if last {
            return Ok(());
        }
        match random.below(2000) {
            0 => thread::sleep(Duration::from_millis(random.below(20))),
            1..=20 => thread::yield_now(),
            _ => {}
        }
    }
}

/// Receives until the session is over, or the last message has come.
fn receive_all(receiver: &mut ReceiveHalf, evicts: bool, account: &Account) -> Option<ShmError> {
    let (mut ledger, mut buffer) = (Ledger::new(evicts, account), Vec::new());
    let mut random = Random(0x1234_5678_9abc_def1);
    let end = loop {
        match receiver.receive(&mut buffer) {
            Ok(_) => match read_message(&buffer) {
                Some((_, number, last)) => ledger.note(number, last, account),
                None => drop(account.torn.fetch_add(1, Relaxed)),
            },
            Err(ShmError::NotReady) => continue,
            Err(error) => break Some(error),
        }
        if ledger.complete {
            break None;
        }
        if evicts && random.below(3000) == 0 {
            thread::sleep(Duration::from_millis(random.below(5)));
        }
    };
    ledger.close(receiver.stats().receive_dropped, account);
    end
}

/// A session number that no other session has, not even one of an earlier process with the same id.
fn fresh_session() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let own = LAST.fetch_update(Relaxed, Relaxed, |last| Some(now.max(last + 1))).unwrap_or_default();
    now.max(own + 1) << 12 | u64::from(std::process::id()) & 0xfff
}

// ----------------------------------------------------------------------------------------------------- the servers

/// The accounts of one kind of channel: the messages to the server, and the clients that found faults.
#[derive(Default)]
struct Book {
    inward: Account,
    /// Clients that found a fault in the messages from the server.
    client_faults: AtomicU64,
}

fn serve_halves(name: &str, evicts: bool, book: &Book, over: &AtomicBool) {
    let options = if evicts { ServerOptions::new().message_limit(64) } else { ServerOptions::new() };
    let mut server: SharedServer = options.start(name).expect("the name is free");
    while !over.load(Relaxed) {
        if server.wait_for_client(Some(Duration::from_millis(100))).is_err() {
            continue;
        }
        let Ok((sender, receiver)) = server.split() else { continue };
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let sending = scope.spawn(|| send_all(sender, fresh_session(), evicts, &stop));
            receive_all(receiver, evicts, &book.inward);
            stop.store(true, Relaxed);
            let _ = sending.join();
        });
    }
}

/// A handler that keeps the ledgers of many senders, by session.
struct Desk {
    book: Arc<Book>,
    ledgers: Mutex<HashMap<u64, Ledger>>,
    server: OnceLock<MultiServer>,
}

impl Desk {
    fn new(book: Arc<Book>) -> Arc<Self> {
        Arc::new(Desk { book, ledgers: Mutex::default(), server: OnceLock::new() })
    }

    fn note(&self, bytes: &[u8]) {
        let Some((session, number, last)) = read_message(bytes) else {
            self.book.inward.torn.fetch_add(1, Relaxed);
            return;
        };
        let mut ledgers = self.ledgers.lock().unwrap();
        let ledger = ledgers.entry(session).or_insert_with(|| Ledger::new(false, &self.book.inward));
        ledger.note(number, last, &self.book.inward);
        if last {
            ledger.close(0, &self.book.inward);
            ledgers.remove(&session);
        }
    }

    /// Closes the ledgers that are left: those of sessions whose process was killed.
    fn close(&self) {
        for (_, ledger) in self.ledgers.lock().unwrap().drain() {
            ledger.close(0, &self.book.inward);
        }
    }
}

impl AutoHandler for Desk {
    fn on_message(&self, _: ChannelKind, payload: &[u8]) {
        self.note(payload);
    }
}

impl MultiHandler for Desk {
    fn on_message(&self, client_id: u32, data: &[u8]) {
        self.note(data);
        if let Some(server) = self.server.get() {
            // Sends the message back if there is room. The client checks that it is its own.
            let _ = server.try_send_to(client_id, data);
        }
    }
}

// ----------------------------------------------------------------------------------------------------- the clients

/// A client process: works until its input ends, then leaves. The exit code is 0 if it found no fault.
fn client(kind: &str, name: &str) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    let until = stop.clone();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        until.store(true, Relaxed);
    });
    let account = Arc::new(Account::default());
    let outcome = match kind {
        "lossless" | "evicting" => talk(name, kind == "evicting", &account, &stop),
        "auto" => talk_auto(name, &account, &stop),
        _ => talk_many(name, &account, &stop),
    };
    match outcome {
        Ok(())
        | Err(
            ShmError::NotConnected
            | ShmError::AlreadyConnected
            | ShmError::Timeout
            | ShmError::NoServer { .. }
            | ShmError::NotAccepting { .. },
        ) if account.faults() == 0 => ExitCode::SUCCESS,
        other => {
            eprintln!("a client of the kind {kind}: {other:?}\n{}", account.line("received"));
            ExitCode::FAILURE
        }
    }
}

fn talk(name: &str, evicts: bool, account: &Account, stop: &AtomicBool) -> Result<(), ShmError> {
    let mut client = SharedClient::connect(name, Duration::from_secs(20))?;
    let (sender, receiver) = client.split()?;
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive_all(receiver, evicts, account));
        let sent = send_all(sender, fresh_session(), evicts, stop);
        // The server sends its last message after it has received ours.
        match receiving.join().expect("no panic") {
            None | Some(ShmError::NotConnected) => sent,
            Some(error) => Err(error),
        }
    })
}

struct Own {
    account: Arc<Account>,
    ledger: Mutex<Ledger>,
    session: u64,
}

impl Own {
    fn note(&self, bytes: &[u8]) {
        // Echoes may be missing, but must never belong to another session.
        match read_message(bytes) {
            Some((session, number, last)) if session == self.session => {
                self.ledger.lock().unwrap().note(number, last, &self.account)
            }
            _ => drop(self.account.torn.fetch_add(1, Relaxed)),
        }
    }
}

impl MultiClientHandler for Own {
    fn on_message(&self, data: &[u8]) {
        self.note(data);
    }
}

impl AutoHandler for Own {}

fn talk_auto(name: &str, account: &Arc<Account>, stop: &AtomicBool) -> Result<(), ShmError> {
    let session = fresh_session();
    let ledger = Mutex::new(Ledger::new(true, account));
    let own = Arc::new(Own { account: account.clone(), ledger, session });
    let client = AutoClient::connect(
        name,
        own,
        AutoOptions { connect_timeout: Duration::from_secs(20), ..Default::default() },
    )?;
    send_numbered(session, stop, |message| client.send_timeout(message, PATIENCE))?;
    client.stop();
    Ok(())
}

fn talk_many(name: &str, account: &Arc<Account>, stop: &AtomicBool) -> Result<(), ShmError> {
    let mut random = Random(u64::from(std::process::id()) << 20 | 1);
    while !stop.load(Relaxed) {
        let session = fresh_session();
        let ledger = Mutex::new(Ledger::new(true, account));
        let own = Arc::new(Own { account: account.clone(), ledger, session });
        let options =
            MultiClientOptions { lobby_timeout: Duration::from_secs(20), ..MultiClientOptions::default() };
        let client = match MultiClient::connect(name, own, options) {
            Ok(client) => client,
            Err(ShmError::NoFreeSlot) => {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            Err(error) => return Err(error),
        };
        let ends = Instant::now() + Duration::from_millis(random.below(1500));
        let enough = AtomicBool::new(false);
        send_numbered(session, &enough, |message| {
            enough.store(stop.load(Relaxed) || Instant::now() >= ends, Relaxed);
            client.send_timeout(message, PATIENCE)
        })?;
        client.stop();
    }
    Ok(())
}

/// Sends numbered messages until `stop` is set, then the last one.
fn send_numbered(
    session: u64, stop: &AtomicBool, mut send: impl FnMut(&[u8]) -> Result<(), ShmError>,
) -> Result<(), ShmError> {
    let (mut random, mut buffer, mut number) = (Random(session | 1), Vec::new(), 0);
    loop {
        let last = stop.load(Relaxed);
        write_message(&mut buffer, session, number, last, random.size().min(20_000));
        send(&buffer)?;
        number += 1;
        if last {
            return Ok(());
        }
        if random.below(500) == 0 {
            thread::sleep(Duration::from_millis(random.below(10)));
        }
    }
}

// ------------------------------------------------------------------------------------------------------ the keeper

/// Starts one client process of a kind after the other. Each works for a while, and then leaves or is killed.
fn keep(kind: &'static str, name: &str, book: &Book, over: &AtomicBool, seed: u64) {
    let mut random = Random(seed);
    let program = std::env::current_exe().expect("the program's path is known");
    while !over.load(Relaxed) {
        let started = Command::new(&program).args(["client", kind, name]).stdin(Stdio::piped()).spawn();
        let mut child: Child = started.expect("the program can be started again");
        let until = Instant::now() + Duration::from_millis(100 + random.below(3000));
        while Instant::now() < until && !over.load(Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        if random.below(2) == 0 && !over.load(Relaxed) {
            child.kill().expect("it can be killed");
            book.inward.kills.fetch_add(1, Relaxed);
            let _ = child.wait();
            continue;
        }
        drop(child.stdin.take());
        let end = Instant::now() + Duration::from_secs(90);
        let status = loop {
            match child.try_wait().expect("it can be waited for") {
                Some(status) => break status.success(),
                None if Instant::now() > end => {
                    eprintln!("a client of the kind {kind} does not end");
                    let _ = child.kill();
                    let _ = child.wait();
                    break false;
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        if !status {
            book.client_faults.fetch_add(1, Relaxed);
        }
    }
}

/// Resident memory in KiB, handles or descriptors, and threads of this process. 0: not measured on this system.
#[derive(Clone, Copy)]
struct Usage {
    memory: u64,
    handles: u64,
    threads: u64,
}

#[cfg(target_os = "linux")]
fn usage() -> Usage {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let handles = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    Usage { memory: field("VmRSS:"), handles, threads: field("Threads:") }
}

#[cfg(windows)]
fn usage() -> Usage {
    use std::ffi::c_void;
    use std::mem::{size_of, zeroed};

    /// PROCESS_MEMORY_COUNTERS.
    #[repr(C)]
    struct Memory {
        size: u32,
        page_faults: u32,
        peak_working_set: usize,
        working_set: usize,
        others: [usize; 6],
    }

    /// THREADENTRY32.
    #[repr(C)]
    struct Thread {
        size: u32,
        usage: u32,
        id: u32,
        process: u32,
        priorities: [i32; 2],
        flags: u32,
    }

    const TH32CS_SNAPTHREAD: u32 = 4;

    #[link(name = "kernel32")]
    extern "system" {
        fn GetCurrentProcess() -> *mut c_void;
        fn GetProcessHandleCount(process: *mut c_void, count: *mut u32) -> i32;
        fn K32GetProcessMemoryInfo(process: *mut c_void, counters: *mut Memory, size: u32) -> i32;
        fn CreateToolhelp32Snapshot(what: u32, process: u32) -> *mut c_void;
        fn Thread32First(snapshot: *mut c_void, entry: *mut Thread) -> i32;
        fn Thread32Next(snapshot: *mut c_void, entry: *mut Thread) -> i32;
        fn CloseHandle(handle: *mut c_void) -> i32;
    }

    let (mut handles, mut threads) = (0, 0);
    // SAFETY: all zeros are valid for both structures, which hold numbers; their sizes are given as required, the
    // pseudo-handle is this process's, the snapshot is closed once, and if it could not be made (-1), its calls fail.
    let memory = unsafe {
        let mut memory: Memory = zeroed();
        let mut entry: Thread = zeroed();
        entry.size = size_of::<Thread>() as u32;
        GetProcessHandleCount(GetCurrentProcess(), &mut handles);
        K32GetProcessMemoryInfo(GetCurrentProcess(), &mut memory, size_of::<Memory>() as u32);
        let snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        let mut more = Thread32First(snapshot, &mut entry);
        while more != 0 {
            threads += u64::from(entry.process == std::process::id());
            more = Thread32Next(snapshot, &mut entry);
        }
        CloseHandle(snapshot);
        memory.working_set as u64 / 1024
    };
    Usage { memory, handles: handles.into(), threads }
}

fn table(books: &[Arc<Book>], begun: Instant, usage: Usage) {
    println!(
        "\n{:>4} s  memory {} KiB, handles {}, threads {}",
        begun.elapsed().as_secs(),
        usage.memory,
        usage.handles,
        usage.threads
    );
    println!(
        "{:<22}{:>9}{:>9}{:>7}{:>12}{:>11}{:>6}{:>6}{:>6}{:>6}",
        "kind", "sessions", "complete", "kills", "received", "dropped", "dup", "order", "torn", "lost"
    );
    for (kind, book) in KINDS.iter().zip(books) {
        println!("{}  client faults {}", book.inward.line(kind), book.client_faults.load(Relaxed));
    }
}

fn soak(minutes: f64) -> ExitCode {
    let begun = Instant::now();
    let time = Duration::from_secs_f64(minutes * 60.0);
    let run = format!("soak-{}", std::process::id());
    let name = |kind: &str| format!("{run}-{kind}");
    let books: Vec<Arc<Book>> = KINDS.iter().map(|_| Arc::default()).collect();
    // Servers run until their clients have ended.
    let (over, servers_over) = (AtomicBool::new(false), AtomicBool::new(false));

    let auto_desk = Desk::new(books[2].clone());
    let auto = AutoServer::start(&name("auto"), auto_desk.clone(), AutoOptions::default())
        .expect("the name is free");
    let multi_desk = Desk::new(books[3].clone());
    let multi = ServerOptions::new()
        .ring_size(256 * 1024)
        .start_multi(
            &name("multi"),
            multi_desk.clone(),
            MultiOptions { max_clients: 10, ..MultiOptions::default() },
        )
        .expect("the name is free");
    assert!(multi_desk.server.set(multi).is_ok());

    let (first, last) = thread::scope(|scope| {
        let serving: Vec<_> = (0..2)
            .map(|at| {
                let (book, name, over) = (&books[at], name(KINDS[at]), &servers_over);
                scope.spawn(move || serve_halves(&name, at == 1, book, over))
            })
            .collect();
        let mut keepers = Vec::new();
        for (at, &kind) in KINDS.iter().enumerate() {
            for each in 0..if kind == "multi" { 4 } else { 1 } {
                let (book, name, over) = (&books[at], name(kind), &over);
                let seed = 0x9e37_79b9_7f4a_7c15 ^ (at as u64) << 8 ^ each;
                keepers.push(scope.spawn(move || keep(kind, &name, book, over, seed)));
            }
        }
        // By then the process has all handles and threads that it keeps.
        let warm = time.mul_f64(0.2).min(Duration::from_secs(60));
        let (mut first, mut next) = (None, Duration::ZERO);
        while begun.elapsed() < time {
            thread::sleep(Duration::from_millis(100));
            if first.is_none() && begun.elapsed() >= warm {
                first = Some(usage());
            }
            if begun.elapsed() >= next {
                next += Duration::from_secs(10);
                table(&books, begun, usage());
            }
        }
        let last = usage();
        over.store(true, Relaxed);
        keepers.into_iter().for_each(|keeper| keeper.join().expect("no panic"));
        servers_over.store(true, Relaxed);
        serving.into_iter().for_each(|server| server.join().expect("no panic"));
        (first.unwrap_or(last), last)
    });
    auto.stop();
    multi_desk.server.get().expect("it was started").stop();
    auto_desk.close();
    multi_desk.close();
    table(&books, begun, last);

    let faults: u64 = books.iter().map(|book| book.inward.faults() + book.client_faults.load(Relaxed)).sum();
    // Rings take memory as they fill, at most 2 x 2 MiB for each channel. Handles come and go with sessions.
    let steady = last.memory <= first.memory + 40 * 1024
        && last.handles <= first.handles + 150
        && last.threads <= first.threads + 10;
    let moved = books.iter().all(|book| book.inward.received.load(Relaxed) > 0);
    println!("\n{faults} faults; {}", if steady { "memory, handles and threads are steady" } else { "GREW" });
    ExitCode::from(u8::from(faults > 0 || !steady || !moved))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["client", kind, name] => client(kind, name),
        [minutes] => match minutes.parse::<f64>() {
            Ok(minutes) if minutes > 0.0 && minutes < 1e6 => soak(minutes),
            _ => usage_error(),
        },
        _ => usage_error(),
    }
}

fn usage_error() -> ExitCode {
    eprintln!("usage: soak MINUTES");
    ExitCode::from(2)
}
