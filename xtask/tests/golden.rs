//! Every architecture that has golden numbers must meet them.

use std::path::Path;

#[test]
fn every_golden_file_is_met() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/zoo/tests/golden");
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .expect("the folder is part of the project")
        .map(|e| e.expect("readable").path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 13, "only {} golden files", paths.len());
    for path in paths {
        let outcome = xtask::golden::check(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(outcome.ok, "{outcome:?}");
    }
}
