//! The command line. `build.rs` makes the man pages and the shell completions of it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// See, feed, tap and measure shared-memory channels
#[derive(Debug, Parser)]
#[command(name = "xshm", version, after_help = EXIT_STATUS, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  something failed; the message says what
  2  the command line is wrong
  3  there is no such channel or server, or the name is taken
  4  the time was over
  5  the peer died, left, or broke the protocol
  6  the system or the peer refused access
  130  Ctrl-C or a signal ended serve, connect, replay or bench

NO_COLOR=1 turns colours off. When the output is no terminal, there are none.";

#[derive(Debug, Subcommand)]
pub enum Command {
    List(List),
    Info(Info),
    Watch(Watch),
    Serve(Serve),
    Connect(Connect),
    Tap(Tap),
    Replay(Replay),
    Bench(Bench),
    Doctor(Doctor),
    Completions(Completions),
    Man(Man),
}

/// List the channels of this machine
///
/// Shows each channel with its server and its client; # is the number of the session. QUEUED has the messages on their way to the client and, after the stroke, to the
/// server; a `z` follows where the receiver sleeps. It looks from outside: it connects to no channel, and changes nothing.
///
/// On Linux you see your own channels, and the names alone of other users' channels; root sees all. On Windows you see those that
/// your access rights let you read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm list                      what is here
  xshm list --all-users --json   for scripts
  xshm list --json | jq -r '.channels[] | select(.state != \"idle\") | .name'")]
pub struct List {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Also the channels of other users (Linux) and sessions (Windows)
    #[arg(long)]
    pub all_users: bool,
}

/// Show all that a channel's memory says
///
/// Prints the control block and both ring headers in words, the processes at both ends, the owner, and the access list where the
/// system has one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm info prices
  xshm info 'Global\\prices' --json")]
pub struct Info {
    /// The channel's name
    pub name: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Watch the traffic of channels
///
/// Shows messages and megabytes per second in both directions, the depth of the queues, evicted messages, and how much of the time each
/// side sleeps. In a terminal it draws; `q` ends it. Otherwise it prints a line for each direction of each channel and interval.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm watch prices orders
  xshm watch                            all channels
  xshm watch prices --interval 1s --count 10 | tee log.txt")]
pub struct Watch {
    /// The channels' names. None: all channels
    pub names: Vec<String>,
    /// The time between two lines or pictures
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// End after this number of intervals
    #[arg(long)]
    pub count: Option<u64>,
    /// Print lines, also to a terminal
    #[arg(long)]
    pub plain: bool,
}

/// What the messages are on the standard streams
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Each line is a message, without the newline (on Windows, without CR LF)
    Lines,
    /// Each line is a message in hexadecimal digits; blanks between bytes are allowed
    Hex,
    /// Each message follows its length, which is a number of 4 bytes, little-endian
    Length,
    /// Bytes as they come, in messages as long as the channel allows, up to 1 MiB: for files and streams
    Raw,
}

#[derive(Debug, Args)]
pub struct Transfer {
    /// What the messages are, on standard input and standard output
    #[arg(long, short, value_enum, default_value_t = Format::Lines)]
    pub format: Format,
    /// Send this file in place of standard input, with a progress bar
    #[arg(long, value_name = "FILE")]
    pub send: Option<PathBuf>,
    /// Write what is received to this file in place of standard output
    #[arg(long, value_name = "FILE")]
    pub receive: Option<PathBuf>,
    /// Only receive: do not read standard input
    #[arg(long, conflicts_with = "send")]
    pub receive_only: bool,
    /// End after this number of received messages. What standard input still has then is not sent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// How long to wait for the peer
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// How long to go on receiving after the end of standard input. By default until the peer leaves. With --send, and without
    /// --receive and --count, the default is 0s: leave when the file is sent
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub linger: Option<Duration>,
}

