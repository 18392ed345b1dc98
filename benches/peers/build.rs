//! Builds the peer that is written in C++, if Boost's headers are installed, and links ZeroMQ, if its header is. Otherwise the
//! benchmark's table has the reason.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(boost)");
    println!("cargo::rustc-check-cfg=cfg(zeromq)");
    for path in ["peers/build.rs", "peers/boost_queue.cpp", HEADERS, ZEROMQ] {
        println!("cargo::rerun-if-changed={path}");
    }
    match boost() {
        Ok(()) => println!("cargo::rustc-cfg=boost"),
        Err(reason) => println!("cargo::rustc-env=BOOST_MISSING={reason}"),
    }
    // The package is the one for this machine.
    if Path::new(ZEROMQ).exists() && env::var("TARGET") == env::var("HOST") {
        println!("cargo::rustc-cfg=zeromq");
        println!("cargo::rustc-link-lib=zmq");
    }
}

/// The folder of Boost's headers in packages of Linux distributions.
const HEADERS: &str = "/usr/include/boost";
const ZEROMQ: &str = "/usr/include/zmq.h";

fn boost() -> Result<(), String> {
    if !Path::new(HEADERS).join("interprocess").is_dir() {
        return Err("no headers of Boost (package libboost-dev)".to_owned());
    }
    let target = env::var("TARGET").unwrap_or_default();
    let mut build = cc::Build::new();
    // The C++ library is linked statically, below: Wine has no libstdc++.
    build.cpp(true).std("c++17").warnings(false).file("peers/boost_queue.cpp").cargo_warnings(false);
    if target.ends_with("-windows-gnu") {
        build.cpp_link_stdlib(None);
        build.include(headers_alone().map_err(|error| error.to_string())?);
    }
    build.try_compile("boost_queue").map_err(|error| {
        let reason = error.to_string();
        format!("the C++ compiler failed ({})", reason.lines().next().unwrap_or_default())
    })?;
    if target.ends_with("-windows-gnu") {
        let compiler = build.try_get_compiler().map_err(|error| error.to_string())?;
        let library = Command::new(compiler.path())
            .arg("-print-file-name=libstdc++.a")
            .output()
            .map_err(|error| error.to_string())?;
        let library = PathBuf::from(String::from_utf8_lossy(&library.stdout).trim());
        let folder = library.parent().ok_or("no static libstdc++")?;
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=static=stdc++");
        for library in ["ole32", "oleaut32", "advapi32"] {
            println!("cargo::rustc-link-lib={library}");
        }
    }
    Ok(())
}

/// A folder that contains only Boost: a compiler for another system must not use this system's headers.
fn headers_alone() -> std::io::Result<PathBuf> {
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("include");
    let link = folder.join("boost");
    if !link.exists() {
        fs::create_dir_all(&folder)?;
        #[cfg(unix)]
        std::os::unix::fs::symlink(HEADERS, &link)?;
    }
    Ok(folder)
}
