//! Checks docs/parity.md: each name in it exists in its language, each function of the C header is in it, and no cell is empty.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All sources of the crate, and so all its names.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The words of a text that may be names.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').collect()
}

/// The names between backticks, with braces written out.
fn names(cell: &str) -> Vec<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted
        .flat_map(|name| match name.split_once('{') {
            None => vec![name.to_owned()],
            Some((before, rest)) => {
                let (list, after) = rest.split_once('}').expect("a closing brace");
                list.split(',').map(|each| format!("{before}{each}{after}")).collect()
            }
        })
        .collect()
}

#[test]
fn the_table_of_capabilities_is_complete_and_true() {
    let (table, header, layer) = (read("docs/parity.md"), read("include/xshm.h"), read("include/xshm.hpp"));
    let mut rust = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut rust);
    let known = [words(&rust), words(&header), words(&layer)];
    let (mut faults, mut in_table, mut rows) = (Vec::new(), BTreeSet::new(), 0);
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| capability")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{line}");
        rows += 1;
        for (language, cell) in cells[1..].iter().enumerate() {
            if cell.is_empty() {
                faults.push(format!("an empty cell: {line}"));
            }
            for name in names(cell) {
                // Each part of a path: the type, and its method or field.
                let missing = name.split("::").find(|part| *part != "std" && !known[language].contains(part));
                if let Some(part) = missing {
                    faults.push(format!("there is no {part} ({name}): {}", cells[0]));
                }
                in_table.insert(name);
            }
        }
    }
    assert!(rows > 60, "{rows} rows");
    let symbols = read("tests/c/symbols.txt");
    faults.extend(
        symbols
            .lines()
            .filter(|symbol| !in_table.contains(*symbol))
            .map(|symbol| format!("no row has {symbol}")),
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
