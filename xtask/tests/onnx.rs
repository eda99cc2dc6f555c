//! Small networks of every kind of operator against what onnxruntime answered and PyTorch differentiated.

use std::path::Path;

/// Written in this opset and read again, besides being read as they are.
fn check(opset: i64) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/formats/tests/onnx");
    let out = tempfile::tempdir().expect("a folder");
    let lines = std::cell::RefCell::new(Vec::new());
    let print = |line: &str| lines.borrow_mut().push(line.to_string());
    let ok =
        xtask::onnx::check_all(&dir, "", Some((out.path(), opset)), &print).expect("the fixtures are there");
    assert!(lines.borrow().len() >= 13, "{} fixtures", lines.borrow().len());
    assert!(ok, "{:#?}", lines.borrow().iter().filter(|l| !l.contains("\"ok\":true")).collect::<Vec<_>>());
}

#[test]
fn networks_of_every_kind_of_operator_agree_with_onnxruntime_and_pytorch() {
    check(17);
}

#[test]
fn they_agree_when_written_with_the_newest_operators() {
    check(23);
}
