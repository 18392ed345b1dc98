//! A network link in user space that delays and loses packets, and has a rate, for the tests on kernels without netem (Linux, as root):
//!
//! ```text
//! slow_link DEVICE DEVICE     makes two TUN devices, and carries packets between them
//! ```
//!
//! It prints `ready` when the devices are there. They may then be moved into other network namespaces. Each line of its input
//! changes the link, in both directions:
//!
//! ```text
//! DELAY_MS LOSS_PERCENT [MBIT]    a packet arrives this much later, or is lost with this probability; at most MBIT megabits pass in
//!                                 a second
//! ```
//!
//! A link with a rate has a queue for 300 ms. Packets that find it full are lost.

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    linux::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("slow_link runs only on Linux");
    std::process::exit(1);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, BufRead, Write};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{mpsc, Arc};
    use std::thread;
    use std::time::{Duration, Instant};
    use tun_rs::{DeviceBuilder, Layer, SyncDevice};

    /// Packets that wait for their time. More are lost, as in a real queue.
    const QUEUE: usize = 20_000;

    /// How long a packet waits at most for those before it, on a link with a rate.
    const LONGEST_WAIT: Duration = Duration::from_millis(300);

    #[derive(Default)]
    struct Link {
        delay_us: AtomicU64,
        /// Lost packets of a million.
        loss: AtomicU64,
        /// Bits that pass in a second; 0: any number.
        rate: AtomicU64,
    }

    pub fn run() -> io::Result<()> {
        let names: Vec<String> = std::env::args().skip(1).collect();
        let [first, second] = &names[..] else {
            return Err(io::Error::other("usage: slow_link DEVICE DEVICE"));
        };
        let device = |name: &str| -> io::Result<Arc<SyncDevice>> {
            Ok(Arc::new(DeviceBuilder::new().name(name).layer(Layer::L3).build_sync()?))
        };
        let (first, second) = (device(first)?, device(second)?);
        let link = Arc::new(Link::default());
        for (from, to, seed) in [(first.clone(), second.clone(), 1), (second, first, 2)] {
            let link = link.clone();
            let (sender, receiver) = mpsc::sync_channel(QUEUE);
            thread::spawn(move || deliver(&to, &receiver));
            thread::spawn(move || collect(&from, &link, &sender, seed));
        }
        println!("ready");
        io::stdout().flush()?;
        for line in io::stdin().lock().lines() {
            let line = line?;
            let mut numbers = line.split_whitespace().map(|word| word.parse::<f64>().unwrap_or(0.0));
            let mut next = || numbers.next().unwrap_or(0.0);
            let (delay, loss, rate) = (next(), next(), next());
            link.delay_us.store((delay * 1e3) as u64, Ordering::Relaxed);
            link.loss.store((loss * 1e4) as u64, Ordering::Relaxed);
            link.rate.store((rate * 1e6) as u64, Ordering::Relaxed);
            println!("set {delay} ms, {loss} %, {rate} Mbit/s");
            io::stdout().flush()?;
        }
        Ok(())
    }

    fn collect(from: &SyncDevice, link: &Link, queue: &mpsc::SyncSender<(Instant, Vec<u8>)>, seed: u64) {
        let mut packet = vec![0; 1 << 16];
        let mut random = seed;
        // When the last packet has passed.
        let mut passed = Instant::now();
        loop {
            let Ok(length) = from.recv(&mut packet) else {
                // The device is not up yet, or not any more.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            // Knuth's generator. Its high bits are good enough for losses.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (random >> 33) % 1_000_000 < link.loss.load(Ordering::Relaxed) {
                continue;
            }
            let mut due = Instant::now();
            if let Some(nanoseconds) =
                (length as u64 * 8_000_000_000).checked_div(link.rate.load(Ordering::Relaxed))
            {
                let begins = due.max(passed);
                if begins - due > LONGEST_WAIT {
                    continue;
                }
                passed = begins + Duration::from_nanos(nanoseconds);
                due = passed;
            }
            due += Duration::from_micros(link.delay_us.load(Ordering::Relaxed));
            let _ = queue.try_send((due, packet[..length].to_vec()));
        }
    }

    fn deliver(to: &SyncDevice, queue: &mpsc::Receiver<(Instant, Vec<u8>)>) {
        while let Ok((due, packet)) = queue.recv() {
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                thread::sleep(left);
            }
            let _ = to.send(&packet);
        }
    }
}
