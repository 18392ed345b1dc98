//! Checks the rules of the source tree: each file stands on a layer and imports from its own layer or from lower ones, no
//! files import each other in a circle, and few files mention a platform.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The layers, from bottom to top. A name stands for the file or the folder of that name.
const LAYERS: [(&str, &[&str]); 10] = [
    ("vocabulary", &["constants", "error", "handles", "naming", "panics", "sync", "sys/kinds"]),
    ("rings", &["bytes", "layout", "ring", "wake"]),
    ("platform", &["linux", "ntapi", "sys", "win"]),
    ("what callers choose", &["access", "options", "threads", "waiting"]),
    ("channel", &["channel", "events", "session", "shared", "watch"]),
    (
        "endpoint",
        &[
            "answering",
            "batch",
            "calls",
            "endpoint",
            "figures",
            "halves",
            "in_place",
            "owned",
            "readiness",
            "receiving",
            "sending",
            "streams",
        ],
    ),
    ("server and client", &["caller", "client", "connecting", "inspect", "server"]),
    ("background", &["asynchronous", "auto", "background", "multi"]),
    ("C", &["auto/ffi", "ffi", "multi/ffi"]),
    ("crate", &["lib"]),
];

/// Tests and models, which may import everything. Other files import only their hooks.
const VERIFY: &str = "verify";

/// Files whose code is chosen by platform.
const SEAM: [&str; 2] = ["sys", "lib"];

type Sources = BTreeMap<String, String>;

