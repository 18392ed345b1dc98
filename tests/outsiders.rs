//! Line 28 of docs/guarantees.md: a process that is not admitted cannot open the objects without the library either, and
//! exported handles have the least rights.

mod common;

use common::*;
use std::time::Duration;
#[cfg(unix)]
use xshm::ShmError;
use xshm::{ServerOptions, SharedClient, SharedServer};

#[test]
fn peer_process() {
    serve();
}

/// Starts a peer that has less than this process; see `tokens::Less`. `None`: such a process cannot run here.
#[cfg(windows)]
fn restricted(less: &str) -> Option<Peer> {
    let mut peer = Peer::start();
    let answer = peer.ask(&format!("restrict {less}"));
    if answer != "ok" {
        // For instance, the files of the program may admit only the user.
        skipped(&answer);
        return None;
    }
    Some(peer)
}

#[cfg(windows)]
#[test]
fn line_28_a_process_without_its_users_rights_is_kept_out() {
    use std::sync::atomic::Ordering;
    use xshm::Access;
    const ACCESS_DENIED: u32 = 5;
    let administrators = Access::SecurityDescriptor(tokens::descriptor_for_administrators());
    for (whom, access) in [("user", Access::Owner), ("administrators", administrators)] {
        let name = unique("restricted");
        let mut server = ServerOptions::new().access(access).start(&name).unwrap();
        let section = raw::RawSection::map(server.section_handle());
        let instance = section.word64(56).load(Ordering::SeqCst);
        let open = format!("open {name} {instance}");
        let Some(mut peer) = restricted(whom) else { continue };
        let (answer, took) = timed(|| {
            peer.tell(&format!("connect {name} 1000"));
            let _ = server.wait_for_client(millis(1500));
            peer.answer()
        });
        assert!(took < Duration::from_secs(5), "{whom}: {took:?}");
        if whom == "user" && tokens::is_wine() && answer == "ok" {
            // Wine grants rights that were removed from the token.
            note("NOT ENFORCED by this Wine: a process without its user's rights was accepted");
            assert!(server.is_connected());
            continue;
        }
        assert!(answer.starts_with("err Refused") && answer.contains("does not admit"), "{whom}: {answer}");
        assert!(!server.is_connected());
        assert_eq!(peer.must(&open), format!("{:?}", [ACCESS_DENIED; 9]), "{whom}");
        // The control: a process that is admitted can open all of them.
        let mut other = Peer::start();
        other.tell(&format!("connect {name} 1000"));
        if server.wait_for_client(millis(1500)).is_ok() {
            assert_eq!(other.answer(), "ok", "{whom}");
            assert_eq!(other.must(&open), format!("{:?}", [0; 9]), "{whom}");
        } else {
            assert_eq!(other.answer().split(' ').nth(1), Some("Refused"), "{whom}");
            assert_eq!(whom, "administrators");
            skipped("this user is no administrator");
        }
    }
}

/// A process that is given the handles needs no rights to the named objects.
#[cfg(windows)]
#[test]
fn line_28_a_process_that_is_given_handles_is_accepted() {
    let access = xshm::Access::SecurityDescriptor(tokens::descriptor_for_administrators());
    let mut server = ServerOptions::new().access(access).start(&unique("given")).unwrap();
    let Some(mut peer) = restricted("administrators") else { return };
    let process = peer.must("id").parse().unwrap();
    let given =
        all_handles(&server.client_handles().unwrap()).map(|handle| raw::give_handle(process, handle));
    peer.tell(&format!("attach_handles {} 5000", given.join(" ")));
    let came = server.wait_for_client(seconds(5));
    assert_eq!((came, peer.answer().as_str()), (Ok(()), "ok"));
    assert_eq!(server.peer().unwrap().process_id, process);
}

