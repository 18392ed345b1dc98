//! Makes the man pages and the shell completions of the command line. `xshm man` and `xshm completions` print them. If the variable
//! `XSHM_ASSETS` is set, the files go into that folder too, for packagers.

use clap::CommandFactory;
use clap_complete::Shell;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[path = "src/args.rs"]
#[allow(dead_code)]
mod args;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src/args.rs");
    println!("cargo::rerun-if-env-changed=XSHM_ASSETS");
    write(Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")))?;
    match env::var_os("XSHM_ASSETS") {
        Some(folder) => write(&PathBuf::from(folder)),
        None => Ok(()),
    }
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut command = args::Cli::command();
    for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, "xshm", folder)?;
    }
    let names: Vec<String> =
        command.get_subcommands().map(|sub| format!("xshm-{}", sub.get_name())).collect();
    clap_mangen::generate_to(command.disable_help_subcommand(true), folder)?;
    let page = |name: String| format!("({name:?}, include_str!({:?})),\n", folder.join(format!("{name}.1")));
    let pages: String = names.into_iter().chain(["xshm".to_owned()]).map(page).collect();
    fs::write(folder.join("pages.rs"), format!("&[\n{pages}]\n"))
}