/// The files of `src/` by their module, as `ring/producer`, without comments and without the tests inside of them.
fn sources() -> Sources {
    fn collect(folder: &Path, prefix: &str, found: &mut Sources) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() {
                collect(&path, &format!("{prefix}{name}/"), found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = if name == "mod" {
                    prefix.trim_end_matches('/').to_owned()
                } else {
                    format!("{prefix}{name}")
                };
                found.insert(module, code(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Sources::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    assert!(found.len() > 30);
    found
}

/// The lines of a file that are neither comments nor a module of tests.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(") && line.contains("test");
        if is_test && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{')) {
            lines.by_ref().find(|line| *line == "}");
        } else if !line.trim_start().starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Splits the text between two braces at its commas.
fn parts(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&list[start..]);
    found
}

/// Lists each path of a tree of paths, such as `a::{b, c::d}`, that begins `text`.
fn paths(text: &str, before: &[String], found: &mut Vec<Vec<String>>) {
    let text = text.trim_start();
    let name: String =
        text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
    let rest = &text[name.len()..];
    let mut path = before.to_vec();
    if name.is_empty() {
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 1;
            let end = list.find(|character| {
                depth += i32::from(character == '{') - i32::from(character == '}');
                depth == 0
            });
            parts(&list[..end.unwrap_or(list.len())]).into_iter().for_each(|part| paths(part, before, found));
            return;
        }
    } else if name != "self" {
        path.push(name);
    }
    match rest.strip_prefix("::") {
        Some(rest) => paths(rest, &path, found),
        None => found.push(path),
    }
}

/// The files that a file imports from, by `use` or by a path in its code.
fn imports(module: &str, text: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let segments = |module: &str| -> Vec<String> {
        let path = module.split('/').map(str::to_owned);
        path.filter(|segment| segment != "lib").collect()
    };
    let own = segments(module);
    let mut found = Vec::new();
    for (root, base) in [("crate::", &[][..]), ("super::", &own[..own.len().saturating_sub(1)])] {
        for (at, _) in text.match_indices(root) {
            let is_whole = text[..at]
                .chars()
                .last()
                .map_or(true, |before| !before.is_alphanumeric() && before != '_' && before != ':');
            if is_whole {
                let (mut rest, mut base) = (&text[at + root.len()..], base);
                while let Some(more) = rest.strip_prefix("super::").filter(|_| !base.is_empty()) {
                    (rest, base) = (more, &base[..base.len() - 1]);
                }
                paths(rest, base, &mut found);
            }
        }
    }
    // A module may import from its own submodule by `use child::…`. Passing names on (`pub use`) does not count.
    for line in text.lines().filter_map(|line| line.strip_prefix("use ")) {
        let child = line.split("::").next().unwrap_or_default();
        let path = [own.join("/"), child.to_owned()].join("/");
        if modules.contains(path.trim_start_matches('/')) {
            paths(line, &own, &mut found);
        }
    }
    let file_of = |path: Vec<String>| {
        let longest = (1..=path.len()).rev().map(|length| path[..length].join("/"));
        longest.into_iter().find(|path| modules.contains(path))
    };
    let is_other = |found: &String| found != module && !found.starts_with(VERIFY);
    found.into_iter().filter_map(file_of).filter(is_other).collect()
}

fn layer(module: &str) -> Option<usize> {
    let is_of =
        |name: &str| module == name || module.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    let longest = |names: &[&str]| names.iter().filter(|name| is_of(name)).map(|name| name.len()).max();
    let lengths = LAYERS.iter().map(|(_, names)| longest(names));
    lengths.enumerate().filter_map(|(at, length)| Some((length?, at))).max().map(|(_, at)| at)
}

/// Lists what is wrong with the imports of these files.
fn faults(sources: &Sources) -> Vec<String> {
    let modules: BTreeSet<String> = sources.keys().cloned().collect();
    let product = sources.iter().filter(|(module, _)| !module.starts_with(VERIFY));
    let imports: BTreeMap<&str, BTreeSet<String>> =
        product.map(|(module, text)| (module.as_str(), imports(module, text, &modules))).collect();
    let mut faults = Vec::new();
    for (module, others) in &imports {
        let Some(own) = layer(module) else {
            faults.push(format!("no layer names {module}"));
            continue;
        };
        for other in others.iter().filter(|other| layer(other).is_some_and(|layer| layer > own)) {
            faults.push(format!("{module} imports {other}, which stands above it"));
        }
    }
    // `reached`: the files that a file imports directly or indirectly.
    for module in imports.keys() {
        let (mut open, mut reached) = (vec![*module], BTreeSet::new());
        while let Some(at) = open.pop() {
            for next in imports.get(at).into_iter().flatten() {
                if reached.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        if reached.contains(module) {
            let back =
                imports[module].iter().filter(|next| *next == module || reaches(&imports, next, module));
            faults.push(format!("{module} is in a circle: by {:?}", back.collect::<Vec<_>>()));
        }
    }
    faults
}

fn reaches(imports: &BTreeMap<&str, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let (mut open, mut seen) = (vec![from.to_owned()], BTreeSet::new());
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at.clone()) {
            open.extend(imports.get(at.as_str()).into_iter().flatten().cloned());
        }
    }
    false
}

/// Lists the lines that choose code by platform in files where that is not permitted.
fn mentions_of_a_platform(sources: &Sources) -> Vec<String> {
    let words = ["windows", "unix", "target_os", "target_family", "linux"];
    let outside = sources.iter().filter(|(module, _)| !SEAM.contains(&module.as_str()));
    let mut found = Vec::new();
    for (module, text) in outside {
        for line in text.lines().filter(|line| line.contains("cfg(") || line.contains("cfg!(")) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{module}: {line}"));
            }
        }
    }
    found
}

#[test]
fn only_the_seam_mentions_a_platform() {
    assert_eq!(mentions_of_a_platform(&sources()), [""; 0]);
}

#[test]
fn imports_point_down_and_form_no_circle() {
    assert_eq!(faults(&sources()), [""; 0]);
}

/// Only the files of the platform layer use `ntapi` and `rustix`.
#[test]
fn only_the_platform_calls_the_system() {
    for (module, text) in sources() {
        let is_platform = ["win", "ntapi", "linux"].iter().any(|folder| module.starts_with(folder));
        assert!(
            is_platform || !(text.contains("ntapi::") || text.contains("rustix::")),
            "{module} calls the system directly"
        );
    }
}

