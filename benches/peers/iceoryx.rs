//! iceoryx2, publish-subscribe with copy: the sender borrows a sample and copies the message into it. The receiver polls
//! for the next sample and copies the message out.
//!
//! No message may be lost, so a publisher retries until it has delivered. All samples of a publisher have the size of the
//! longest, so each size has a separate service: short messages then lie close together. The side that comes first
//! creates the service.
//!
//! With events, the sender also notifies, and a receiver that finds no sample waits for the next notification in the kernel. In
//! request-response, one side borrows a request and polls for its response, and the other side polls for requests.

use crate::line::{Line, Outcome};
use crate::lines::{Kind, Offer};
use crate::side::Shared;
use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::server::Server;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use std::collections::hash_map::{Entry, HashMap};
use std::hint::spin_loop;

pub const KIND: Kind = Kind::new(
    "iceoryx2",
    |shared| Offer::ready(Iceoryx::new(shared, ["there", "back"])?),
    |shared, _| Ok(Box::new(Iceoryx::new(shared, ["back", "there"])?)),
);

/// With events, so that the receiver sleeps.
pub const WITH_EVENTS: Kind = Kind::new(
    "iceoryx2, events",
    |shared| Offer::ready(WithEvents::new(shared, ["there", "back"])?),
    |shared, _| Ok(Box::new(WithEvents::new(shared, ["back", "there"])?)),
)
.sleeping();

pub const REQUESTS: Kind = Kind {
    streams: false,
    ..Kind::new(
        "iceoryx2, requests",
        |shared| Offer::ready(Requests::new(shared)?),
        |shared, _| Ok(Box::new(Responses::new(shared)?)),
    )
};

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

struct WithEvents {
    samples: Iceoryx,
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
}

impl WithEvents {
    fn new(shared: &Shared, ways: [&'static str; 2]) -> Outcome<Self> {
        let samples = Iceoryx::new(&shared.named("events"), ways)?;
        let service = |way: &str| -> Outcome<_> {
            let name = format!("{}/{way}-event", samples.base);
            Ok(samples.node.service_builder(&name.as_str().try_into()?).event().open_or_create()?)
        };
        let [sends, receives] = ways;
        let listener = service(receives)?.listener_builder().create()?;
        let notifier = service(sends)?.notifier_builder().create()?;
        Ok(WithEvents { samples, notifier, listener })
    }
}

impl Line for WithEvents {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.samples.send(message)?;
        self.notifier.notify()?;
        Ok(())
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        loop {
            if let Some(sample) = self.samples.ports(message.len())?.subscriber.receive()? {
                message.copy_from_slice(sample.payload());
                return Ok(());
            }
            self.listener.blocking_wait(|_| {})?;
        }
    }
}

type Bytes = [u8];

/// The service for requests of a size.
fn requests(
    node: &Node<ipc::Service>, base: &str, size: usize,
) -> Outcome<iceoryx2::service::port_factory::request_response::PortFactory<ipc::Service, Bytes, (), Bytes, ()>>
{
    Ok(node
        .service_builder(&format!("{base}/{size}/requests").as_str().try_into()?)
        .request_response::<Bytes, Bytes>()
        .max_clients(1)
        .max_servers(1)
        .open_or_create()?)
}

/// The side that asks.
struct Requests {
    node: Node<ipc::Service>,
    base: String,
    clients: HashMap<usize, Client<ipc::Service, Bytes, (), Bytes, ()>>,
    pending: Option<PendingResponse<ipc::Service, Bytes, (), Bytes, ()>>,
}

impl Requests {
    fn new(shared: &Shared) -> Outcome<Self> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        Ok(Requests { node, base: shared.base.clone(), clients: HashMap::new(), pending: None })
    }
}

impl Line for Requests {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let size = message.len();
        if let Entry::Vacant(entry) = self.clients.entry(size) {
            let service = requests(&self.node, &self.base, size)?;
            entry.insert(service.client_builder().initial_max_slice_len(size).create()?);
        }
        loop {
            let pending = self.clients[&size].loan_slice_uninit(size)?.write_from_slice(message).send()?;
            // A request that is sent before there is a server reaches none: send it again.
            if pending.number_of_server_connections() > 0 {
                self.pending = Some(pending);
                return Ok(());
            }
            spin_loop();
        }
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let pending = self.pending.take().ok_or("a response without a request")?;
        loop {
            if let Some(response) = pending.receive()? {
                message.copy_from_slice(response.payload());
                return Ok(());
            }
            spin_loop();
        }
    }
}

/// The side that answers.
struct Responses {
    node: Node<ipc::Service>,
    base: String,
    servers: HashMap<usize, Server<ipc::Service, Bytes, (), Bytes, ()>>,
    request: Option<ActiveRequest<ipc::Service, Bytes, (), Bytes, ()>>,
}

impl Responses {
    fn new(shared: &Shared) -> Outcome<Self> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        Ok(Responses { node, base: shared.base.clone(), servers: HashMap::new(), request: None })
    }
}

impl Line for Responses {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let request = self.request.take().ok_or("a response without a request")?;
        request.loan_slice_uninit(message.len())?.write_from_slice(message).send()?;
        Ok(())
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let size = message.len();
        if let Entry::Vacant(entry) = self.servers.entry(size) {
            let service = requests(&self.node, &self.base, size)?;
            entry.insert(service.server_builder().initial_max_slice_len(size).create()?);
        }
        loop {
            if let Some(request) = self.servers[&size].receive()? {
                message.copy_from_slice(request.payload());
                self.request = Some(request);
                return Ok(());
            }
            spin_loop();
        }
    }
}
