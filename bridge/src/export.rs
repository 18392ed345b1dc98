//! The side of the server: for each remote client, the bridge is a client of the local channel.

use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::session::{run_split, Session};
use crate::wire::{Cause, End, OpenAnswer, OpenRequest, VERSION};
use crate::{Error, ExportOptions};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use xshm::{ClientOptions, Interrupter, OwnedReceiveHalf, OwnedSendHalf, SharedClient, Trust};
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::Subscriber;
use zenoh::query::{Query, Queryable};
use zenoh::Wait;

/// A local channel that other machines import. Dropping it stops it.
pub struct Export {
    shared: Arc<Shared>,
    _subscriber: Subscriber<()>,
    queryable: Option<Queryable<()>>,
    token: Option<LivelinessToken>,
    is_stopped: bool,
}

/// A session, and both halves of the client that it has on this machine.
type Opened = (Arc<Session>, OwnedSendHalf<SharedClient>, OwnedReceiveHalf<SharedClient>);

struct Shared {
    hub: Arc<Hub>,
    options: ExportOptions,
    trust: Option<Trust>,
    /// What ends the calls on the local endpoint of each session.
    interrupters: Mutex<HashMap<u64, Interrupter>>,
}

impl Export {
    /// Begins to export a channel over an open Zenoh session. The channel's server may start later.
    ///
    /// # Errors
    /// An option is invalid, or Zenoh refuses the key.
    pub fn start(
        zenoh: &zenoh::Session, options: ExportOptions, metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        options.common.check()?;
        let trust = options.trust()?;
        let common = &options.common;
        let hub = Hub::new(zenoh.clone(), &common.name, &common.key, common.settings(), metrics);
        let shared = Arc::new(Shared { hub: hub.clone(), options, trust, interrupters: Mutex::default() });
        let subscriber = hub.start().map_err(Error::Zenoh)?;
        let exporter = hub.exporter_key(&format!("{:016x}", hub.id));
        let queries = shared.clone();
        let queryable = zenoh
            .declare_queryable(exporter.clone())
            .callback(move |query| queries.on_query(query))
            .wait()
            .map_err(Error::Zenoh)?;
        let token = zenoh.liveliness().declare_token(exporter).wait().map_err(Error::Zenoh)?;
        tracing::info!(channel = %hub.name, key = %hub.key, bridge = %format!("{:016x}", hub.id), "exports");
        Ok(Export {
            shared,
            _subscriber: subscriber,
            queryable: Some(queryable),
            token: Some(token),
            is_stopped: false,
        })
    }

    /// Returns the number of sessions that live.
    pub fn session_count(&self) -> usize {
        self.shared.hub.session_count()
    }

