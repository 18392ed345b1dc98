//! A multi-client server against hostile visitors: they connect by the name, receive the section and the events, write
//! anything, request a session or not, and leave. Whatever they did, the server accepts the next honest client and
//! answers its messages.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rustix::net::{
    connect, recvmsg, send, socket, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendFlags, SocketAddrUnix, SocketType,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{mpsc, Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use xshm::{
    MultiClient, MultiClientHandler, MultiClientOptions, MultiHandler, MultiOptions, MultiServer,
    ServerOptions,
};
use xshm_fuzz::{Peer, Place, What, Write, LIMIT, RING};

#[derive(Debug, Arbitrary)]
struct Visitor {
    /// The number of writes after which the visitor requests a session. `None`: it requests none.
    request: Option<u8>,
    writes: Vec<Write>,
    /// The events that the visitor sets meanwhile, as bits.
    signals: u8,
    /// Bytes that the visitor sends over the socket, which the server does not expect.
    chatter: Vec<u8>,
    /// Whether the visitor leaves without waiting for the server's answer.
    hasty: bool,
}

struct Echo(OnceLock<MultiServer>);

impl MultiHandler for Echo {
    fn on_message(&self, client_id: u32, data: &[u8]) {
        if let Some(server) = self.0.get() {
            let _ = server.try_send_to(client_id, data);
        }
    }
}

struct Inbox(Mutex<mpsc::Sender<Vec<u8>>>);

impl MultiClientHandler for Inbox {
    fn on_message(&self, data: &[u8]) {
        let _ = self.0.lock().unwrap().send(data.to_vec());
    }
}

fn name() -> &'static str {
    static SERVER: OnceLock<(String, Arc<Echo>)> = OnceLock::new();
    let (name, _) = SERVER.get_or_init(|| {
        let name = format!("fuzz-lobby-{}", std::process::id());
        let echo = Arc::new(Echo(OnceLock::new()));
        let options = MultiOptions { max_clients: 8, ..MultiOptions::default() };
        let server = ServerOptions::new()
            .ring_size(RING)
            .message_limit(LIMIT as usize)
            .start_multi(&name, echo.clone(), options)
            .unwrap();
        assert!(echo.0.set(server).is_ok());
        (name, echo)
    });
    name
}

/// Connects by the name. Returns the descriptors that the server sends: the section, and the client's sockets of the events.
fn enter(hasty: bool, chatter: &[u8]) -> Option<Vec<OwnedFd>> {
    let address = format!("xshm/{}/{}", rustix_uid(), name());
    let address = SocketAddrUnix::new_abstract_name(address.as_bytes()).unwrap();
    let door = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&door, &address).unwrap();
    if !chatter.is_empty() {
        let _ = send(&door, chatter, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
    if hasty {
        return None;
    }
    let mut bytes = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&door, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    let descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
        _ => vec![],
    });
    let descriptors: Vec<OwnedFd> = descriptors.collect();
    (descriptors.len() == 5).then_some(descriptors)
}

fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}

fn visit(visitor: &Visitor) {
    let Some(descriptors) = enter(visitor.hasty, &visitor.chatter) else { return };
    let peer = Peer::map(descriptors[0].as_raw_fd() as isize);
    let set = |event: usize| {
        let _ = send(&descriptors[event], &[1], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    };
    let request = Write { after: 0, place: Place::Control(2), what: What::Request };
    for (index, write) in visitor.writes.iter().enumerate() {
        if visitor.request == Some(index as u8) {
            peer.borrow().perform(&request);
            set(3);
        }
        peer.borrow().perform(write);
        if visitor.signals >> (index % 8) & 1 == 1 {
            set(1 + index % 4);
        }
    }
    // The visitor leaves by the rules, because its process does not end here.
    peer.borrow().perform(&Write { after: 0, place: Place::Control(2), what: What::State(3) });
    (1..5).for_each(set);
    peer.borrow_mut().unmap();
}

fuzz_target!(|visitors: Vec<Visitor>| {
    name();
    for visitor in visitors.iter().take(4) {
        visit(visitor);
    }
    let (sender, inbox) = mpsc::channel();
    let began = Instant::now();
    let options =
        MultiClientOptions { lobby_timeout: Duration::from_secs(10), ..MultiClientOptions::default() };
    let client = MultiClient::connect(name(), Arc::new(Inbox(Mutex::new(sender))), options);
    let client = client.unwrap_or_else(|error| panic!("after {:?}: {error}", began.elapsed()));
    client.send(b"an honest message").unwrap();
    assert_eq!(inbox.recv_timeout(Duration::from_secs(10)).as_deref(), Ok(&b"an honest message"[..]));
});
