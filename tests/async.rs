//! Async endpoints: each runtime, dropped futures, peers that die, and what idle endpoints cost.

mod common;

use common::*;
use std::future::{poll_fn, Future};
use std::io::Write;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use xshm::{AsyncClient, AsyncReceiveHalf, AsyncSendHalf, AsyncServer, SharedServer, ShmError};

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn peer_process() {
    serve();
}

// ------------------------------------------------------------------------------------------------------ runtimes

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest runtime: the thread parks until it is woken. Fails if nothing wakes it in time.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    block_on_as(&Arc::new(Unpark(thread::current())), future)
}

/// As `block_on`, for a task whose waker is given.
fn block_on_as<T>(task: &Arc<Unpark>, future: impl Future<Output = T>) -> T {
    let waker = Waker::from(task.clone());
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    let start = Instant::now();
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        thread::park_timeout(LIMIT);
        assert!(start.elapsed() < 3 * LIMIT, "the task was not woken");
    }
}

/// Runs a task on each kind of runtime.
fn on_each_runtime<F: Future<Output = ()> + Send + 'static>(task: impl Fn() -> F) {
    let limited =
        |task: F| async { tokio::time::timeout(LIMIT, task).await.expect("the task was not woken") };
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    single.block_on(limited(task()));
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let spawned = multi.spawn(limited(task()));
    multi.block_on(spawned).unwrap();
    smol::block_on(smol::spawn(task()));
    block_on(task());
}

/// Polls a future once, and drops it.
async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Small numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A client in this process whose server is another one. The server accepts one client.
async fn client_of_peer(name: &str, peer: &mut Peer) -> AsyncClient {
    peer.tell("accept 20000");
    let client = AsyncClient::connect(name).await.unwrap();
    assert_eq!(peer.answer(), "ok");
    client
}

// --------------------------------------------------------------------------------------------------------- tests

#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let mut server = AsyncServer::start(&unique("async-send")).unwrap();
    is_send(&server);
    is_send(&server.accept());
    is_send(&server.send(b"no"));
    is_send(&server.receive(&mut Vec::new()));
    is_send(&AsyncClient::connect("no-server-is-here"));
    fn halves_are_send<T: xshm::Split>() {
        fn check<T: Send>() {}
        check::<(AsyncSendHalf<T>, AsyncReceiveHalf<T>)>();
    }
    halves_are_send::<SharedServer>();
}

#[test]
fn each_runtime_carries_a_conversation_with_another_process() {
    on_each_runtime(|| async {
        let name = unique("async-talk");
        let mut server = AsyncServer::start(&name).unwrap();
        let mut peer = Peer::start();
        let mut buffer = Vec::new();
        for round in 0..3 {
            peer.tell(&format!("connect {name} 20000"));
            server.accept().await.unwrap();
            assert_eq!(peer.answer(), "ok");
            assert_eq!(server.peer().unwrap().process_id, peer.id());
            peer.tell("rounds 500");
            for sequence in 0..500 {
                assert_eq!(server.receive(&mut buffer).await, Ok(64));
                assert_eq!(check_message(&buffer), sequence, "round {round}");
                server.send(&buffer).await.unwrap();
            }
            assert_eq!(peer.answer(), "ok");
            assert_eq!(server.accept().await, Err(ShmError::AlreadyConnected));
            peer.tell("leave");
            assert_eq!(server.receive(&mut buffer).await, Err(ShmError::NotConnected));
            assert_eq!(peer.answer(), "ok");
        }
        drop(server);
        peer.must(&format!("start {name}"));
        let mut client = client_of_peer(&name, &mut peer).await;
        peer.tell("rounds 500");
        for sequence in 0..500 {
            assert_eq!(client.receive(&mut buffer).await, Ok(64));
            assert_eq!(check_message(&buffer), sequence);
            client.send(&buffer).await.unwrap();
        }
        assert_eq!(peer.answer(), "ok");
        let (mut sender, mut receiver) = client.into_split().unwrap();
        peer.tell("rounds 1");
        receiver.receive(&mut buffer).await.unwrap();
        sender.send(&buffer).await.unwrap();
        assert_eq!(peer.answer(), "ok");
        drop((sender, receiver));
        assert_eq!(peer.ask("poll 10000"), "err NotConnected");
    });
}

