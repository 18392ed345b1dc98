//! What Linux has, and what containers, sandboxes and limits leave of it.

use super::{Finding, State};
use crate::output::bytes;
use rustix::process::{getrlimit, Resource};
use std::fs;
use std::path::{Path, PathBuf};

/// The bytes of a channel with rings of the default size, rounded up.
const CHANNEL: u64 = 4_194_496;
/// The descriptors of a server with a name, and of each client that a server for many clients has.
const SERVER: u64 = 21;
const EACH_CLIENT: u64 = 12;
/// The most clients of a server for many clients, by default.
const CLIENTS: u64 = 20;
/// The numbers that the kernel gives to the first namespaces. That of networks is fixed since Linux 6.18.
const FIRST_NETWORK: u64 = 0xEFFF_FFF9;
const FIRST_PROCESSES: u64 = 0xEFFF_FFFC;
const FIRST_USERS: u64 = 0xEFFF_FFFD;

pub fn findings() -> Vec<Finding> {
    let mut findings = vec![kernel(), proc()];
    findings.extend(container());
    findings.extend([
        network(),
        processes(),
        users(),
        sandbox(),
        descriptors(),
        file_size(),
        addresses(),
        memory(),
    ]);
    findings.push(overcommit());
    findings
}

/// How many processors are online.
pub fn processors() -> Option<usize> {
    let list = read("/sys/devices/system/cpu/online")?;
    let range = |part: &str| -> Option<usize> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        (to.parse::<usize>().ok()? + 1).checked_sub(from.parse().ok()?)
    };
    list.split(',').map(range).sum()
}

