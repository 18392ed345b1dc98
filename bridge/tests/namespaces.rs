//! Both sides of the bridge in network namespaces of their own, with delay, loss and partition between them (Linux, as root).
//!
//! The tests make the namespaces themselves. The delay and the losses are those of `tc netem`; on a kernel without it, the
//! example `slow_link` carries the packets in user space. Where no namespaces can be made, the tests print so and check nothing;
//! with `XSHM_REQUIRE_ALL=1` they fail. `XSHM_LONG=1` makes them longer.
#![cfg(target_os = "linux")]

mod common;

use common::{example, number_before, unique, Place, Process, NOTICE};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SERVER_SIDE: &str = "10.99.0.1";
const CLIENT_SIDE: &str = "10.99.0.2";
const ENDPOINT: &str = "tcp/10.99.0.1:7447";

fn is_long() -> bool {
    std::env::var_os("XSHM_LONG").is_some_and(|value| value == "1")
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// What carries the packets between the namespaces.
enum Link {
    /// A pair of devices of the kernel, and `tc netem`.
    Netem,
    /// A pair of devices of the kernel, without netem.
    Fast,
    /// The example `slow_link`.
    UserSpace(Process),
}

/// Two network namespaces with a link between them.
struct Network {
    server: Place,
    client: Place,
    names: [String; 2],
    devices: [String; 2],
    link: Link,
}

impl Network {
    /// Makes two namespaces with a link whose delay and losses can be set. `None`: that is not possible here.
    fn slow() -> Option<Self> {
        Self::make(true)
    }

    /// Makes two namespaces with a link as fast as the kernel's.
    fn fast() -> Option<Self> {
        Self::make(false)
    }

    fn make(is_slow: bool) -> Option<Self> {
        match Self::try_make(is_slow) {
            Ok(network) => Some(network),
            Err(error) if std::env::var_os("XSHM_REQUIRE_ALL").is_some_and(|value| value == "1") => {
                panic!("the network namespaces cannot be made: {error}")
            }
            Err(error) => {
                eprintln!("NOT CHECKED: the network namespaces cannot be made: {error}");
                None
            }
        }
    }

    fn try_make(is_slow: bool) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = ["s", "c"].map(|side| format!("xb{}-{number}{side}", std::process::id()));
        let devices = ["s", "c"].map(|side| format!("xb{}{number}{side}", std::process::id() % 100_000));
        let mut network = Network {
            server: Place(Some(names[0].clone())),
            client: Place(Some(names[1].clone())),
            names: names.clone(),
            devices: devices.clone(),
            link: Link::Fast,
        };
        for name in &names {
            run("ip", &["netns", "add", name])?;
        }
        run("ip", &["link", "add", &devices[0], "type", "veth", "peer", "name", &devices[1]])?;
        if is_slow {
            let netem = ["qdisc", "add", "dev", &devices[0], "root", "netem", "delay", "1ms"];
            match run("tc", &netem) {
                Ok(()) => network.link = Link::Netem,
                Err(error) => {
                    println!("no netem ({error}): the example slow_link carries the packets");
                    run("ip", &["link", "del", &devices[0]])?;
                    let mut command = Command::new(example("slow_link"));
                    command.args(&devices);
                    let carrier = Process::start("slow_link", command);
                    carrier.wait_for("ready");
                    network.link = Link::UserSpace(carrier);
                }
            }
        }
        for ((name, device), address) in names.iter().zip(&devices).zip([SERVER_SIDE, CLIENT_SIDE]) {
            run("ip", &["link", "set", device, "netns", name])?;
            run("ip", &["-n", name, "addr", "add", &format!("{address}/24"), "dev", device])?;
            run("ip", &["-n", name, "link", "set", device, "up"])?;
            run("ip", &["-n", name, "link", "set", "lo", "up"])?;
        }
        if is_slow {
            network.set(0.0, 0.0);
        }
        Ok(network)
    }

    /// Sets how much later a packet arrives, and how many of a hundred are lost, in both directions.
    fn set(&mut self, delay_ms: f64, loss: f64) {
        self.set_with_rate(delay_ms, loss, 0.0);
    }

    /// Sets also how many megabits pass in a second, 0 for any number. The link has a queue for 300 ms.
    fn set_with_rate(&mut self, delay_ms: f64, loss: f64, mbit: f64) {
        match &mut self.link {
            Link::Netem => {
                let (delay, loss, rate) =
                    (format!("{delay_ms}ms"), format!("{loss}%"), format!("{mbit}mbit"));
                let packets = (mbit * 1e6 * 0.3 / 8.0 / 1500.0).ceil();
                let limit = if mbit > 0.0 { packets.to_string() } else { "20000".into() };
                for (name, device) in self.names.iter().zip(&self.devices) {
                    let netem = ["netem", "delay", &delay, "loss", &loss, "rate", &rate, "limit", &limit];
                    let arguments = ["-n", name, "qdisc", "replace", "dev", device, "root"];
                    run("tc", &[&arguments[..], &netem[..]].concat()).expect("netem takes the values");
                }
            }
            Link::UserSpace(carrier) => {
                carrier.write(&format!("{delay_ms} {loss} {mbit}"));
                carrier.wait_for("set");
            }
            Link::Fast => panic!("the link is fast"),
        }
    }

    /// Loses every packet.
    fn cut(&mut self) {
        self.set(0.0, 100.0);
    }

    fn export(&self, name: &str, options: &[&str]) -> Process {
        let export =
            self.server.bridge(&[&["export", name, "--key", name, "--listen", ENDPOINT], options].concat());
        export.wait_for("exports");
        export
    }

    fn import(&self, name: &str, options: &[&str]) -> Process {
        let import =
            self.client.bridge(&[&["import", name, "--key", name, "--connect", ENDPOINT], options].concat());
        import.wait_for("accepts clients");
        import
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}

#[test]
fn requests_and_answers_with_delay_and_loss() {
    let Some(mut network) = Network::slow() else { return };
    network.set(5.0, 1.0);
    // The same name on both sides.
    let name = unique("netns-echo");
    let mut server = network.server.example("echo", &["serve", &name, "200"]);
    let _export = network.export(&name, &[]);
    let _import = network.import(&name, &[]);
    network.client.example("echo", &["answer", &name, "200"]).finish();
    assert!(server.finish().contains("200 messages came back"));
}

#[test]
fn a_file_arrives_as_it_is() {
    let Some(network) = Network::fast() else { return };
    file(&network, "fast", if is_long() { 200_000_000 } else { 50_000_000 });
}

#[test]
fn a_file_arrives_as_it_is_with_delay_and_loss() {
    let Some(mut network) = Network::slow() else { return };
    network.set(2.0, 0.1);
    file(&network, "slow", if is_long() { 200_000_000 } else { 20_000_000 });
}

/// Sends a file from the server's side to the client's.
fn file(network: &Network, kind: &str, size: usize) {
    let name = unique("netns-file");
    let folder = std::env::temp_dir();
    let (input, output) = (folder.join(unique("in")), folder.join(unique("out")));
    let bytes: Vec<u8> = (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&input, &bytes).expect("a temporary file");
    let mut sender = network.server.example("send_file", &["--send", &name, input.to_str().unwrap()]);
    sender.wait_for("waiting for a receiver");
    let _export = network.export(&name, &[]);
    let _import = network.import(&name, &["--sync"]);
    network.client.example("send_file", &["--receive", &name, output.to_str().unwrap()]).finish();
    println!("{kind}: {}", sender.finish());
    let same = std::fs::read(&output).expect("the file was stored") == bytes;
    let _ = (std::fs::remove_file(&input), std::fs::remove_file(&output));
    assert!(same, "the file differs");
}

#[test]
fn twenty_remote_clients_with_delay_and_loss() {
    const COUNT: u64 = 3000;
    let Some(mut network) = Network::slow() else { return };
    network.set(2.0, 0.5);
    let name = unique("netns-many");
    let sink = network.server.peer(&["sink", &name]);
    sink.wait_for("ready");
    let _export = network.export(&name, &[]);
    let _import = network.import(&name, &[]);
    let count = COUNT.to_string();
    let mut sources: Vec<_> = (0..20)
        .map(|n| network.client.peer(&["source", &name, &count, &(64 + n * 50).to_string()]))
        .collect();
    for source in &mut sources {
        source.finish();
    }
    for _ in 0..20 {
        let line = sink.wait_for("gone PeerLeft");
        assert!(
            line.contains(&format!("{COUNT} messages")) && line.contains(" 0 missing, 0 wrong"),
            "{line}"
        );
    }
}

/// On this link, the longest chunk would take longer than the lease.
#[test]
fn a_link_of_half_a_megabit_ends_no_session() {
    let Some(mut network) = Network::slow() else { return };
    network.set_with_rate(20.0, 0.0, 0.5);
    let name = unique("netns-narrow");
    let sink = network.server.peer(&["sink", &name]);
    sink.wait_for("ready");
    let _export = network.export(&name, &[]);
    let _import = network.import(&name, &[]);
    network.client.peer(&["source", &name, "100", "4000"]).finish();
    let line = sink.wait_for("gone PeerLeft");
    println!("{line}");
    assert!(line.contains("100 messages") && line.contains(" 0 missing, 0 wrong"), "{line}");
}

/// A longer way is no queue: the sender has to find its speed again.
#[test]
fn a_path_that_becomes_longer_carries_a_stream() {
    const COUNT: u64 = 3000;
    const OPTIONS: [&str; 6] = ["--lease-ms", "5000", "--window", "262144", "--chunk", "65536"];
    let Some(mut network) = Network::slow() else { return };
    network.set(1.0, 0.0);
    let name = unique("netns-longer");
    // The sink takes up to 1,000 messages a second.
    let sink = network.server.peer(&["sink", &name, "1"]);
    sink.wait_for("ready");
    let _export = network.export(&name, &OPTIONS);
    let _import = network.import(&name, &OPTIONS);
    let started = Instant::now();
    let mut source = network.client.peer(&["source", &name, &COUNT.to_string(), "1000"]);
    source.wait_for("ready");
    thread::sleep(Duration::from_secs(1));
    network.set(250.0, 0.0);
    source.finish();
    let line = sink.wait_for("gone PeerLeft");
    println!("{line}");
    assert!(line.contains(&format!("{COUNT} messages")) && line.contains(" 0 missing, 0 wrong"), "{line}");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
}

#[test]
fn kills_at_either_side_are_noticed() {
    let Some(mut network) = Network::slow() else { return };
    network.set(5.0, 0.5);
    let name = unique("netns-kills");
    let mut server = network.server.peer(&["echo-server", &name, "sync"]);
    server.wait_for("ready");
    let mut export = network.export(&name, &[]);
    let import = network.import(&name, &[]);
    let hold = || {
        let client = network.client.peer(&["hold", &name]);
        import.wait_for(&format!("client_process={}", client.pid()));
        client.wait_for("ready");
        client
    };
    let mut client = hold();
    client.kill();
    server.wait_within("client gone", NOTICE);
    let client = hold();
    server.kill();
    client.wait_within("ended after", NOTICE);
    server = network.server.peer(&["echo-server", &name, "sync"]);
    server.wait_for("ready");
    let client = hold();
    export.kill();
    client.wait_within("ended after", NOTICE);
    server.wait_within("client gone", NOTICE);
    let _export = network.export(&name, &[]);
    network.client.peer(&["echo-client", &name, "10", "64"]).finish();
}

#[test]
fn a_partition_ends_sessions_and_heals() {
    let Some(mut network) = Network::slow() else { return };
    network.set(2.0, 0.0);
    let name = unique("netns-partition");
    let server = network.server.peer(&["echo-server", &name, "sync"]);
    server.wait_for("ready");
    let export = network.export(&name, &[]);
    let import = network.import(&name, &[]);
    for _ in 0..2 {
        let client = network.client.peer(&["hold", &name]);
        import.wait_for(&format!("client_process={}", client.pid()));
        client.wait_for("ready");
        network.cut();
        client.wait_within("ended after", NOTICE);
        server.wait_within("client gone", NOTICE);
        for bridge in [&export, &import] {
            bridge.wait_for("unreachable");
        }
        // Long enough that Zenoh gives up its connection too.
        thread::sleep(Duration::from_secs(4));
        network.set(2.0, 0.0);
        let healed = Instant::now();
        network.client.peer(&["echo-client", &name, "20", "64"]).finish();
        println!("the first answers after {:.1} s", healed.elapsed().as_secs_f64());
        server.wait_for("client gone");
    }
}

#[test]
fn a_short_partition_loses_nothing() {
    let Some(mut network) = Network::slow() else { return };
    network.set(2.0, 0.0);
    let name = unique("netns-short");
    let server = network.server.peer(&["duplex-server", &name]);
    server.wait_for("ready");
    let _export = network.export(&name, &[]);
    let _import = network.import(&name, &[]);
    let mut client = network.client.peer(&["duplex-client", &name, "6", "500"]);
    client.wait_for("ready");
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(700));
        network.cut();
        thread::sleep(Duration::from_millis(400));
        network.set(2.0, 0.0);
    }
    let printed = client.finish();
    println!("{printed}");
    assert!(!server.log().contains("wrong"), "{}", server.log());
}

