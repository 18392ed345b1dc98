//! `xshm info`.

use crate::args::Info;
use crate::channels::{Direction, Machine, Process, Row, Waiting};
use crate::exit::{coded, NO_CHANNEL, REFUSED};
use crate::output::{self, bytes, styled, visible, BAD, BOLD};
use serde::Serialize;
use xshm::inspect::Reach;

#[derive(Serialize)]
struct Details {
    name: String,
    channels: Vec<Row>,
}

pub fn run(args: &Info) -> anyhow::Result<()> {
    // Another user's channel may have the same name: this user's is meant, if there is one.
    let wanted = args.name.strip_prefix("Local\\").unwrap_or(&args.name);
    let mut machine = Machine::look(Reach::Own)?;
    if machine.named(wanted).next().is_none() {
        machine = Machine::look(Reach::Machine)?;
    }
    let channels: Vec<Row> = machine.named(wanted).map(|channel| machine.row(channel)).collect();
    if channels.is_empty() {
        return Err(match machine.names.iter().any(|name| name.name == wanted) {
            true => coded(
                REFUSED,
                format!(
                    "a server has the name {:?}, but this user sees no channel of it: it belongs to another user (try as root or \
                     administrator), or is no server of xshm",
                    args.name
                ),
            ),
            false => coded(
                NO_CHANNEL,
                format!("there is no channel {:?}; `xshm list --all-users` shows those that there are", args.name),
            ),
        });
    }
    if args.json {
        return output::json(&Details { name: args.name.clone(), channels });
    }
    let texts: Vec<String> = channels.iter().map(describe).collect();
    Ok(output::line(texts.join("\n").trim_end())?)
}

fn describe(row: &Row) -> String {
    let mut text =
        format!("{}\n", styled(BOLD, row.name.as_deref().map_or_else(|| "(no name)".to_owned(), visible)));
    let mut line = |what: &str, value: String| text += &format!("  {what:<22} {value}\n");
    line("state", row.state.text().to_owned());
    for problem in &row.problems {
        line("problem", styled(BAD, visible(problem)));
    }
    line("scope", format!("{} ({})", row.scope, scope_words(row.scope)));
    line(
        "mode",
        format!("{}{}", row.mode.text(), row.slot.map_or(String::new(), |slot| format!(", client {slot}"))),
    );
    line("server", process(row.server.as_ref()));
    line("  waits", waiting(row.server_wait, row.generation));
    line("client", process(row.client.as_ref()));
    line("  waits", waiting(row.client_wait, row.generation));
    line("session", format!("{} ({} requests so far)", row.generation, row.attempts));
    line("ring size", format!("{} ({} bytes) each way", bytes(row.ring_size.into()), row.ring_size));
    line("message limit", format!("{} messages each way", row.message_limit));
    line("longest message", format!("{} bytes", row.max_message_size));
    line(
        "when full",
        match row.when_full {
            "reject" => "a send fails or waits".to_owned(),
            _ => "a send may evict the oldest messages".to_owned(),
        },
    );
    line(
        "wake-ups",
        if row.has_events { "by events" } else { "none: each side looks every millisecond" }.to_owned(),
    );
    for (what, direction) in [("server to client", row.to_client), ("client to server", row.to_server)] {
        line(what, String::new());
        let Some(direction) = direction else { continue };
        ring(&mut line, direction);
    }
    line("memory", format!("{} bytes, number {}", row.memory, row.memory_id));
    line("owner", row.owner.clone().unwrap_or_else(|| "the system does not say it".to_owned()));
    match &row.access {
        Some(entries) => entries.iter().for_each(|entry| line("access", visible(entry))),
        None => line("access", "the server decides which clients get the memory".to_owned()),
    }
    if !row.processes.is_empty() {
        let processes: Vec<String> = row.processes.iter().map(u32::to_string).collect();
        line("open in processes", processes.join(", "));
    }
    line("protocol", format!("version {:#010x}, magic {:#010x}", row.version, row.magic));
    line("instance", format!("{:#018x}", row.instance));
    text
}

fn scope_words(scope: &str) -> &'static str {
    match (scope, cfg!(windows)) {
        ("machine", _) => "all users can find the name",
        (_, true) => "valid in this session",
        (_, false) => "valid for its user",
    }
}

fn ring(line: &mut impl FnMut(&str, String), direction: Direction) {
    let more = if direction.is_partial { " or more" } else { "" };
    line(
        "  queued",
        format!("{}{more} messages, {} bytes with headers", direction.queued, direction.queued_bytes),
    );
    line("  sent", format!("{} messages in this session", direction.sent));
    line("  dropped", format!("{} messages", direction.dropped));
    line("  read position", format!("{:#x}", direction.read_position));
    line(
        "  counted by the sender",
        format!("{} messages, to {:#x}", direction.message_count, direction.write_position),
    );
}

fn process(process: Option<&Process>) -> String {
    let Some(process) = process else { return "none".to_owned() };
    let user = process.user.as_deref().map_or(String::new(), |user| format!(" of {}", visible(user)));
    match &process.program {
        Some(program) => format!("process {} ({}){user}", process.id, visible(program)),
        None => format!("process {}, which has ended", process.id),
    }
}

fn waiting(wait: Waiting, generation: u32) -> String {
    let words = [
        (wait.sleeps_for_message, "sleeps until a message comes"),
        (wait.sleeps_for_room, "sleeps until there is room"),
        (wait.promises_awake, "promises not to sleep"),
        (wait.wants_all_signals, "wants a signal for each message"),
        (wait.eviction_pressure, "messages are evicted before it takes them"),
        (wait.session != generation, "has written nothing in this session"),
    ];
    let words: Vec<&str> = words.iter().filter(|(applies, _)| *applies).map(|(_, words)| *words).collect();
    if words.is_empty() {
        "awake".to_owned()
    } else {
        words.join(", ")
    }
}