/// Receives `count` messages, of which each comes once although futures are dropped all the time.
async fn receive_all(client: &mut AsyncClient, count: u64, random: &mut Random) {
    let mut buffer = Vec::new();
    for sequence in 0..count {
        loop {
            let received = match random.below(8) {
                0..=2 => poll_once(client.receive(&mut buffer)).await,
                3 => {
                    smol::future::or(async { Some(client.receive(&mut buffer).await) }, async { None }).await
                }
                _ => Some(client.receive(&mut buffer).await),
            };
            if let Some(received) = received {
                assert_eq!(received, Ok(40));
                break;
            }
        }
        assert_eq!(check_message(&buffer), sequence, "lost or twice");
    }
}

async fn send_all(client: &mut AsyncClient, count: u64, random: &mut Random) {
    for sequence in 0..count {
        let message = message(sequence, 40);
        loop {
            let sent = match random.below(8) {
                0..=2 => poll_once(client.send(&message)).await,
                3 => smol::future::or(async { Some(client.send(&message).await) }, async { None }).await,
                _ => Some(client.send(&message).await),
            };
            if let Some(sent) = sent {
                sent.unwrap();
                break;
            }
        }
    }
}

#[test]
fn dropped_futures_lose_no_message_and_repeat_none() {
    // On four runtimes.
    let count = 200_000 / 4 * if long() { 10 } else { 1 };
    on_each_runtime(|| async move {
        let name = unique("async-drop");
        let mut peer = Peer::start();
        peer.must(&format!("start {name} 4096 5"));
        let mut client = client_of_peer(&name, &mut peer).await;
        let mut random = Random(count);
        peer.tell(&format!("send wait 0 {count} 40"));
        receive_all(&mut client, count, &mut random).await;
        assert!(peer.answer().starts_with("ok"));
        peer.tell(&format!("take {}", count - 1));
        send_all(&mut client, count, &mut random).await;
        assert_eq!(peer.answer(), format!("ok {count}"));
    });
}

#[test]
fn dropped_accepts_and_connects_leave_nothing_behind() {
    on_each_runtime(|| async {
        let name = unique("async-drop-connect");
        let mut server = AsyncServer::start(&name).unwrap();
        let mut random = Random(7);
        let mut buffer = Vec::new();
        for round in 0..60_u64 {
            // Some connects are dropped after some steps, at which the server accepts or does not.
            for _ in 0..random.below(3) {
                let mut connecting = pin!(AsyncClient::connect(&name));
                for _ in 0..random.below(5) {
                    if poll_once(connecting.as_mut()).await.is_some() {
                        break;
                    }
                    if random.below(2) == 0 {
                        let _ = poll_once(server.accept()).await;
                    }
                }
            }
            let connecting = async {
                loop {
                    match random.below(2) {
                        0 => {
                            let mut connecting = pin!(AsyncClient::connect(&name));
                            let steps = random.below(4);
                            for _ in 0..steps {
                                if let Some(client) = poll_once(connecting.as_mut()).await {
                                    return client.unwrap();
                                }
                                smol::future::yield_now().await;
                            }
                        }
                        _ => return AsyncClient::connect(&name).await.unwrap(),
                    }
                }
            };
            let both = async {
                let (mut client, ()) = smol::future::zip(connecting, async {}).await;
                client.send(&message(round, 64)).await.unwrap();
                client
            };
            let serving = async {
                // A dropped connect may have had a session.
                loop {
                    match server.accept().await {
                        Ok(()) => {}
                        Err(ShmError::AlreadyConnected) => {}
                        Err(error) => panic!("round {round}: {error}"),
                    }
                    match server.receive(&mut buffer).await {
                        Ok(_) => return check_message(&buffer),
                        Err(ShmError::NotConnected) => {}
                        Err(error) => panic!("round {round}: {error}"),
                    }
                }
            };
            let (client, received) = smol::future::zip(both, serving).await;
            assert_eq!(received, round);
            drop(client);
            let left = server.receive(&mut buffer).await;
            assert_eq!(left, Err(ShmError::NotConnected), "round {round}");
        }
    });
}

