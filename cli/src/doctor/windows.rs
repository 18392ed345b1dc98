//! What Windows has, and what this process may do there.

use super::{Finding, State};
use winsafe::{self as w, co, RegistryValue, TokenInfo};

/// The build of the first Windows 10.
const WINDOWS_10: u32 = 10_240;
/// The integrity of ordinary processes.
const MEDIUM: u32 = 0x2000;
/// The integrity of elevated processes.
const HIGH: u32 = 0x3000;

pub fn findings() -> Vec<Finding> {
    let mut findings = vec![system()];
    findings.extend(session());
    findings.extend(elevation());
    findings.extend(integrity());
    findings.extend(app_container());
    findings.extend(container());
    findings.extend(modules());
    findings
}

/// How many processors the system reports.
pub fn processors() -> Option<usize> {
    let system = sysinfo::System::new_with_specifics(
        sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing()),
    );
    Some(system.cpus().len()).filter(|count| *count > 0)
}

/// Whether this is Wine, whose `ntdll` has one more function.
fn is_wine() -> bool {
    w::HINSTANCE::GetModuleHandle(Some("ntdll.dll"))
        .is_ok_and(|ntdll| ntdll.GetProcAddress("wine_get_version").is_ok())
}

fn system() -> Finding {
    const SUBJECT: &str = "system";
    let name = sysinfo::System::long_os_version().unwrap_or_else(|| "Windows".to_owned());
    let build = sysinfo::System::kernel_version().unwrap_or_default();
    let found = format!("{name}, build {build}");
    if is_wine() {
        let text = "Wine, which says that it is ";
        return Finding::new(
            SUBJECT,
            State::Note,
            format!("{text}{found}: its times are not those of Windows"),
        );
    }
    match build.parse::<u32>() {
        Ok(number) if number < WINDOWS_10 => Finding::new(
            SUBJECT,
            State::Warning,
            format!("{found}: xshm is written for Windows 10 and later"),
        )
        .advice("use Windows 10, Windows 11, or Windows Server 2016 or later"),
        _ => Finding::new(SUBJECT, State::Ok, found),
    }
}

/// Asks for something about this process's token.
fn token<T>(
    class: co::TOKEN_INFORMATION_CLASS, read: impl FnOnce(TokenInfo<'_, '_, '_, '_, '_, '_>) -> Option<T>,
) -> Option<T> {
    let token = w::HPROCESS::GetCurrentProcess().OpenProcessToken(co::TOKEN::QUERY).ok()?;
    let info = token.GetTokenInformation(class).ok()?;
    read(info)
}

fn session() -> Option<Finding> {
    const SUBJECT: &str = "session";
    let number = token(co::TOKEN_INFORMATION_CLASS::SessionId, |info| match info {
        TokenInfo::SessionId(number) => Some(*number),
        _ => None,
    })?;
    Some(if number == 0 {
        let found =
            "0, the session of services: here, a bare name and the same one with Global\\ are one name";
        Finding::new(SUBJECT, State::Ok, found)
    } else {
        let found = format!("{number}: bare names are valid in this session, and services are in session 0");
        Finding::new(SUBJECT, State::Ok, found)
            .advice("use names that begin with Global\\ between a service and a desktop program")
    })
}

fn elevation() -> Option<Finding> {
    const SUBJECT: &str = "elevation";
    let is_elevated = token(co::TOKEN_INFORMATION_CLASS::Elevation, |info| match info {
        TokenInfo::Elevation(elevation) => Some(elevation.TokenIsElevated()),
        _ => None,
    })?;
    Some(if is_elevated {
        let found = "this process is elevated: its servers admit the user's ordinary processes too";
        Finding::new(SUBJECT, State::Ok, found).advice("set Access::Administrators if they must stay outside")
    } else {
        let found = "this process is not elevated: it may not open the processes of services";
        Finding::new(SUBJECT, State::Ok, found).advice("set `check_interval` in clients of services")
    })
}

fn integrity() -> Option<Finding> {
    const SUBJECT: &str = "integrity";
    let level = token(co::TOKEN_INFORMATION_CLASS::IntegrityLevel, |info| match info {
        TokenInfo::IntegrityLevel(label) => {
            label.Label.Sid()?.to_string().rsplit('-').next()?.parse::<u32>().ok()
        }
        _ => None,
    })?;
    let name = match level {
        _ if level < 0x1000 => "untrusted",
        _ if level < MEDIUM => "low",
        _ if level < HIGH => "medium",
        _ if level < 0x4000 => "high",
        _ => "system",
    };
    let found = format!("{name} ({level:#x})");
    Some(if level < MEDIUM {
        let found = format!(
            "{found}: a server cannot start here, and a client needs a server whose descriptor admits it"
        );
        Finding::new(SUBJECT, State::Warning, found)
            .advice("run the server in an ordinary process; docs/windows.md has the descriptor")
    } else {
        Finding::new(SUBJECT, State::Ok, found)
    })
}

fn app_container() -> Option<Finding> {
    const SUBJECT: &str = "AppContainer";
    let is_inside = token(co::TOKEN_INFORMATION_CLASS::IsAppContainer, |info| match info {
        TokenInfo::IsAppContainer(number) => Some(*number != 0),
        _ => None,
    })?;
    Some(if is_inside {
        let found = "this process is in one: a server cannot start here, and a client needs a server whose descriptor admits it";
        Finding::new(SUBJECT, State::Warning, found)
            .advice("run the server in an ordinary process; docs/windows.md has the descriptor")
    } else {
        Finding::new(SUBJECT, State::Ok, "this process is not in one")
    })
}

/// A value that Windows sets in the registry of containers.
fn container() -> Option<Finding> {
    let value = w::HKEY::LOCAL_MACHINE.RegGetValue(
        Some("SYSTEM\\CurrentControlSet\\Control"),
        Some("ContainerType"),
        co::RRF::RT_REG_DWORD,
    );
    match value {
        Ok(RegistryValue::Dword(_)) => {
            let found = "this is a container: its names are those of the container, and a peer outside of it cannot connect";
            Some(Finding::new("container", State::Note, found).advice("run both sides in one container"))
        }
        _ => None,
    }
}

/// Modules in this process that are neither the system's nor the program's: antivirus products and other guards put them there.
fn modules() -> Option<Finding> {
    const SUBJECT: &str = "foreign modules";
    let folder =
        |path: &str| path.rsplit_once('\\').map_or(String::new(), |(folder, _)| folder.to_lowercase());
    let program = std::env::current_exe().ok()?;
    let own = folder(&program.to_string_lossy());
    let system = w::GetSystemDirectory().ok()?;
    // The system's folders, also that of 32-bit programs and of side-by-side libraries, are in the same one.
    let windows = folder(&system) + "\\";
    let mut list =
        w::HPROCESSLIST::CreateToolhelp32Snapshot(co::TH32CS::SNAPMODULE, Some(w::GetCurrentProcessId()))
            .ok()?;
    let mut foreign = Vec::new();
    for module in list.iter_modules() {
        let path = module.ok()?.szExePath();
        let lower = path.to_lowercase();
        if !lower.starts_with(&windows) && folder(&path) != own {
            foreign.push(path);
        }
    }
    Some(if foreign.is_empty() {
        Finding::new(SUBJECT, State::Ok, "none: all libraries in this process are the system's")
    } else {
        let found = format!("{}: another product may watch or change calls", foreign.join(", "));
        Finding::new(SUBJECT, State::Note, found)
            .advice("if channels fail here, allow the program in that product")
    })
}
