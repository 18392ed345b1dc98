//! ipc-channel, by its channels of bytes, which serialise nothing.

use crate::line::{Line, Outcome};
use crate::lines::{Kind, Offer};
use ipc_channel::ipc::{bytes_channel, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};

type Ends = (IpcBytesSender, IpcBytesReceiver);

pub const KIND: Kind = Kind::new(
    "ipc-channel",
    |_| {
        let (server, address) = IpcOneShotServer::<Ends>::new()?;
        let offer = Offer::once(move || {
            let (_, (sender, receiver)) = server.accept()?;
            Ok(Channels { sender, receiver })
        });
        Ok(offer?.at(address))
    },
    |_, address| {
        let (there, receiver) = bytes_channel()?;
        let (sender, back) = bytes_channel()?;
        IpcSender::<Ends>::connect(address.to_owned())?.send((there, back))?;
        Ok(Box::new(Channels { sender, receiver }))
    },
)
.sleeping();

struct Channels {
    sender: IpcBytesSender,
    receiver: IpcBytesReceiver,
}

impl Line for Channels {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.sender.send(message)?)
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        message.copy_from_slice(&self.receiver.recv()?);
        Ok(())
    }
}