    /// Ends all sessions. What the local server has sent is delivered first, within the grace time of the options.
    pub fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopped, true) {
            return;
        }
        self.shared.hub.begin_stop();
        // No importing bridge chooses this one any more.
        self.token = None;
        self.queryable = None;
        for interrupter in self.shared.interrupters().values() {
            interrupter.interrupt();
        }
        self.shared.hub.wait_for_sessions();
        tracing::info!(channel = %self.shared.hub.name, "the export has ended");
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn interrupters(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Interrupter>> {
        self.interrupters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An importing bridge opens a session. Connecting may take long, so another thread does it.
    fn on_query(self: &Arc<Self>, query: Query) {
        let shared = self.clone();
        let serve = move || shared.serve(query);
        if let Err(error) = thread::Builder::new().name("session".into()).spawn(serve) {
            // The importing bridge finds that the query had no answer.
            tracing::warn!(%error, "no thread can be started for a session");
        }
    }

    fn serve(self: &Arc<Self>, query: Query) {
        let (request, client) = match self.connect(&query) {
            Ok(connected) => connected,
            Err(end) => {
                tracing::warn!(channel = %self.hub.name, reason = %end.text, "a session was refused");
                if let Err(error) = query.reply_err(end.text).wait() {
                    tracing::debug!(%error, "the refusal was not sent");
                }
                return;
            }
        };
        let (session, sender, receiver) = match self.open(&request, client) {
            Ok(opened) => opened,
            Err(text) => {
                tracing::warn!(channel = %self.hub.name, reason = %text, "a session failed to open");
                let _ = query.reply_err(text).wait();
                return;
            }
        };
        let answer = OpenAnswer { window: self.hub.settings.window as u64 };
        let answered = toml::to_string(&answer).map_err(|error| error.to_string()).and_then(|answer| {
            query.reply(query.key_expr(), answer).wait().map_err(|error| error.to_string())
        });
        // The importing bridge gets the answer when the query is over.
        drop(query);
        match answered {
            Ok(()) => {
                session.open(request.window);
                drop(run_split(&session, "server", sender, receiver));
            }
            Err(text) => session.end(End::new(Cause::Failed, format!("the answer was not sent: {text}"))),
        }
        self.interrupters().remove(&session.id);
        self.hub.remove(&session);
    }

    fn connect(&self, query: &Query) -> Result<(OpenRequest, SharedClient), End> {
        let refuse = |text: String| End::new(Cause::Refused, text);
        let payload = query.payload().map(|payload| payload.to_bytes().into_owned()).unwrap_or_default();
        let request: OpenRequest = String::from_utf8(payload)
            .ok()
            .and_then(|text| toml::from_str(&text).ok())
            .ok_or_else(|| refuse("the request is none of this version of the bridge".into()))?;
        if request.version != VERSION {
            let text = format!("the bridges have incompatible versions: {} and {VERSION}", request.version);
            return Err(refuse(text));
        }
        if self.hub.is_stopping() {
            return Err(refuse("the exporting bridge stops".into()));
        }
        let client = self.connect_local().map_err(|error| refuse(error.to_string()))?;
        let (here, there) = (client.max_message_size() as u64, request.max_message_size);
        if here != there {
            return Err(refuse(format!(
                "the exported channel {:?} carries messages of up to {here} bytes, and the imported one of up to {there}: \
                 start the import with --max-message-size or --ring-size of the exported channel",
                self.hub.name
            )));
        }
        Ok((request, client))
    }

    /// Connects to the local channel. If its server is not there, or has its one client, this waits up to the time limit.
    fn connect_local(&self) -> xshm::Result<SharedClient> {
        let deadline = Instant::now() + Duration::from_millis(self.options.connect_timeout_ms.into());
        loop {
            // The bridge is no faster if it spins: what it waits for comes over the network.
            let mut options = ClientOptions::new().spin(Duration::ZERO);
            if let Some(trust) = &self.trust {
                options = options.trust(trust.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match options.connect(&self.hub.name, left) {
                Err(xshm::ShmError::AlreadyConnected) if !left.is_zero() => {
                    thread::sleep(Duration::from_millis(20).min(left));
                }
                connected => return connected,
            }
        }
    }

    /// Makes the session of a client that has connected to the local channel.
    fn open(&self, request: &OpenRequest, client: SharedClient) -> Result<Opened, String> {
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| "an id is invalid".to_owned());
        let (other, id) = (number(&request.bridge)?, number(&request.session)?);
        let session = Session::new(&self.hub, id, other, client.max_message_size());
        let session = session.map_err(|error| error.to_string())?;
        let process = client.peer().map(|peer| peer.process_id);
        let (sender, receiver) = client.into_split().map_err(|error| error.to_string())?;
        // Before the session is added: a stop interrupts every session that it finds.
        self.interrupters().insert(id, receiver.interrupter());
        if !self.hub.add(&session) {
            self.interrupters().remove(&id);
            return Err("the exporting bridge stops".into());
        }
        tracing::info!(
            channel = %self.hub.name, session = %session.name(), importer = %request.bridge, server_process = process,
            "session opened"
        );
        Ok((session, sender, receiver))
    }
}