#[test]
fn a_task_that_waits_finds_the_death_of_its_peer() {
    on_each_runtime(|| async {
        for sends in [false, true] {
            let name = unique("async-death");
            let mut peer = Peer::start();
            peer.must(&format!("start {name} 4096 2"));
            let mut client = client_of_peer(&name, &mut peer).await;
            let killer = |mut peer: Peer| {
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(50));
                    peer.kill();
                    Instant::now()
                })
            };
            let killed;
            let error = if sends {
                client.send(b"one").await.unwrap();
                client.send(b"two").await.unwrap();
                killed = killer(peer);
                client.send(b"three").await.unwrap_err()
            } else {
                killed = killer(peer);
                client.receive(&mut Vec::new()).await.unwrap_err()
            };
            let at = killed.join().unwrap();
            assert!(matches!(error, ShmError::PeerDied { .. }), "{error:?}");
            assert!(at.elapsed() < Duration::from_millis(500), "{:?}", at.elapsed());
        }
    });
}

/// A half that finds the session broken wakes the task that waits with the other half.
#[cfg(unix)]
#[test]
fn the_end_that_one_half_finds_wakes_the_other() {
    let name = unique("async-both");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    let (mut sender, mut receiver) = AsyncServer::from_shared(server).unwrap().into_split().unwrap();
    let receiving = thread::spawn(move || block_on(async { receiver.receive(&mut Vec::new()).await }));
    let memory = raw::RawSection::open(&name);
    // The read position of the first ring, which the client writes.
    memory.word64(72).store(12345, Ordering::SeqCst);
    let error = loop {
        if let Err(error) = sender.try_send(&[0; 60_000]) {
            if error != ShmError::QueueFull {
                break error;
            }
        }
    };
    assert_eq!(error, ShmError::Corrupted);
    assert_eq!(receiving.join().unwrap(), Err(ShmError::Corrupted));
}