/// Lists the files on Linux that create or receive descriptors themselves: only `linux/descriptors` gives them numbers that
/// are no standard stream's.
fn creates_descriptors(sources: &Sources) -> Vec<String> {
    const CALLS: [&str; 22] = [
        "accept",
        "accept4",
        "accept_with",
        "dup",
        "dup2",
        "epoll",
        "eventfd",
        "fcntl_dupfd",
        "fcntl_dupfd_cloexec",
        "inotify",
        "memfd_create",
        "open",
        "openat",
        "pidfd_getfd",
        "pidfd_open",
        "pipe",
        "pipe_with",
        "recvmsg",
        "signalfd",
        "socket_with",
        "socketpair",
        "timerfd_create",
    ];
    const STD: [&str; 5] = ["File::open", "fs::read", "UnixStream", "UnixListener", "UnixDatagram"];
    let mut found = Vec::new();
    for (module, text) in sources.iter().filter(|(module, _)| module.starts_with("linux/")) {
        let imported = || text.split("use rustix::").skip(1).filter_map(|rest| rest.split(';').next());
        let words = imported().flat_map(|list| list.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let is_call = |word: &&str| CALLS.contains(word);
        let has_std = STD.iter().any(|name| text.contains(name));
        if module != "linux/descriptors" && (words.into_iter().any(|word| is_call(&word)) || has_std) {
            found.push(module.clone());
        }
    }
    found
}

#[test]
fn one_file_creates_descriptors() {
    assert_eq!(creates_descriptors(&sources()), [""; 0]);
    let plant = |line: &str| {
        let mut sources = sources();
        sources.get_mut("linux/event").unwrap().push_str(line);
        creates_descriptors(&sources)
    };
    assert_eq!(plant("use rustix::event::{eventfd, EventfdFlags};\n"), ["linux/event"]);
    assert_eq!(plant("use rustix::{\n    event::poll,\n    net::recvmsg,\n};\n"), ["linux/event"]);
    assert_eq!(plant("fn f() { std::fs::read(\"/proc/version\"); }\n"), ["linux/event"]);
}

/// Each rule finds a planted violation.
#[test]
fn planted_faults_are_found() {
    let plant = |module: &str, line: &str| {
        let mut sources = sources();
        let before = faults(&sources).len() + mentions_of_a_platform(&sources).len();
        sources.entry(module.to_owned()).or_default().push_str(&code(line));
        faults(&sources).len() + mentions_of_a_platform(&sources).len() - before
    };
    // An import from a higher layer, in each form.
    assert!(plant("ring", "use crate::session::Session;\n") > 0);
    assert!(plant("ring/producer", "use crate::{error::Result, server::SharedServer};\n") > 0);
    assert!(plant("layout", "fn f() { crate::background::worker::run(); }\n") > 0);
    assert!(plant("linux/wait", "use super::super::channel::Channel;\n") > 0);
    // A circle between files of one layer.
    assert!(plant("waiting", "use crate::options::Tuning;\n") > 0);
    assert!(plant("linux/system", "use super::event::Event;\n") > 0);
    assert!(
        plant(
            "background/core",
            "use super::worker::run;
"
        ) > 0
    );
    assert!(
        plant(
            "multi/handler",
            "use crate::multi::server::MultiServer;
"
        ) > 0
    );
    // A file that no layer names, and a platform in the wrong place.
    assert!(plant("utilities", "fn f() {}\n") > 0);
    assert!(plant("session", "#[cfg(target_os = \"linux\")]\n") > 0);
    // Text that is no import.
    assert_eq!(plant("ring", "// use crate::session::Session;\n"), 0);
    assert_eq!(plant("ring", "#[cfg(test)]\nmod tests {\n    use crate::session::Session;\n}\n"), 0);
}
