//! `xshm list`.

use crate::args::List;
use crate::channels::{Direction, Machine, Mode, Process, Row, State};
use crate::output::{self, bytes, styled, visible, BAD};
use comfy_table::{
    presets, Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table,
};
use serde::Serialize;
use xshm::inspect::Reach;

#[derive(Serialize)]
struct Listing {
    channels: Vec<Row>,
}

pub fn run(args: &List) -> anyhow::Result<()> {
    let reach = if args.all_users { Reach::Machine } else { Reach::Own };
    let rows = Machine::look(reach)?.rows();
    if args.json {
        return output::json(&Listing { channels: rows });
    }
    if rows.is_empty() {
        // For people alone: a script that reads lines gets none.
        if output::is_terminal() {
            output::line("There are no channels.")?;
        }
        return Ok(());
    }
    Ok(output::line(table(&rows).trim_end())?)
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !output::is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    let headings = ["NAME", "MODE", "STATE", "SERVER", "CLIENT", "#", "RING", "QUEUED", "DROPS"];
    table.set_header(headings.map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if at >= 5 {
            column.set_cell_alignment(CellAlignment::Right);
        }
        // In a narrow terminal, the names of channels and programs take more lines.
        if !matches!(at, 0 | 3 | 4) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut last = None;
    for row in rows {
        let server = (row.name.as_deref(), row.server.as_ref().map_or(0, |server| server.id));
        // The channels of the clients follow the channel that their server offers.
        let belongs = row.mode == Mode::Multi && last == Some(server);
        last = Some(server);
        let name = match (belongs, row.slot) {
            (true, Some(slot)) => dim(format!("- client {slot}")),
            _ => row.name.as_deref().map_or_else(|| dim("(no name)"), |name| Cell::new(visible(name))),
        };
        table.add_row([
            name,
            Cell::new(row.mode.text()),
            state(row),
            if belongs { Cell::new("") } else { process(row.server.as_ref()) },
            process(row.client.as_ref()),
            Cell::new(if row.generation == 0 { "-".to_owned() } else { row.generation.to_string() }),
            Cell::new(if row.ring_size == 0 { "-".to_owned() } else { bytes(row.ring_size.into()) }),
            queued(row),
            dropped(row),
        ]);
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    for row in rows {
        for problem in &row.problems {
            let name = row.name.as_deref().map_or_else(|| "(no name)".to_owned(), visible);
            text += &format!("{} {name}: {}\n", styled(BAD, "!"), visible(problem));
        }
    }
    text
}

fn dim(text: impl Into<String>) -> Cell {
    Cell::new(text.into()).add_attribute(Attribute::Dim)
}

fn state(row: &Row) -> Cell {
    let cell = Cell::new(row.state.text());
    match row.state {
        State::Connected | State::Requesting => cell.fg(Color::Green),
        State::Idle | State::Hidden => cell.add_attribute(Attribute::Dim),
        State::Ended | State::ServerGone | State::ClientDead => cell.fg(Color::Yellow),
        State::ServerDead | State::Damaged => cell.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

fn process(process: Option<&Process>) -> Cell {
    let Some(process) = process else { return Cell::new("-") };
    match &process.program {
        Some(program) => Cell::new(format!("{} {}", process.id, visible(program))),
        None => dim(format!("{} (ended)", process.id)),
    }
}

/// The messages on their way to the client, and to the server. A `z` follows if their receiver sleeps.
fn queued(row: &Row) -> Cell {
    let count = |direction: Option<Direction>, sleeps: bool| {
        let Some(direction) = direction else { return "-".to_owned() };
        let more = if direction.is_partial { "+" } else { "" };
        format!("{}{more}{}", direction.queued, if sleeps { "z" } else { "" })
    };
    let to_client = count(row.to_client, row.client_wait.sleeps_for_message);
    let to_server = count(row.to_server, row.server_wait.sleeps_for_message);
    Cell::new(format!("{to_client}/{to_server}"))
}

fn dropped(row: &Row) -> Cell {
    let count = |direction: Option<Direction>| direction.map_or(0, |direction| direction.dropped);
    match count(row.to_client).saturating_add(count(row.to_server)) {
        0 => Cell::new("0"),
        dropped => Cell::new(dropped).fg(Color::Yellow),
    }
}