/// Serve a channel: a netcat that listens
///
/// Waits for a client, sends it what comes from standard input, and prints what it sends. Ends with status 0 when standard input has
/// ended and the client has left. Status 5 says that the client died, or left before it had received everything, or could not send
/// all of its input. If both sides end their input, each waits until the other one leaves: give one of them a --linger, or press
/// Ctrl-C. Ctrl-C and signals leave in order, so that the other side ends with status 0. A second one, half a second later or more,
/// ends the program at once.
///
/// No message is lost: when the client's queue is full, the server waits for the client. The client still gets what was sent before
/// the server has left. Messages may be empty.
///
/// With --multi, standard input is read from the moment when the first client is there, and each message goes to all clients that are
/// connected at that time. A slow client delays them all once its queue is full (250 messages, or the ring), since none of them
/// loses a message; a client that has left or died delays them no more. The server ends when standard input has ended and the last
/// client has left, or when the time of --linger is over.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm serve chat                                        type lines to a client
  xshm serve data --format raw --send big.iso            send a file, then leave
  tar c . | xshm serve data --format raw --linger 0s     send a stream, then leave
  xshm serve news --multi < headlines.txt                to all clients
  xshm serve log --multi --receive-only --linger 1day    collect lines from many clients")]
pub struct Serve {
    /// The channel's name
    pub name: String,
    #[command(flatten)]
    pub transfer: Transfer,
    /// Serve many clients: each message goes to all of them; received lines begin with the client's number, as in `3: text`
    #[arg(long, conflicts_with = "send")]
    pub multi: bool,
    /// The most clients at a time
    #[arg(long, value_name = "N", default_value_t = 20, requires = "multi")]
    pub max_clients: u32,
    /// The bytes in each direction's ring, a power of two. By default 2 MiB, or more if the longest message needs it
    #[arg(long, value_name = "BYTES")]
    pub ring_size: Option<usize>,
    /// The length of the longest message. By default 65535, or less in a small ring
    #[arg(long, value_name = "BYTES")]
    pub max_message_size: Option<usize>,
    /// Admit all users of the machine
    #[arg(long)]
    pub everyone: bool,
}

/// Connect to a channel: a netcat that calls
///
/// Sends what comes from standard input to the server, and prints what the server sends. The server may be one for one client or for
/// many. Ends with status 0 when standard input has ended and the server has left, or as --count and --linger say. Status 5 says that
/// the server died, or left before it had received everything, or could not send all of its input. If both sides end their input,
/// each waits until the other one leaves.
///
/// No message is lost: when the server's queue is full, the client waits for the server. The server still gets what was sent before
/// the client has left. Most servers accept messages of 2 to 65535 bytes, so an empty line ends the client with an error there; those
/// of `xshm serve` accept it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm connect chat
  echo '{\"op\":\"ping\"}' | xshm connect api --count 1        one request, one answer
  xshm connect data --format raw --receive-only > big.iso
  xshm connect log --linger 0s < lines.txt                     send all, then leave")]
pub struct Connect {
    /// The channel's name
    pub name: String,
    #[command(flatten)]
    pub transfer: Transfer,
    /// Trust a server of any user
    #[arg(long)]
    pub trust_anyone: bool,
}

/// How messages are printed
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Print {
    /// As text if a message is text, otherwise in hexadecimal digits
    Auto,
    /// As text
    Text,
    /// In hexadecimal digits, with the text beside them
    Hex,
    /// Only the length
    Length,
    /// Nothing
    None,
}