/// A waker that panics ends neither the thread that calls it nor other tasks, whatever the panic's value does when it is
/// dropped.
#[test]
fn a_waker_that_panics_harms_no_other_task() {
    struct Panics {
        has_panicked: AtomicBool,
        value: fn(),
    }
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.has_panicked.store(true, Ordering::SeqCst);
            (self.value)();
        }
    }
    struct PanicsAgain;
    impl Drop for PanicsAgain {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("the value of a panic of the test");
            }
        }
    }
    let name = unique("async-panic");
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    let mut client = block_on(client_of_peer(&name, &mut peer));
    let mut buffer = Vec::new();
    for value in [(|| panic!("a waker of the test")) as fn(), || std::panic::panic_any(PanicsAgain)] {
        let panics = Arc::new(Panics { has_panicked: AtomicBool::new(false), value });
        let waker = Waker::from(panics.clone());
        assert!(client.poll_receive(&mut Context::from_waker(&waker), &mut buffer).is_pending());
        peer.must("send over 0 1 40");
        let start = Instant::now();
        while !panics.has_panicked.load(Ordering::SeqCst) {
            assert!(start.elapsed() < LIMIT, "the waker was not called");
            thread::yield_now();
        }
        assert_eq!(block_on(client.receive(&mut buffer)), Ok(40));
    }
    for sequence in 1..20 {
        let received = block_on(async {
            let mut received = pin!(client.receive(&mut buffer));
            poll_fn(|context| {
                assert!(received.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            peer.tell(&format!("send over {sequence} 1 40"));
            received.await
        });
        assert_eq!(received, Ok(40));
        assert_eq!(peer.answer(), "ok 0");
    }
}

/// Whether this process runs one test alone, since the endpoints of other tests would disturb it. Otherwise starts a process that
/// does, and checks its result.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "XSHM_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let status = command.args([test, "--exact", "--nocapture"]).env(ALONE, "1").status();
    assert!(status.unwrap().success(), "{test}");
    false
}

/// A sandbox that refuses to wait for an `epoll` fails calls, and lets no task sleep for ever.
#[cfg(target_os = "linux")]
#[test]
fn tasks_are_told_when_the_thread_that_wakes_them_cannot_wait() {
    use common::seccomp::{refuse_in_all_threads, EPOLL_PWAIT};
    const EPERM: i32 = 1;
    if !is_alone("tasks_are_told_when_the_thread_that_wakes_them_cannot_wait") {
        return;
    }
    let is_named = |error: &ShmError| {
        matches!(error, ShmError::SystemError { code: EPERM, .. })
            && error.to_string().contains("epoll_pwait")
    };
    let name = unique("async-refused");
    let mut server = AsyncServer::start(&name).unwrap();
    let mut peer = Peer::start();
    let accepted = block_on(async {
        let mut accepting = pin!(server.accept());
        poll_fn(|context| {
            assert!(accepting.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        refuse_in_all_threads(EPOLL_PWAIT, EPERM);
        peer.tell(&format!("connect {name} 20000"));
        accepting.await
    });
    // The wait that was in progress ends by the client's first step. The session begins then, or in a later call, as far as none
    // has to wait.
    let mut result = accepted;
    let mut has_client = false;
    for _ in 0..2 {
        while result.is_ok() {
            assert!(!has_client, "no message was sent");
            has_client = true;
            result = block_on(server.receive(&mut Vec::new())).map(drop);
        }
        let error = result.unwrap_err();
        assert!(is_named(&error), "{error}");
        // So do later calls, and new endpoints.
        result = if has_client {
            block_on(server.receive(&mut Vec::new())).map(drop)
        } else {
            block_on(server.accept())
        };
    }
    drop(server);
    let error = AsyncServer::start(&name).map(drop).unwrap_err();
    assert!(is_named(&error), "{error}");
}

/// A connect that has returned holds its task no longer.
#[test]
fn a_connected_client_keeps_no_waker() {
    let name = unique("async-waker");
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    // In some connects nothing would wake the task later, and so release it.
    for _ in 0..20 {
        peer.tell("accept 20000");
        let unpark = Arc::new(Unpark(thread::current()));
        let client = block_on_as(&unpark, AsyncClient::connect(&name)).unwrap();
        // The thread that has just woken the task may hold it for a moment still.
        let start = Instant::now();
        while Arc::strong_count(&unpark) > 1 {
            assert!(start.elapsed() < Duration::from_secs(5), "the client keeps the task");
            thread::yield_now();
        }
        assert_eq!(peer.answer(), "ok");
        drop(client);
    }
}

/// A server accepts only a client that can keep its session. A connect that lacks a descriptor fails before.
#[cfg(target_os = "linux")]
#[test]
fn a_connect_without_descriptors_begins_no_session() {
    if !is_alone("a_connect_without_descriptors_begins_no_session") {
        return;
    }
    let name = unique("async-short");
    let mut server = Peer::start();
    server.must(&format!("start {name}"));
    server.tell("accept 60000");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut hogs = Vec::new();
    let mut failed = 0;
    let mut client = runtime.block_on(async {
        raw::limit_descriptors(64);
        hogs.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
        loop {
            let connecting = tokio::time::timeout(LIMIT, AsyncClient::connect(&name)).await;
            match connecting.expect("the server has accepted a connect that failed") {
                Ok(client) => break client,
                Err(ShmError::SystemError { .. }) => failed += 1,
                Err(error) => panic!("{error}"),
            }
            drop(hogs.pop().expect("64 descriptors are enough"));
        }
    });
    assert!(failed > 10, "{failed}");
    assert_eq!(server.answer(), "ok");
    drop(hogs);
    server.must("send over 0 1 40");
    assert_eq!(block_on(client.receive(&mut Vec::new())), Ok(40));
}

/// A program that accepts again after each error gets one only now and then, and its other tasks have their turns.
#[cfg(target_os = "linux")]
#[test]
fn a_server_without_descriptors_lets_other_tasks_run() {
    if !is_alone("a_server_without_descriptors_lets_other_tasks_run") {
        return;
    }
    let name = unique("async-starved");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut server = AsyncServer::start(&name).unwrap();
        let mut peer = Peer::start();
        // After a session the server needs a new section, and cannot make one.
        peer.tell(&format!("connect {name} 60000"));
        server.accept().await.unwrap();
        assert_eq!(peer.answer(), "ok");
        raw::limit_descriptors(64);
        let mut hogs: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        peer.must("leave");
        assert_eq!(server.receive(&mut Vec::new()).await, Err(ShmError::NotConnected));
        let mut errors = 0;
        let mut other = tokio::time::interval(Duration::from_millis(10));
        let start = Instant::now();
        let mut turns = 0;
        while turns < 50 {
            tokio::select! {
                biased;
                accepted = server.accept() => match accepted {
                    Err(ShmError::SystemError { .. }) => errors += 1,
                    accepted => panic!("{accepted:?}"),
                },
                _ = other.tick() => turns += 1,
            }
        }
        let most = start.elapsed().as_millis() / 20 + 1;
        assert!((2..=most).contains(&errors), "{errors} errors in {:?}", start.elapsed());
        hogs.clear();
        peer.tell(&format!("connect {name} 60000"));
        loop {
            match tokio::time::timeout(LIMIT, server.accept()).await.expect("the task was not woken") {
                Err(ShmError::SystemError { .. }) => {}
                accepted => break accepted.unwrap(),
            }
        }
        assert_eq!(peer.answer(), "ok");
    });
}

/// A server for many clients in a separate process. Sends to all clients when a line comes.
#[test]
fn server_process() {
    struct Deaf;
    impl xshm::MultiHandler for Deaf {}
    let (Ok(name), Ok(count)) = (std::env::var("XSHM_TEST_SERVER"), std::env::var("XSHM_TEST_CLIENTS"))
    else {
        return;
    };
    raw::raise_limits();
    let options = xshm::MultiOptions { max_clients: count.parse().unwrap(), ..Default::default() };
    let server = xshm::MultiServer::start(&name, Arc::new(Deaf), options).unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    server.broadcast(b"hello").unwrap();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn a_thousand_idle_channels_wake_no_thread() {
    const TEST: &str = "a_thousand_idle_channels_wake_no_thread";
    if !is_alone(TEST) {
        return;
    }
    let wanted = if cfg!(windows) { 200 } else { 1000 };
    // A client needs 10 descriptors, and its server 12.
    let count = (raw::raise_limits() / 13).min(wanted) as u32;
    assert!(count >= 30, "the limits permit {count} channels");
    let name = unique("async-idle");
    let mut server = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["server_process", "--exact"])
        .env("XSHM_TEST_SERVER", &name)
        .env("XSHM_TEST_CLIENTS", count.to_string())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut orders = server.stdin.take().unwrap();
    let mark = unique("async-mark");
    wakings::mark(&mark);
    let mut observer = Peer::start();
    let watched = observer.must(&format!("watch {mark}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..count {
            let connecting = tokio::time::timeout(LIMIT, AsyncClient::connect(&name)).await;
            let mut client = connecting.expect("the client was not woken").unwrap();
            tasks.push(tokio::spawn(async move {
                let mut buffer = Vec::new();
                client.receive(&mut buffer).await.map(|_| buffer)
            }));
        }
        // All tasks have begun to wait when this one has its turn again.
        tokio::task::yield_now().await;
        let time = raw::processor_time();
        // Another process counts how often the threads of this one wake up. This thread only waits for the answer.
        let woken = observer.must("count 1000");
        let used = raw::processor_time() - time;
        note(&format!("{count} idle channels: {woken} wake-ups, processor time {used} x 100 ns"));
        // Windows itself does not report wake-ups.
        assert!(watched == "-" || (watched == "1" && woken == "0"), "{watched} processes: {woken} wake-ups");
        assert!(used <= 2 * 156_250, "{used} units of 100 ns of processor time");
        assert!(tasks.iter().all(|task| !task.is_finished()));
        orders.write_all(b"send\n").unwrap();
        for task in tasks {
            let received = tokio::time::timeout(LIMIT, task).await.expect("a task was not woken");
            assert_eq!(received.unwrap(), Ok(b"hello".to_vec()));
        }
    });
    drop(orders);
    assert!(server.wait().unwrap().success());
}

/// The thread of the library ends with the last endpoint, and another one starts when it is needed again.
#[cfg(target_os = "linux")]
#[test]
fn the_thread_lives_as_long_as_there_are_endpoints() {
    if !is_alone("the_thread_lives_as_long_as_there_are_endpoints") {
        return;
    }
    let before = raw::threads();
    for _ in 0..20 {
        let (server, client) = connected(&unique("async-thread"), xshm::ServerOptions::new());
        let server = AsyncServer::from_shared(server).unwrap();
        assert_eq!(raw::threads(), before + 1);
        let client = AsyncClient::from_shared(client).unwrap();
        assert_eq!(raw::threads(), before + 1);
        drop(server);
        drop(client);
        threads_are_back(before);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn in_a_fork_endpoints_return_forked_and_new_ones_work() {
    extern "C" {
        fn fork() -> i32;
        fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
        fn _exit(status: i32) -> !;
    }
    let (server, client) = connected(&unique("async-fork"), xshm::ServerOptions::new());
    let mut server = AsyncServer::from_shared(server).unwrap();
    let mut client = AsyncClient::from_shared(client).unwrap();
    let mut buffer = Vec::new();
    assert!(block_on(poll_once(server.receive(&mut buffer))).is_none());
    let own = unique("async-fork-own");
    // SAFETY: the child uses copies of values that the parent uses only in its own memory, and ends without unwinding.
    let child = unsafe { fork() };
    if child == 0 {
        let work = || {
            let forked = Some(Err(ShmError::Forked));
            let inert = block_on(poll_once(server.receive(&mut buffer)))
                == forked.clone().map(|it| it.map(|()| 0))
                && block_on(poll_once(server.send(b"no"))) == forked
                && block_on(poll_once(server.accept())) == forked
                && block_on(poll_once(client.send(b"no"))) == forked;
            drop((server, client));
            let talked = block_on(async {
                let mut server = AsyncServer::start(&own)?;
                let (accepted, client) = smol::future::zip(server.accept(), AsyncClient::connect(&own)).await;
                accepted?;
                let mut client = client?;
                let mut buffer = Vec::new();
                let send = async {
                    smol::future::yield_now().await;
                    client.send(b"hello").await
                };
                let (sent, received) = smol::future::zip(send, server.receive(&mut buffer)).await;
                sent?;
                received
            });
            inert && talked == Ok(5)
        };
        let is_right = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: the process ends here.
        unsafe { _exit(i32::from(!is_right)) }
    }
    let mut status = -1;
    // SAFETY: the place for the status is valid.
    assert_eq!(unsafe { waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    // The parent's endpoints work as before.
    thread::scope(|scope| {
        let receiving = scope.spawn(|| block_on(server.receive(&mut buffer)));
        block_on(client.send(b"hello")).unwrap();
        assert_eq!(receiving.join().unwrap(), Ok(5));
    });
}
