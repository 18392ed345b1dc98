//! Generates the C header: writes `xshm.h` into the build's own folder. The one in `include/` is a copy, which `ci/headers.sh` makes and a test
//! compares.

use std::env;
use std::path::PathBuf;

/// The files that the C interface is made of.
const SOURCES: [&str; 16] = [
    "src/ffi/codes.rs",
    "src/ffi.rs",
    "src/ffi/interrupter.rs",
    "src/ffi/options.rs",
    "src/ffi/callbacks.rs",
    "src/ffi/endpoint.rs",
    "src/ffi/server.rs",
    "src/ffi/client.rs",
    "src/ffi/both.rs",
    "src/ffi/event_loop.rs",
    "src/ffi/pending.rs",
    "src/ffi/caller.rs",
    "src/auto/ffi.rs",
    "src/multi/ffi.rs",
    "src/multi/ffi/server.rs",
    "src/multi/ffi/client.rs",
];

/// The structures have their usual layout, whatever packing other headers or the compiler's options ask for. The trailer in
/// cbindgen.toml ends this.
const PREAMBLE: &str = "\
    /* NULL for the functions of the headers, without a warning in C++. */\n\
    #if defined(_MSVC_LANG) || defined(__cplusplus) && __cplusplus >= 201103L\n\
    #define XSHM_NULL nullptr\n\
    #else\n\
    #define XSHM_NULL 0\n\
    #endif\n\n\
    /* Another header may have left its packing of structures in force. The end of this file restores it. */\n\
    #pragma pack(push, 8)\n\
    #define XSHM_PACKING_PUSHED\n";

fn main() {
    let variable = |name: &str| env::var(name).expect("cargo sets it");
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is right");
    let part = |name: &str| variable(&format!("CARGO_PKG_VERSION_{name}"));
    let version = format!(
        "/** The major version that this header belongs to. \\ingroup library */\n#define XSHM_VERSION_MAJOR {}\n\
         /** The minor version that this header belongs to. \\ingroup library */\n#define XSHM_VERSION_MINOR {}\n\
         /** The patch version that this header belongs to. \\ingroup library */\n#define XSHM_VERSION_PATCH {}\n\
         /** The version that this header belongs to; xshm_version returns the library's. \\ingroup library */\n\
         #define XSHM_VERSION \\\n    \
         ((XSHM_VERSION_MAJOR << 16) | (XSHM_VERSION_MINOR << 8) | XSHM_VERSION_PATCH)\n\n{PREAMBLE}",
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