/// A short file, without the blanks at its ends.
fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn kernel() -> Finding {
    let release =
        read("/proc/sys/kernel/osrelease").or_else(sysinfo::System::kernel_version).unwrap_or_default();
    let Some(version) = version(&release) else {
        let found = format!("the version {release:?} is unknown; 5.3 or later is needed");
        return Finding::new("kernel", State::Note, found);
    };
    let found = format!("Linux {release}");
    match version {
        (0..=4, _) | (5, 0..=2) => {
            Finding::new("kernel", State::Missing, format!("{found}: there is no pidfd_open"))
                .advice("use Linux 5.3 or later")
        }
        _ if version < (6, 16) => {
            let text =
                "before 6.16, another user can keep a server busy for a while by sending it descriptors";
            Finding::new("kernel", State::Note, format!("{found}: {text}"))
                .advice("use Linux 6.16 or later if you do not trust the machine's other users")
        }
        _ => Finding::new("kernel", State::Ok, found),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn proc() -> Finding {
    let own = fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse::<u32>().ok());
    let found = match own {
        Some(id) if id == std::process::id() => {
            return Finding::new("/proc", State::Ok, "shows this process")
        }
        Some(_) => "belongs to another process namespace",
        None => "is not mounted",
    };
    let follows = "servers take all of a channel's memory at once, users and processes are less certain, and `xshm list` finds less";
    Finding::new("/proc", State::Warning, format!("{found}: {follows}")).advice("mount -t proc proc /proc")
}

fn container() -> Option<Finding> {
    let signs = [("/.dockerenv", "Docker"), ("/run/.containerenv", "Podman")];
    let file = signs.iter().find(|(path, _)| Path::new(path).exists()).map(|(_, name)| (*name).to_owned());
    let kubernetes = std::env::var_os("KUBERNETES_SERVICE_HOST").map(|_| "Kubernetes".to_owned());
    let name =
        kubernetes.or(file).or_else(|| std::env::var("container").ok().filter(|name| !name.is_empty()))?;
    let advice = if name == "Kubernetes" {
        "containers of one pod need shareProcessNamespace: true"
    } else {
        "two containers need --network=container:NAME and --pid=container:NAME; with the host, --network=host and --pid=host"
    };
    let found = format!("{name}: both sides of a channel must share the network and the process namespace");
    Some(Finding::new("container", State::Note, found).advice(advice))
}

/// The number of one of this process's namespaces, or of the first process's.
fn namespace(process: &str, kind: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{process}/ns/{kind}")).ok()?;
    link.to_str()?.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

fn network() -> Finding {
    const SUBJECT: &str = "network names";
    let unknown = || {
        let found =
            "it is unknown whether this is the machine's network namespace; each one has its own names";
        Finding::new(SUBJECT, State::Ok, found)
    };
    let Some(own) = namespace("self", "net") else { return unknown() };
    let is_first = if own == FIRST_NETWORK {
        true
    } else if namespace("self", "pid") == Some(FIRST_PROCESSES) {
        match namespace("1", "net") {
            Some(first) => own == first,
            None => return unknown(),
        }
    } else {
        // Before Linux 6.18, only the first process's namespace shows it, and this one does not see that process.
        return unknown();
    };
    if is_first {
        return Finding::new(
            SUBJECT,
            State::Ok,
            "the machine's network namespace: all its processes can have the names",
        );
    }
    let found = "a network namespace of its own: processes outside of it find no server here, also with the prefix Global\\";
    Finding::new(SUBJECT, State::Note, found)
        .advice("share it with the peer (--network=host, or nsenter --net)")
}

fn processes() -> Finding {
    const SUBJECT: &str = "processes";
    match namespace("self", "pid") {
        Some(FIRST_PROCESSES) => Finding::new(SUBJECT, State::Ok, "the machine's process namespace"),
        Some(_) => {
            let found = "a process namespace of its own: a peer outside of it is refused";
            Finding::new(SUBJECT, State::Note, found)
                .advice("share it with the peer (--pid=host, or nsenter --pid)")
        }
        None => {
            Finding::new(SUBJECT, State::Ok, "it is unknown whether this is the machine's process namespace")
        }
    }
}

fn users() -> Finding {
    const SUBJECT: &str = "users";
    let mapped = read("/proc/self/uid_map").map(|map| {
        map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum::<u64>()
    });
    match mapped {
        Some(count) if count < u64::from(u32::MAX) => {
            let found = format!("a user namespace with {count} users: all others have one number, and are admitted by Access::Everyone and Trust::Anyone alone");
            Finding::new(SUBJECT, State::Note, found).advice("run both sides in one user namespace")
        }
        Some(_) if namespace("self", "user") == Some(FIRST_USERS) => {
            Finding::new(SUBJECT, State::Ok, "the machine's user namespace")
        }
        Some(_) => Finding::new(SUBJECT, State::Ok, "a user namespace with every user"),
        None => Finding::new(SUBJECT, State::Ok, "it is unknown which users this namespace has"),
    }
}

/// The guards that may forbid calls. Whether they do, a channel shows.
fn sandbox() -> Finding {
    const SUBJECT: &str = "sandbox";
    let status = read("/proc/self/status").unwrap_or_default();
    let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    let mut guards = Vec::new();
    match seccomp {
        Some("1") => guards.push("strict seccomp".to_owned()),
        Some("2") => guards.push("a seccomp filter".to_owned()),
        _ => {}
    }
    let label = read("/proc/self/attr/current").unwrap_or_default();
    let label = label.trim_matches('\0').to_owned();
    if !label.is_empty() && label != "unconfined" && !label.contains("unconfined_t") && label != "kernel" {
        guards.push(format!("the security label {label}"));
    }
    if guards.is_empty() {
        return Finding::new(SUBJECT, State::Ok, "none");
    }
    let found = format!("{}; the channels below show whether it permits what they need", guards.join(", "));
    Finding::new(SUBJECT, State::Ok, found)
}

fn descriptors() -> Finding {
    const SUBJECT: &str = "descriptors";
    let limit = getrlimit(Resource::Nofile);
    let Some(soft) = limit.current else {
        return Finding::new(SUBJECT, State::Ok, "no limit (ulimit -n)");
    };
    // Those of this process are what a program has besides the library's.
    let open = fs::read_dir("/proc/self/fd").map_or(3, |list| list.count().saturating_sub(1) as u64);
    let clients = soft.saturating_sub(SERVER + open) / EACH_CLIENT;
    let room = if clients == 0 { "no client".to_owned() } else { format!("about {clients} clients") };
    let found = format!("ulimit -n is {soft}: room for {room} of a server for many clients");
    if clients >= CLIENTS {
        return Finding::new(SUBJECT, State::Ok, found);
    }
    let needed = (SERVER + open + CLIENTS * EACH_CLIENT).next_power_of_two().max(1024);
    let advice = match limit.maximum {
        Some(hard) if hard < needed => {
            format!("the hard limit is {hard}: raise it in /etc/security/limits.conf, by LimitNOFILE={needed} of the service, or by --ulimit nofile={needed} of the container")
        }
        _ => format!("ulimit -n {needed}"),
    };
    Finding::new(SUBJECT, State::Warning, found).advice(advice)
}

fn file_size() -> Finding {
    const SUBJECT: &str = "size of files";
    match getrlimit(Resource::Fsize).current {
        None => Finding::new(SUBJECT, State::Ok, "no limit (ulimit -f)"),
        Some(limit) if limit >= CHANNEL => {
            let found =
                format!("at most {} (ulimit -f), which is the limit of a channel's memory too", bytes(limit));
            Finding::new(SUBJECT, State::Ok, found)
        }
        Some(limit) => {
            let found = format!(
                "at most {} (ulimit -f), and a channel's memory counts as a file: {} by default",
                bytes(limit),
                bytes(CHANNEL)
            );
            Finding::new(SUBJECT, State::Missing, found)
                .advice("ulimit -f unlimited, or a smaller `ring_size`")
        }
    }
}

fn addresses() -> Finding {
    const SUBJECT: &str = "address space";
    let Some(limit) = getrlimit(Resource::As).current else {
        return Finding::new(SUBJECT, State::Ok, "no limit (ulimit -v)");
    };
    let page = rustix::param::page_size() as u64;
    let used = read("/proc/self/statm").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let channels = limit.saturating_sub(used.unwrap_or(0) * page) / CHANNEL;
    let found =
        format!("at most {} (ulimit -v): room for about {channels} channels in this process", bytes(limit));
    if channels > CLIENTS {
        Finding::new(SUBJECT, State::Ok, found)
    } else {
        Finding::new(SUBJECT, State::Warning, found).advice("ulimit -v unlimited, or a smaller `ring_size`")
    }
}

fn memory() -> Finding {
    const SUBJECT: &str = "memory";
    let needs = format!("a channel takes up to {} by default, and none of /dev/shm", bytes(CHANNEL));
    let Some((limit, used)) = control_group() else {
        return Finding::new(SUBJECT, State::Ok, format!("no limit of a control group; {needs}"));
    };
    let free = limit.saturating_sub(used);
    let found = format!("the control group has {} of {} left; {needs}", bytes(free), bytes(limit));
    if free > CLIENTS * CHANNEL {
        Finding::new(SUBJECT, State::Ok, found)
    } else {
        let advice =
            "raise the limit (docker run --memory, MemoryMax= of the service), or set a smaller `ring_size`";
        Finding::new(SUBJECT, State::Warning, found).advice(advice)
    }
}

/// The lowest limit of memory in this process's control groups, and what is used of it. `None`: there is no limit.
fn control_group() -> Option<(u64, u64)> {
    /// Version 1 writes a number of about this size where there is no limit.
    const NONE: u64 = 1 << 60;
    let groups = read("/proc/self/cgroup")?;
    let mut lowest: Option<(u64, u64)> = None;
    for group in groups.lines() {
        let mut parts = group.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, limit, used) = if number == "0" && controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max", "memory.current")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        } else {
            continue;
        };
        let group = PathBuf::from(root).join(path.trim_start_matches('/'));
        for folder in group.ancestors().take_while(|folder| folder.starts_with(root)) {
            let number = |file| read(folder.join(file))?.parse::<u64>().ok();
            let Some(limit) = number(limit).filter(|limit| *limit < NONE) else { continue };
            if lowest.is_none_or(|(other, _)| limit < other) {
                lowest = Some((limit, number(used).unwrap_or(0)));
            }
        }
    }
    lowest
}

