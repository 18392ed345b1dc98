//! Generates the C header: writes `xshm.h` into the build's own folder. The one in `include/` is a copy, which `ci/headers.sh` makes and a test
//! compares.

use std::env;
use std::path::PathBuf;

/// The files that the C interface is made of.
const SOURCES: [&str; 12] = [
    "src/ffi/codes.rs",
    "src/ffi.rs",
    "src/ffi/options.rs",
    "src/ffi/callbacks.rs",
    "src/ffi/endpoint.rs",
    "src/ffi/server.rs",
    "src/ffi/client.rs",
    "src/ffi/both.rs",
    "src/auto/ffi.rs",
    "src/multi/ffi.rs",
    "src/multi/ffi/server.rs",
    "src/multi/ffi/client.rs",
];

fn main() {
    let variable = |name: &str| env::var(name).expect("cargo sets it");
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is right");
    let part = |name: &str| variable(&format!("CARGO_PKG_VERSION_{name}"));
    let version = format!(
        "/** The version that this header belongs to; xshm_version returns the library's. */\n\
         #define XSHM_VERSION_MAJOR {}\n#define XSHM_VERSION_MINOR {}\n#define XSHM_VERSION_PATCH {}\n\
         #define XSHM_VERSION \\\n    \
         ((XSHM_VERSION_MAJOR << 16) | (XSHM_VERSION_MINOR << 8) | XSHM_VERSION_PATCH)\n",
        part("MAJOR"),
        part("MINOR"),
        part("PATCH"),
    );
    config.after_includes = Some(version);
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        println!("cargo:rerun-if-changed=../{source}");
        builder = builder.with_src(root.join(source));
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../cbindgen.toml");
    let header = builder.generate().expect("the C interface can be written in C");
    header.write_to_file(PathBuf::from(variable("OUT_DIR")).join("xshm.h"));
}
