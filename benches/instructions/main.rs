//! The program whose instructions `ci/instructions.sh` counts: `instructions OPERATION SIZE MESSAGES`.
//!
//! Both endpoints are in one thread, so that neither ever waits, and the counts are the same each time.

use std::error::Error;
use std::hint::black_box;
use std::thread;
use std::time::Duration;
use xshm::{ClientOptions, MessageBatch, ReceiveHalf, SendHalf, ServerOptions};

/// Messages that are sent before they are received: as many of the longest messages as have room.
const AT_ONCE: usize = 30;
const PATIENCE: Duration = Duration::from_secs(20);

/// Valgrind counts only while this function runs.
#[no_mangle]
#[inline(never)]
pub fn xshm_counted(work: &mut dyn FnMut()) {
    work();
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [operation, size, messages] = &arguments[..] else {
        return Err("usage: instructions OPERATION SIZE MESSAGES".into());
    };
    let (size, messages): (usize, usize) = (size.parse()?, messages.parse()?);

    let name = format!("instructions-{}", std::process::id());
    // Under valgrind the end of a process cannot be watched, so the endpoints need a check interval.
    let mut server = ServerOptions::new().check_interval(PATIENCE).start(&name)?;
    let connecting =
        thread::spawn(move || ClientOptions::new().check_interval(PATIENCE).connect(&name, PATIENCE));
    server.wait_for_client(Some(PATIENCE))?;
    let mut client = connecting.join().map_err(|_| "the client's thread panicked")??;
    let (sender, _) = server.split()?;
    let (_, receiver) = client.split()?;

    let mut work = Work {
        sender,
        receiver,
        message: vec![0x5a; size],
        messages: vec![vec![0x5a; size]; AT_ONCE],
        buffer: vec![0; xshm::MAX_MESSAGE_SIZE],
        batch: MessageBatch::new(AT_ONCE, AT_ONCE * size),
    };
    for _ in 0..messages / AT_ONCE {
        work.round(operation)?;
    }
    Ok(())
}

struct Work<'a> {
    sender: &'a mut SendHalf,
    receiver: &'a mut ReceiveHalf,
    message: Vec<u8>,
    messages: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    batch: MessageBatch,
}

impl Work<'_> {
    /// Sends and receives [`AT_ONCE`] messages, with the instructions of one operation counted.
    fn round(&mut self, operation: &str) -> Result<(), Box<dyn Error>> {
        let Work { sender, receiver, message, messages, buffer, batch } = self;
        let counted = |here: bool, mut work: &mut dyn FnMut()| {
            if here {
                xshm_counted(black_box(&mut work));
            } else {
                work();
            }
        };
        let mut failed = 0;
        counted(operation == "send" || operation == "send_batch", &mut || {
            if operation == "send_batch" {
                failed += usize::from(sender.try_send_batch(messages) != Ok(AT_ONCE));
            } else {
                for _ in 0..AT_ONCE {
                    failed += usize::from(sender.send(message).is_err());
                }
            }
        });
        counted(operation == "receive" || operation == "receive_batch", &mut || {
            if operation == "receive_batch" {
                failed += usize::from(receiver.receive_batch(batch) != Ok(AT_ONCE));
            } else {
                for _ in 0..AT_ONCE {
                    failed += usize::from(receiver.receive_into(buffer).is_err());
                }
            }
        });
        counted(operation == "find_nothing", &mut || {
            for _ in 0..AT_ONCE {
                failed += usize::from(receiver.try_receive_into(buffer).is_ok());
            }
        });
        if failed > 0 {
            return Err(format!("{failed} calls failed").into());
        }
        Ok(())
    }
}