/// Windows lets only processes that are sandboxed too follow the links that such a process creates.
#[cfg(windows)]
#[test]
fn line_44_a_process_of_low_integrity_starts_no_server() {
    let Some(mut peer) = restricted("low") else { return };
    let is_low = peer.must("integrity").parse() == Ok(tokens::LOW);
    let answer = peer.ask(&format!("start {}", unique("low.server")));
    if is_low {
        assert!(answer.starts_with("err Refused") && answer.contains("below medium integrity"), "{answer}");
    } else {
        assert!(tokens::is_wine(), "the process is not of low integrity");
        assert_eq!(answer, "ok");
        note("NOT ENFORCED by this Wine: a process of low integrity has another level");
    }
}

/// An integrity level stands above the access list: Windows lets no process write to an object of a higher level. Objects have
/// the level medium unless their descriptor says otherwise.
#[cfg(windows)]
#[test]
fn line_28_a_process_of_low_integrity_is_kept_out_unless_the_descriptor_admits_it() {
    use xshm::Access;
    let labelled = Access::SecurityDescriptor(tokens::descriptor_for_low_integrity());
    for (access, is_admitted) in [(Access::Owner, false), (Access::Everyone, false), (labelled, true)] {
        let what = format!("{access:?}");
        let name = unique("low");
        let mut server = ServerOptions::new().access(access).start(&name).unwrap();
        let Some(mut peer) = restricted("low") else { return };
        let level: u32 = peer.must("integrity").parse().unwrap();
        assert!(level == tokens::LOW || tokens::is_wine(), "{level}");
        peer.tell(&format!("connect {name} 1000"));
        let came = server.wait_for_client(millis(1500));
        let answer = peer.answer();
        if is_admitted {
            assert_eq!((came, answer.as_str()), (Ok(()), "ok"), "{what}");
        } else if tokens::is_wine() && answer == "ok" {
            note("NOT ENFORCED by this Wine: a process of low integrity was accepted");
        } else {
            assert!(
                answer.starts_with("err Refused") && answer.contains("does not admit"),
                "{what}: {answer}"
            );
            assert!(!server.is_connected(), "{what}");
        }
    }
}

/// Of an administrator's programs, some are elevated and some are not. By default they reach each other in both directions: the
/// user is the same.
#[cfg(windows)]
#[test]
fn line_28_a_process_of_medium_integrity_reaches_its_users_elevated_one() {
    let Some(mut peer) = restricted("medium") else { return };
    let level: u32 = peer.must("integrity").parse().unwrap();
    assert!(level == tokens::MEDIUM || tokens::is_wine(), "{level}");
    if tokens::integrity() <= tokens::MEDIUM {
        note("this process is not elevated, so both have medium integrity");
    }
    let name = unique("elevated");
    let mut server = SharedServer::start(&name).unwrap();
    peer.enter(&name, &mut server);
    peer.must("send wait 0 1 64");
    server.receive_from_client(&mut Vec::new()).unwrap();
    peer.must("leave");

    let name = unique("medium");
    peer.must(&format!("start {name}"));
    peer.tell("accept 10000");
    let client = SharedClient::connect(&name, Duration::from_secs(10)).unwrap();
    assert_eq!(peer.answer(), "ok");
    client.send_to_server(&message(1, 64)).unwrap();
    assert_eq!(peer.must("receive 10000"), "1");
}

#[cfg(unix)]
const NOBODY: &str = "65534";

#[cfg(unix)]
#[test]
fn line_28_another_user_reaches_neither_section_nor_events() {
    let Some(mut stranger) = Peer::start_as(NOBODY) else { return };
    let (server, mut peer) = pair("reach", ServerOptions::new());
    let handles = server.client_handles().unwrap();
    let events = handles.events.unwrap();
    for event in [events.s2c_data, events.c2s_space, events.acknowledge, events.disconnect] {
        let reach = format!("reach {} {} {event}", std::process::id(), handles.section);
        // EACCES and EPERM.
        assert_eq!(stranger.must(&reach), "[13, 1]", "event {event}");
        // The control: a process of the same user reaches both.
        assert_eq!(peer.must(&reach), "[0, 0]", "event {event}");
    }
}

