//! Generates the C header, for builds with the C interface.

#[cfg(feature = "c-api")]
#[path = "build/header.rs"]
mod header;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "c-api")]
    header::generate();
}
