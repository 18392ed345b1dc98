//! The man pages and shell completions, which `build.rs` has made.

use crate::args::{Completions, Man, Shell};
use crate::exit::{coded, USAGE};
use std::io::{self, Write};

const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

pub fn completions(args: &Completions) -> anyhow::Result<()> {
    let text = match args.shell {
        Shell::Bash => include_str!(concat!(env!("OUT_DIR"), "/xshm.bash")),
        Shell::Elvish => include_str!(concat!(env!("OUT_DIR"), "/xshm.elv")),
        Shell::Fish => include_str!(concat!(env!("OUT_DIR"), "/xshm.fish")),
        Shell::Powershell => include_str!(concat!(env!("OUT_DIR"), "/_xshm.ps1")),
        Shell::Zsh => include_str!(concat!(env!("OUT_DIR"), "/_xshm")),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

pub fn man(args: &Man) -> anyhow::Result<()> {
    let name = args.command.as_ref().map_or_else(|| "xshm".to_owned(), |command| format!("xshm-{command}"));
    match PAGES.iter().find(|(page, _)| *page == name) {
        Some((_, text)) => Ok(io::stdout().write_all(text.as_bytes())?),
        None => Err(coded(USAGE, format!("there is no page {name}; `xshm help` lists the commands"))),
    }
}