/// Names of abstract sockets have no owner: another user can take a name that contains our user's id.
#[cfg(unix)]
#[test]
fn line_28_another_user_that_takes_our_name_is_refused() {
    let Some(mut stranger) = Peer::start_as(NOBODY) else { return };
    let name = unique("squatted");
    let user = xshm::UserId::current().unwrap();
    stranger.must(&format!("squat {user} {name}"));
    let (refused, took) = timed(|| SharedClient::connect(&name, Duration::from_secs(5)).err());
    assert!(matches!(&refused, Some(ShmError::Refused { reason }) if reason.contains(NOBODY)), "{refused:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(matches!(ServerOptions::new().start(&name).err(), Some(ShmError::AlreadyExists { .. })));
    // The name is free when that process has ended.
    stranger.kill();
    drop(SharedServer::start(&name).unwrap());
}

/// The exported handles, each with the rights that `docs/protocol.md` states.
fn exported_handles(server: &SharedServer) -> Vec<(&'static str, isize, u32)> {
    let handles = server.client_handles().unwrap();
    let own = server.get_event_handles().unwrap();
    let events = handles.events.unwrap();
    const WAIT: u32 = 0x0010_0000;
    const SET: u32 = 2;
    const READ_CONTROL: u32 = 0x0002_0000;
    // SECTION_QUERY, SECTION_MAP_WRITE, SECTION_MAP_READ.
    const MAP: u32 = 1 | 2 | 4;
    vec![
        ("section_handle", server.section_handle(), MAP | READ_CONTROL),
        ("get_event_handles, s2c_data", own.s2c_data, WAIT | SET | READ_CONTROL),
        ("get_event_handles, c2s_data", own.c2s_data, WAIT | SET | READ_CONTROL),
        ("section", handles.section, MAP),
        ("s2c_data", events.s2c_data, WAIT),
        ("c2s_data", events.c2s_data, SET),
        ("s2c_space", events.s2c_space, SET),
        ("c2s_space", events.c2s_space, WAIT),
        ("request", events.request, SET),
        ("acknowledge", events.acknowledge, WAIT),
        ("disconnect", events.disconnect, WAIT | SET),
    ]
}

/// On Linux a descriptor has no separate rights: the section's descriptor is for reading and writing, and cannot change the
/// size (see tests/linux.rs). An event's descriptor is a socket.
#[test]
fn line_28_handles_are_not_inherited_and_have_the_least_rights() {
    let named = SharedServer::start(&unique("handles")).unwrap();
    let anonymous = ServerOptions::new().anonymous_events().start_anonymous().unwrap();
    for (which, server) in [("named", &named), ("anonymous", &anonymous)] {
        for (what, handle, rights) in exported_handles(server) {
            assert!(!raw::is_inheritable(handle), "{which}: {what}");
            if let Some(granted) = raw::rights(handle) {
                assert_eq!(granted, rights, "{which}: {what}: {granted:#x}, not {rights:#x}");
            }
        }
    }
    // A server without events exports only the section.
    let bare = SharedServer::start_anonymous().unwrap();
    let handles = bare.client_handles().unwrap();
    assert_eq!(handles.events, None);
    assert!(!raw::is_inheritable(bare.section_handle()) && !raw::is_inheritable(handles.section));
}

/// Programs that this process starts inherit no other descriptor of the library either: name, watched process, interrupters.
#[cfg(unix)]
#[test]
fn line_28_no_descriptor_is_inherited() {
    let name = unique("inherited");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    let mut looked_at = 0;
    for descriptor in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let number: isize = descriptor.file_name().to_str().unwrap().parse().unwrap();
        // A descriptor that is closed by now belonged to another test.
        let Ok(leads_to) = std::fs::read_link(descriptor.path()) else { continue };
        let leads_to = leads_to.to_string_lossy().into_owned();
        let kinds = ["socket:", "anon_inode:", "/memfd:", "pidfd"];
        if number > 2 && kinds.iter().any(|kind| leads_to.starts_with(kind)) {
            assert!(!raw::is_inheritable(number), "{number}: {leads_to}");
            looked_at += 1;
        }
    }
    // At least a section, eight sockets, a name and a process.
    assert!(looked_at >= 11, "{looked_at} descriptors");
}