/// The cut is so long that Zenoh gives up its connection and makes another one.
#[test]
fn a_long_lease_survives_a_long_partition() {
    const LEASE: [&str; 2] = ["--lease-ms", "10000"];
    let Some(mut network) = Network::slow() else { return };
    network.set(2.0, 0.0);
    let name = unique("netns-lease");
    let server = network.server.peer(&["duplex-server", &name]);
    server.wait_for("ready");
    let export = network.export(&name, &LEASE);
    let import = network.import(&name, &LEASE);
    let mut client = network.client.peer(&["duplex-client", &name, "9", "500"]);
    client.wait_for("ready");
    thread::sleep(Duration::from_millis(500));
    network.cut();
    import.wait_for("exporting bridges changed");
    network.set(2.0, 0.0);
    let printed = client.finish();
    println!("{printed}");
    assert!(!server.log().contains("wrong"), "{}", server.log());
    assert!(export.log().matches("session opened").count() == 1, "{}", export.log());
}

/// Messages of several clients in both directions, with delay, loss and short partitions. Every message is checked.
#[test]
fn soak() {
    const CLIENTS: usize = 4;
    let Some(mut network) = Network::slow() else { return };
    let seconds = if is_long() { 600 } else { 15 };
    network.set(1.0, 0.1);
    let name = unique("netns-soak");
    let server = network.server.peer(&["duplex-server", &name]);
    server.wait_for("ready");
    let _export = network.export(&name, &[]);
    let _import = network.import(&name, &[]);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| network.client.peer(&["duplex-client", &name, &seconds.to_string(), "2000"]))
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut round = 0;
    while Instant::now() + Duration::from_secs(3) < end {
        thread::sleep(Duration::from_secs(2));
        round += 1;
        match round % 4 {
            1 => network.set(3.0, 0.5),
            2 => {
                network.cut();
                thread::sleep(Duration::from_millis(200));
                network.set(1.0, 0.1);
            }
            _ => network.set(1.0, 0.1),
        }
    }
    let (mut sent, mut received) = (0.0, 0.0);
    for client in &mut clients {
        let printed = client.finish();
        let line = printed.lines().find(|line| line.starts_with("sent ")).expect("its last line").to_owned()
            + " end";
        sent += number_before(&line, "received");
        received += number_before(&line, "end");
    }
    println!(
        "{CLIENTS} clients, {seconds} s: {sent} messages to the server, {received} to the clients, none lost"
    );
    assert!(sent > 100.0 && received > 100.0);
    assert!(!server.log().contains("wrong"), "{}", server.log());
}

