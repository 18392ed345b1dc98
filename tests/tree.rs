//! The source tree keeps its own rules: who may mention a platform, and who may import whom.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

fn all() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 15);
    found
}

fn is(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|file| file == name)
}

#[test]
fn only_the_seam_mentions_a_platform() {
    // Put together, so that this file doesn't find itself.
    let words = ["windows", "unix", "target_os", "target_family", "linux"];
    for (path, text) in all().iter().filter(|(path, _)| !is(path, "sys.rs")) {
        for line in text.lines().filter(|line| line.contains("cfg(") || line.contains("cfg!(")) {
            assert!(!words.iter().any(|word| line.contains(word)), "{}: {line}", path.display());
        }
    }
}

#[test]
fn imports_point_down_only() {
    let forbidden: [(&str, &[&str]); 8] = [
        ("sync.rs", &["crate::sys", "crate::layout", "crate::ring", "crate::session"]),
        ("bytes.rs", &["crate::sys", "crate::layout", "crate::ring", "crate::session"]),
        ("layout.rs", &["crate::sys", "crate::ring::", "crate::session"]),
        ("ring.rs", &["crate::sys", "crate::wake::", "crate::shared", "crate::session"]),
        ("producer.rs", &["crate::sys", "crate::wake::", "crate::shared", "crate::session"]),
        ("consumer.rs", &["crate::sys", "crate::wake::", "crate::shared", "crate::session"]),
        ("shared.rs", &["crate::session", "crate::endpoint", "crate::server", "crate::client"]),
        ("endpoint.rs", &["crate::server", "crate::client"]),
    ];
    for (path, text) in all() {
        for (name, modules) in forbidden {
            let uses = || text.lines().filter(|line| line.trim_start().starts_with("use "));
            if is(&path, name) {
                for module in modules {
                    assert!(!uses().any(|line| line.contains(module)), "{name} imports {module}");
                }
            }
        }
        let below = path.components().any(|part| part.as_os_str() == "ntapi" || part.as_os_str() == "win");
        if !below && !is(&path, "win.rs") && !is(&path, "sys.rs") {
            assert!(!text.contains("ntapi::"), "{} uses the raw system", path.display());
        }
    }
}
