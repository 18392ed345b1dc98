//! iceoryx2, publish-subscribe with copy: the sender borrows a sample and copies the message into it. The receiver polls
//! for the next sample and copies the message out.
//!
//! No message may be lost, so a publisher retries until it has delivered. All samples of a publisher have the size of the
//! longest, so each size has a separate service: short messages then lie close together. The side that comes first
//! creates the service.

use crate::line::{Line, Outcome};
use crate::lines::{Kind, Offer};
use crate::side::Shared;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use std::collections::HashMap;
use std::hint::spin_loop;

pub const KIND: Kind = Kind::new(
    "iceoryx2",
    |shared| Offer::ready(Iceoryx::new(shared, ["there", "back"])?),
    |shared, _| Ok(Box::new(Iceoryx::new(shared, ["back", "there"])?)),
);

struct Iceoryx {
    node: Node<ipc::Service>,
    base: String,
    /// The directions in which this side sends and receives.
    ways: [&'static str; 2],
    size: usize,
    ports: Option<Ports>,
    others: HashMap<usize, Ports>,
}

struct Ports {
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
}

impl Iceoryx {
    fn new(shared: &Shared, ways: [&'static str; 2]) -> Outcome<Self> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        Ok(Iceoryx { node, base: shared.base.clone(), ways, size: 0, ports: None, others: HashMap::new() })
    }

    #[inline(always)]
    fn ports(&mut self, size: usize) -> Outcome<&mut Ports> {
        if self.size != size {
            self.change(size)?;
        }
        Ok(self.ports.as_mut().ok_or("no ports")?)
    }

    #[cold]
    fn change(&mut self, size: usize) -> Outcome<()> {
        if let Some(ports) = self.ports.take() {
            self.others.insert(self.size, ports);
        }
        self.size = size;
        self.ports = Some(match self.others.remove(&size) {
            Some(ports) => ports,
            None => self.connect(size)?,
        });
        Ok(())
    }

    fn connect(&self, size: usize) -> Outcome<Ports> {
        let service = |way: &str| -> Outcome<_> {
            Ok(self
                .node
                .service_builder(&format!("{}/{size}/{way}", self.base).as_str().try_into()?)
                .publish_subscribe::<[u8]>()
                .enable_safe_overflow(false)
                .subscriber_max_buffer_size(xshm::MAX_MESSAGES)
                .max_publishers(1)
                .max_subscribers(1)
                .open_or_create()?)
        };
        let [sends, receives] = self.ways;
        // The subscriber comes first, so that it is there when the other side answers our first message.
        let subscriber = service(receives)?.subscriber_builder().create()?;
        let publisher = service(sends)?
            .publisher_builder()
            .initial_max_slice_len(size)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        Ok(Ports { publisher, subscriber })
    }
}

impl Line for Iceoryx {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let ports = self.ports(message.len())?;
        // A sample that is sent before the other side has subscribed reaches no subscriber: send it again.
        while ports.publisher.loan_slice_uninit(message.len())?.write_from_slice(message).send()? == 0 {
            spin_loop();
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let ports = self.ports(message.len())?;
        loop {
            if let Some(sample) = ports.subscriber.receive()? {
                message.copy_from_slice(sample.payload());
                return Ok(());
            }
            spin_loop();
        }
    }
}
