//! The header in `include/` is the one that the build generates.

#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = include_str!(concat!(env!("OUT_DIR"), "/xshm.h")).replace("\r\n", "\n");
    let committed = include_str!("../../include/xshm.h").replace("\r\n", "\n");
    assert!(
        generated == committed,
        "the C interface changed: run ci/headers.sh, and look at what it changes"
    );
}
