//! The program `xshm-bridge`: see the README.

use anyhow::Context;
use clap::{Args, Parser};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use tracing_subscriber::{fmt, EnvFilter};
use xshm_bridge::{
    Export, ExportOptions, File, Import, ImportOptions, LogFormat, NetworkOptions, ObserveOptions,
};
use zenoh::Wait;

/// Chunks and packets are large, and each is freed by another thread than the one that allocated it. The system's allocators return
/// such memory to the kernel, and get it again for the next one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Carries channels of xshm from one machine to another over Zenoh.
///
/// Run `export` on the machine of the channel's server, and `import` with the same key on the machines of the clients.
#[derive(Parser)]
#[command(version)]
enum Arguments {
    /// Offer the channel of a local server to other machines
    Export {
        #[command(flatten)]
        export: ExportOptions,
        #[command(flatten)]
        program: ProgramOptions,
    },
    /// Serve clients on this machine in place of a server on another machine
    Import {
        #[command(flatten)]
        import: ImportOptions,
        #[command(flatten)]
        program: ProgramOptions,
    },
    /// Run the exports and imports of a configuration file
    Run {
        /// The file (TOML)
        file: PathBuf,
        /// Check the file and the options, and run nothing
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        program: ProgramOptions,
    },
}

/// The options of all channels of the program together.
#[derive(Args)]
struct ProgramOptions {
    #[command(flatten, next_help_heading = "Network")]
    network: NetworkOptions,
    #[command(flatten, next_help_heading = "Logs and metrics")]
    observe: ObserveOptions,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xshm-bridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (mut file, only_check, program) = match arguments {
        Arguments::Export { export, program } => {
            (File { export: vec![export], ..File::default() }, false, program)
        }
        Arguments::Import { import, program } => {
            (File { import: vec![import], ..File::default() }, false, program)
        }
        Arguments::Run { file, check, program } => (File::read(&file)?, check, program),
    };
    merge(&mut file, program);
    if only_check {
        file.network.zenoh()?;
        log_filter(&file.observe)?;
        println!("the options are right; exports: {}, imports: {}", file.export.len(), file.import.len());
        return Ok(ExitCode::SUCCESS);
    }
    start_log(&file.observe)?;
    let is_json = file.observe.log_format == Some(LogFormat::Json);
    match serve(file) {
        // A reader of the log expects each line to be JSON.
        Err(error) if is_json => {
            tracing::error!(error = format!("{error:#}"), "the program has failed");
            Ok(ExitCode::FAILURE)
        }
        served => served.map(|()| ExitCode::SUCCESS),
    }
}

/// Adds the options of the command line to those of the file.
fn merge(file: &mut File, program: ProgramOptions) {
    let (network, arguments) = (&mut file.network, program.network);
    network.connect.extend(arguments.connect);
    network.listen.extend(arguments.listen);
    network.no_multicast |= arguments.no_multicast;
    network.zenoh_config = arguments.zenoh_config.or(network.zenoh_config.take());
    let (observe, arguments) = (&mut file.observe, program.observe);
    observe.metrics = arguments.metrics.or(observe.metrics);
    observe.log = arguments.log.or(observe.log.take());
    observe.log_format = arguments.log_format.or(observe.log_format);
}

fn log_filter(observe: &ObserveOptions) -> anyhow::Result<EnvFilter> {
    let filter = match (&observe.log, std::env::var("RUST_LOG")) {
        (Some(filter), _) => filter.clone(),
        (None, Ok(filter)) => filter,
        (None, Err(_)) => "info,zenoh=warn".to_owned(),
    };
    EnvFilter::try_new(&filter).map_err(|error| anyhow::anyhow!("the log's filter {filter:?}: {error}"))
}

