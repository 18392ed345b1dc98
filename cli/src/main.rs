//! `xshm`: see, feed, tap and measure shared-memory channels from a terminal.

mod args;
mod bench;
mod channels;
mod doctor;
mod exit;
mod info;
mod list;
mod message;
mod output;
mod pages;
mod recording;
mod replay;
mod signals;
mod tap;
mod threads;
mod transfer;
mod users;
mod watch;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    signals::let_writes_fail();
    let outcome = match Cli::parse().command {
        Command::List(args) => list::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Serve(args) => transfer::serve(&args),
        Command::Connect(args) => transfer::connect(&args),
        Command::Tap(args) => tap::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => pages::completions(&args),
        Command::Man(args) => pages::man(&args),
    };
    exit::code(outcome)
}