fn overcommit() -> Finding {
    const SUBJECT: &str = "overcommit";
    match read("/proc/sys/vm/overcommit_memory").as_deref() {
        Some("2") => {
            let found = "vm.overcommit_memory is 2: a server takes all of a channel's memory when it makes the channel";
            Finding::new(SUBJECT, State::Note, found)
                .advice("sysctl vm.overcommit_memory=0, or a smaller `ring_size`, if memory is short")
        }
        Some(mode) => Finding::new(
            SUBJECT,
            State::Ok,
            format!("vm.overcommit_memory is {mode}: pages take memory when they are used"),
        ),
        None => Finding::new(
            SUBJECT,
            State::Ok,
            "unknown: a server takes all of a channel's memory when it makes the channel",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kernels_are_read() {
        for (release, expected) in [
            ("5.3.0", Some((5, 3))),
            ("6.18.44-fc-v657", Some((6, 18))),
            ("6.1-rc1", Some((6, 1))),
            ("5.15.153.1-microsoft-standard-WSL2", Some((5, 15))),
            ("", None),
            ("next", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn this_process_is_in_namespaces_and_on_processors() {
        assert!(namespace("self", "net").is_some());
        assert!(namespace("self", "nonsense").is_none());
        assert!(processors().is_some_and(|count| count > 0));
    }
}
