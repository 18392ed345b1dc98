//! `xshm doctor`.

mod common;

use common::{run, Ended};
use serde_json::Value;

/// The findings of a JSON document, which agrees with the status.
fn findings(ended: &Ended) -> Vec<Value> {
    let report: Value = serde_json::from_str(ended.text()).unwrap();
    let findings = report["findings"].as_array().unwrap().clone();
    let count = |state: &str| findings.iter().filter(|finding| finding["state"] == state).count() as u64;
    assert_eq!(report["missing"], count("missing"));
    assert_eq!(report["warnings"], count("warning"));
    assert_eq!(ended.status, Some(i32::from(count("missing") > 0)), "{}", ended.errors);
    for finding in &findings {
        let state = finding["state"].as_str().unwrap();
        assert!(["ok", "note", "warning", "missing"].contains(&state), "{finding}");
        assert!(
            !finding["subject"].as_str().unwrap().is_empty()
                && !finding["found"].as_str().unwrap().is_empty()
        );
        // A thing that is missing can be mended, or an error says why it does not work.
        assert!(
            state != "missing" || finding["advice"].is_string() || finding["subject"] == "channel",
            "{finding}"
        );
    }
    findings
}

fn finding<'a>(findings: &'a [Value], subject: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["subject"] == subject);
    found.unwrap_or_else(|| panic!("no finding about {subject}: {findings:?}"))
}

#[test]
fn a_pipe_gets_one_line_for_each_finding() {
    let ended = run(&["doctor"], "").assert_status(0);
    let output = ended.text();
    assert!(!output.contains('\x1b'), "{output}");
    for line in output.lines() {
        let state = line.split(' ').next().unwrap();
        assert!(["ok", "note", "warning"].contains(&state), "{line}");
    }
    assert!(output.lines().count() > 5, "{output}");
}

#[test]
fn channels_work_here() {
    let ended = run(&["doctor", "--json"], "");
    let findings = findings(&ended);
    for subject in ["channel", "Global channel"] {
        assert_eq!(finding(&findings, subject)["state"], "ok");
    }
    for subject in ["processors", "round trip", "timed wait"] {
        assert!(
            ["ok", "note"].contains(&finding(&findings, subject)["state"].as_str().unwrap()),
            "{subject}"
        );
    }
    let system =
        if cfg!(windows) { ["system", "session", "integrity"] } else { ["kernel", "/proc", "descriptors"] };
    for subject in system {
        finding(&findings, subject);
    }
}

#[cfg(target_os = "linux")]
mod limits {
    use super::*;
    use common::Xshm;

    /// What `xshm doctor --json` finds when a shell runs `preparation` first.
    fn after(preparation: &str) -> Ended {
        Xshm::start_after(preparation, &["doctor", "--json"]).until_end()
    }

    #[test]
    fn small_files_are_too_small_for_a_channel() {
        let ended = after("ulimit -f 100");
        let findings = findings(&ended);
        for subject in ["size of files", "channel", "Global channel"] {
            let finding = finding(&findings, subject);
            assert_eq!(finding["state"], "missing", "{finding}");
            assert!(finding["advice"].as_str().unwrap().contains("ulimit -f"), "{finding}");
        }
        ended.says("3 things");
        assert!(findings.iter().all(|finding| finding["subject"] != "round trip"));
    }

    #[test]
    fn few_descriptors_are_enough_for_few_clients() {
        // The soft limit alone, so that the advice is to raise it.
        let ended = after("ulimit -Sn 64");
        let findings = findings(&ended);
        let few = finding(&findings, "descriptors");
        assert_eq!(few["state"], "warning");
        assert!(few["found"].as_str().unwrap().contains("is 64: room for about 3 clients"), "{few}");
        assert!(few["advice"].as_str().unwrap().contains("1024"), "{few}");
        assert_eq!(finding(&findings, "channel")["state"], "ok");

        let ended = after("ulimit -n 64");
        let findings = super::findings(&ended);
        assert!(finding(&findings, "descriptors")["advice"]
            .as_str()
            .unwrap()
            .contains("the hard limit is 64"));
    }

    #[test]
    fn too_few_descriptors_are_an_error() {
        let ended = after("ulimit -n 16");
        let findings = findings(&ended);
        assert!(finding(&findings, "descriptors")["found"].as_str().unwrap().contains("no client"));
        let channel = finding(&findings, "channel");
        assert_eq!(channel["state"], "missing");
        assert!(channel["advice"].as_str().unwrap().contains("ulimit -n"), "{channel}");
    }

    #[test]
    fn too_few_threads_are_an_error() {
        let Some(doctor) = Xshm::start_with_threads(1, &["doctor", "--json"]) else { return };
        let ended = doctor.until_end();
        let findings = findings(&ended);
        let channel = finding(&findings, "channel");
        assert_eq!(channel["state"], "missing");
        assert!(channel["advice"].as_str().unwrap().contains("ulimit -u"), "{channel}");
        assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
    }

    #[test]
    fn little_address_space_is_a_warning() {
        let ended = after("ulimit -v 80000");
        let findings = findings(&ended);
        assert_eq!(finding(&findings, "address space")["state"], "warning");
    }

    /// `taskset` is a part of util-linux, which most machines have.
    #[test]
    fn one_processor_is_a_note() {
        let ended = after("taskset -p -c 0 $$ > /dev/null || exit 99");
        if ended.status == Some(99) {
            return eprintln!("not tested: {}", ended.errors);
        }
        let findings = findings(&ended);
        let processors = finding(&findings, "processors");
        assert_eq!(processors["state"], "note");
        assert!(processors["found"].as_str().unwrap().contains("do not spin"), "{processors}");
    }
}