/// The direction in which the messages of a measurement go.
#[derive(Clone, Copy, Debug)]
enum Direction {
    ToServer,
    ToClient,
}

/// Compares the bridge with Zenoh alone between the same namespaces, in both directions. Both take turns, and the best rates count,
/// since other programs of the machine only make them worse. If the bridge seems too slow, the test measures again, since such a
/// program may have disturbed only the bridge.
#[test]
fn throughput() {
    // With the default of 250 messages, rings of small messages hold little, and both sides sleep often.
    const LIMIT: &str = "16000";
    let Some(network) = Network::fast() else { return };
    let sink = network.server.peer(&["zenoh-sink", "tcp/10.99.0.1:7448"]);
    sink.wait_for("ready");
    let rate = |line: &str| {
        assert!(line.contains(" 0 missing, 0 wrong"), "{line}");
        number_before(line, "messages") / number_before(line, "s")
    };
    let (scale, attempts) = if is_long() { (4, 6) } else { (1, 4) };
    println!(
        "{:>9} {:>9} {:>14} {:>14} {:>7}   (messages per second)",
        "bytes", "direction", "Zenoh", "bridge", "ratio"
    );
    let mut failed = Vec::new();
    for direction in [Direction::ToServer, Direction::ToClient] {
        let name = unique("netns-speed");
        let server = match direction {
            Direction::ToServer => network.server.peer(&["sink", &name, "0", LIMIT]),
            Direction::ToClient => network.server.peer(&["stream-server", &name, LIMIT]),
        };
        server.wait_for("ready");
        let _export = network.export(&name, &[]);
        let _import = network.import(&name, &["--message-limit", LIMIT]);
        for (size, count) in [(8, 500_000), (64, 500_000), (1024, 250_000), (16_384, 30_000), (65_535, 8_000)]
        {
            let (count, size) = ((count * scale).to_string(), size.to_string());
            let (mut alone, mut bridged, mut rounds) = (0.0_f64, 0.0_f64, 0);
            while rounds < 3 || rounds < 3 * attempts && bridged < 0.7 * alone {
                network.client.peer(&["zenoh-source", "tcp/10.99.0.1:7448", &count, &size]).finish();
                alone = alone.max(rate(&sink.wait_for("messages")));
                let line = match direction {
                    Direction::ToServer => {
                        network.client.peer(&["source", &name, &count, &size]).finish();
                        server.wait_for("gone PeerLeft")
                    }
                    Direction::ToClient => {
                        let mut client = network.client.peer(&["stream-client", &name, &count, &size]);
                        let line = client.wait_for("messages");
                        client.finish();
                        line
                    }
                };
                bridged = bridged.max(rate(&line));
                rounds += 1;
            }
            let (ratio, direction) = (bridged / alone, format!("{direction:?}"));
            println!(
                "{size:>9} {direction:>9} {alone:>14.0} {bridged:>14.0} {ratio:>7.2}   best of {rounds}"
            );
            if ratio < 0.7 {
                failed.push((size, direction));
            }
        }
    }
    assert!(failed.is_empty(), "less than 0.7 of Zenoh alone: {failed:?}");
}
