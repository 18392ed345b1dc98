//! crossbeam-channel, between two threads of one process. A message is a vector, which the receiver gets without a copy.
//!
//! As in xshm, at most 250 messages wait. A thread that waits spins for a while, and then sleeps.

use crate::line::{Line, Outcome};
use crate::lines::{Kind, Offer};
use crossbeam_channel::{bounded, Receiver, Sender};
use std::sync::{Mutex, PoisonError};

pub const KIND: Kind = Kind {
    in_process: true,
    ..Kind::new(
        "crossbeam",
        |_| {
            let [(there, receiver), (sender, back)] = [(); 2].map(|()| bounded(xshm::MAX_MESSAGES));
            *OTHER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Channels { sender, receiver });
            Offer::ready(Channels { sender: there, receiver: back })
        },
        |_, _| {
            let other = OTHER.lock().unwrap_or_else(PoisonError::into_inner).take();
            Ok(Box::new(other.ok_or("the first side has made no channels")?))
        },
    )
}
.sleeping();

/// The ends of the second side, until it opens the line.
static OTHER: Mutex<Option<Channels>> = Mutex::new(None);

struct Channels {
    sender: Sender<Vec<u8>>,
    receiver: Receiver<Vec<u8>>,
}

impl Line for Channels {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.sender.send(message.to_vec())?)
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let received = self.receiver.recv()?;
        if received.len() != message.len() {
            return Err(format!("{} bytes came instead of {}", received.len(), message.len()).into());
        }
        // The harness looks at the message in its own memory.
        message.copy_from_slice(&received);
        Ok(())
    }
}