fn start_log(observe: &ObserveOptions) -> anyhow::Result<()> {
    let log = fmt().with_env_filter(log_filter(observe)?).with_writer(std::io::stderr);
    match observe.log_format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// How long Zenoh may be without a connection before the log has a warning.
const SILENCE: Duration = Duration::from_secs(5);

/// How long Zenoh may take to close its session.
const CLOSE: Duration = Duration::from_secs(1);

/// What the program waits for.
enum Event {
    /// Zenoh has opened a session, or failed to.
    Opened(zenoh::Result<zenoh::Session>),
    /// A signal asks the program to end.
    Stop,
}

fn serve(file: File) -> anyhow::Result<()> {
    let (sender, events) = mpsc::channel();
    // Before anything starts: a signal that comes early ends the program in order too.
    stop_signals(sender.clone())?;
    if let Some(address) = file.observe.metrics {
        let metrics = PrometheusBuilder::new().with_http_listener(address);
        metrics.install().with_context(|| format!("serving metrics at {address}"))?;
        tracing::info!(%address, "serves metrics");
    }
    let Some(zenoh) = open_zenoh(&file.network, sender, &events)? else { return Ok(()) };
    let carried = carry(file, &zenoh, &events);
    close(zenoh);
    carried
}

/// Runs the exports and imports until a signal comes.
fn carry(file: File, zenoh: &zenoh::Session, events: &mpsc::Receiver<Event>) -> anyhow::Result<()> {
    let (mut exports, mut imports) = (Vec::new(), Vec::new());
    for options in file.export {
        exports.push(Export::start(zenoh, options)?);
    }
    for options in file.import {
        imports.push(Import::start(zenoh, options)?);
    }
    // Zenoh's session is open, so each event is a signal.
    if events.recv_timeout(SILENCE).is_err() {
        let info = zenoh.info();
        if !file.network.connect.is_empty()
            && info.peers_zid().wait().next().is_none()
            && info.routers_zid().wait().next().is_none()
        {
            tracing::warn!(
                "Zenoh has no connection yet: do the endpoints accept connections, are they right, and do both sides admit each other?"
            );
        }
        events.recv()?;
    }
    // All at once, so that the grace time counts once.
    thread::scope(|scope| {
        for export in &mut exports {
            scope.spawn(|| export.stop());
        }
        for import in &mut imports {
            scope.spawn(|| import.stop());
        }
    });
    Ok(())
}

/// Closes Zenoh's session. The other bridges know already that the sessions are over, so a connection that does not answer holds up the
/// end for a moment only.
fn close(zenoh: zenoh::Session) {
    let (closed, is_closed) = mpsc::channel();
    let closing =
        thread::Builder::new().name("close".into()).spawn(move || closed.send(zenoh.close().wait()));
    match is_closed.recv_timeout(CLOSE) {
        Ok(Ok(())) => {}
        result => {
            tracing::debug!(?result, started = closing.is_ok(), "Zenoh's session was not closed in order")
        }
    }
}

/// Opens a session of Zenoh. With the mode `client` in its configuration file, this waits until Zenoh is connected. `None`: a signal
/// has come before.
fn open_zenoh(
    network: &NetworkOptions, sender: mpsc::Sender<Event>, events: &mpsc::Receiver<Event>,
) -> anyhow::Result<Option<zenoh::Session>> {
    let config = network.zenoh()?;
    let open = move || {
        let _ = sender.send(Event::Opened(zenoh::open(config).wait()));
    };
    thread::Builder::new().name("open".into()).spawn(open)?;
    let event = match events.recv_timeout(SILENCE) {
        Err(RecvTimeoutError::Timeout) => {
            tracing::warn!(
                "Zenoh is not connected yet: does the endpoint accept connections, and is it right?"
            );
            events.recv()?
        }
        event => event?,
    };
    match event {
        Event::Opened(opened) => Ok(Some(opened.map_err(xshm_bridge::Error::Zenoh)?)),
        Event::Stop => Ok(None),
    }
}

/// Waits in a thread for the signals by which a user or the system ends a program. The first one is sent as an event; the second
/// one ends the program at once.
fn stop_signals(sender: mpsc::Sender<Event>) -> anyhow::Result<()> {
    let (ready, is_ready) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let mut signals = match Signals::new() {
                Ok(signals) => signals,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            let signal = signals.next().await;
            tracing::info!(signal, "stops");
            let _ = sender.send(Event::Stop);
            let signal = signals.next().await;
            tracing::warn!(signal, "ends at once");
            std::process::exit(130);
        });
    })?;
    Ok(is_ready.recv()??)
}

/// The signals that end the program.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 2]);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{signal, SignalKind};
        Ok(Signals([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]))
    }

    async fn next(&mut self) -> &'static str {
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    }
}

/// The signals that end the program.
#[cfg(windows)]
struct Signals {
    c: tokio::signal::windows::CtrlC,
    r#break: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
        Ok(Signals { c: ctrl_c()?, r#break: ctrl_break()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.c.recv() => "Ctrl-C",
            _ = self.r#break.recv() => "Ctrl-Break",
            _ = self.close.recv() => "the console's end",
            _ = self.shutdown.recv() => "the system's shutdown",
        }
    }
}