/// Stand between a server and its clients, and show or record the messages
///
/// Serves NEWNAME, and connects to NAME for each client that has come. Each message goes on in its direction, unchanged and in order.
/// NEWNAME serves one client after the other, or many at a time if the server does, with the sizes of the server's channel. A server of
/// another user hides these: the tap then serves one client after the other, with the default sizes, and fails if the server has others.
///
/// No message is lost on the way: when one side is slow, the other side waits, or evicts messages if that is how it sends. When one
/// side leaves or dies, the other side's session ends too, and the tap waits for the next client. Ctrl-C ends the tap with status 0.
///
/// A printed line has the time, the client's number, `->` for a message of the client or `<-` for one of the server, the length, and
/// the message. If the recording cannot be written any further, the messages go on, what was recorded stays readable, and the tap
/// ends with status 1 in the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm tap prices --as prices-tapped
  xshm tap prices --as prices-tapped --record prices.xshmrec --print none

The client must connect to the new name.")]
pub struct Tap {
    /// The server's channel
    pub name: String,
    /// The name that clients connect to
    #[arg(long = "as", value_name = "NEWNAME")]
    pub as_name: String,
    /// Record the messages into this file
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "record")]
    pub force: bool,
    /// How to print messages
    #[arg(long, value_enum, default_value_t = Print::Auto)]
    pub print: Print,
    /// End when the first client has left. Status 5 says that one side has died
    #[arg(long)]
    pub once: bool,
    /// How long to wait for the server
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Which recorded messages to send
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Those of the client, to a server
    Client,
    /// Those of the server, to a client
    Server,
}

/// Send recorded messages again
///
/// With `--from client` (the default) it connects to NAME and sends what the client sent. With `--from server` it serves NAME, for one
/// client, and sends what the server sent. It keeps the times between the messages. What the peer sends is received and dropped.
///
/// A recording that was cut off is sent up to there; then the program says so, and ends with status 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm replay prices.xshmrec prices-test --from server
  xshm replay orders.xshmrec orders --speed 2x
  xshm replay orders.xshmrec orders --speed max
  xshm replay chat.xshmrec chat --client 2                 what the third client sent")]
pub struct Replay {
    /// The recording
    pub file: PathBuf,
    /// The channel's name
    pub name: String,
    /// Which messages to send
    #[arg(long, value_enum, default_value_t = Direction::Client)]
    pub from: Direction,
    /// Only the messages of the client with this number, or to it. By default those of all clients
    #[arg(long, value_name = "N")]
    pub client: Option<u32>,
    /// How fast: 1x as recorded, 2x in half the time, max without pauses
    #[arg(long, default_value = "1x")]
    pub speed: String,
    /// How long to stay after the last message
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub linger: Duration,
    /// How long to wait for the peer
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Measure round trips and rates between two processes on this machine
///
/// Starts a second process, and exchanges messages with it over a channel that has a random name. It measures the times of round
/// trips, and how many messages a second go in one direction, one with each call and 32 with each call. In a terminal it draws how
/// the times are distributed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm bench
  xshm bench --size 1024 --spin 0us
  xshm bench --pin 0,1 --json

Ctrl-C ends both processes, with status 130.")]
pub struct Bench {
    /// The bytes in each message, from 2 to 536870848
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub size: usize,
    /// The number of round trips, and of messages in each of the runs in one direction. By default 200,000, or as many as two seconds
    /// allow
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
    /// How long both sides spin before they sleep. By default the library decides
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub spin: Option<Duration>,
    /// The processors of the two processes, as two numbers
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 1)]
    pub pin: Vec<usize>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// The other process
    #[arg(long, hide = true, value_name = "CHANNEL")]
    pub answer: Option<String>,
}

/// Check whether this machine has what channels need
///
/// Prints one line for each finding, with what to do. Ends with status 1 if something is missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm doctor
  xshm doctor --json")]
pub struct Doctor {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm completions bash > ~/.local/share/bash-completion/completions/xshm
  xshm completions fish > ~/.config/fish/completions/xshm.fish")]
pub struct Completions {
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    Powershell,
    Zsh,
}

/// Print a man page
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  xshm man > ~/.local/share/man/man1/xshm.1
  xshm man list | man -l -")]
pub struct Man {
    /// The command. None: the program
    pub command: Option<String>,
}
