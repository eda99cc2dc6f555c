//! ONNX files that lie: an error within bounds of time and memory, never a panic.

use std::path::{Path, PathBuf};

use headstart_formats::onnx::{self, OnnxOptions};
use proptest::prelude::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx")
}

/// A field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend_from_slice(bytes);
    out
}

/// A field that holds a number.
fn number(field: u8, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut n: Vec<u8> = inputs.iter().flat_map(|i| field(1, i.as_bytes())).collect();
    n.extend(outputs.iter().flat_map(|o| field(2, o.as_bytes())));
    n.extend(field(3, format!("the {op}").as_bytes()));
    n.extend(field(4, op.as_bytes()));
    n.extend(attributes.iter().flat_map(|a| field(5, a)));
    field(1, &n)
}

fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let packed: Vec<u8> = values.iter().flat_map(|&v| varint(v as u64)).collect();
    [field(1, name.as_bytes()), field(8, &packed), number(20, 7)].concat()
}

/// An initialiser of these dimensions and bytes.
fn tensor(name: &str, dims: &[i64], data_type: u64, raw: &[u8]) -> Vec<u8> {
    let packed: Vec<u8> = dims.iter().flat_map(|&v| varint(v as u64)).collect();
    field(5, &[field(1, &packed), number(2, data_type), field(8, name.as_bytes()), field(9, raw)].concat())
}

fn value(name: &str, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&d| field(1, &number(1, d))).collect();
    let kind = field(1, &[number(1, 1), field(2, &dims)].concat());
    [field(1, name.as_bytes()), field(2, &kind)].concat()
}

/// A file of these parts of a graph, with input `x [2, 3]` and output `y`.
fn model(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut graph = parts.concat();
    graph.extend(field(11, &value("x", &[2, 3])));
    graph.extend(field(12, &value("y", &[])));
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}

fn read(bytes: Vec<u8>) -> Result<onnx::OnnxModel, String> {
    onnx::read(Path::new("net.onnx"), bytes.into(), &OnnxOptions::default()).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(bytes: Vec<u8>, because: &str) {
    let error = read(bytes).map(|m| m.graph.name().to_string()).expect_err("a lie");
    assert!(error.contains("net.onnx") && error.contains(because), "{error}");
}

#[test]
fn an_output_that_depends_on_no_input_is_refused() {
    let constant = tensor("c", &[1], 1, &1f32.to_le_bytes());
    refused(model(&[constant, node("Atan", &["c"], &["y"], &[])]), "depends on none of its inputs");
}

#[test]
fn the_files_of_these_tests_are_read_where_they_do_not_lie() {
    let model = read(model(&[node("Relu", &["x"], &["y"], &[])])).expect("an honest file");
    assert_eq!(model.graph.nodes()[0].path, "the Relu");
}

#[test]
fn sizes_that_the_data_do_not_have() {
    let with = |t: Vec<u8>| model(&[node("MatMul", &["x", "w"], &["y"], &[]), t]);
    refused(with(tensor("w", &[3, 4], 1, &[0; 47])), "needs 12 elements of 4 bytes");
    refused(with(tensor("w", &[i64::MAX, 4], 1, &[0; 48])), "no machine");
    refused(with(tensor("w", &[-3, 4], 1, &[0; 48])), "dimension -3");
    refused(with(tensor("w", &[3, 4], 99, &[0; 48])), "type 99");
    refused(with(tensor("w", &[3, 4], 8, &[0; 48])), "string");
}

#[test]
fn graphs_that_are_none() {
    refused(model(&[node("Relu", &["a"], &["y"], &[]), node("Relu", &["y"], &["a"], &[])]), "cycle");
    refused(model(&[node("Relu", &["x"], &["y"], &[]), node("Exp", &["x"], &["y"], &[])]), "two nodes make");
    refused(model(&[node("Relu", &["nothing"], &["y"], &[])]), "`nothing`");
    refused(model(&[]), "`y`");
    refused(model(&[node("Relu", &[], &["y"], &[])]), "input 0 is missing");
    refused([number(1, 8), field(8, &number(2, 17))].concat(), "no graph");
    refused([number(1, 8), field(7, &[]), field(8, &number(2, 5))].concat(), "opset 5");
}

#[test]
fn operators_that_are_not_read_are_listed_at_once() {
    let bytes = model(&[
        node("NonMaxSuppression", &["x"], &["a"], &[]),
        node("Loop", &["a"], &["b"], &[]),
        node("NonMaxSuppression", &["b"], &["y"], &[]),
    ]);
    refused(bytes.clone(), "NonMaxSuppression (the NonMaxSuppression, the NonMaxSuppression)");
    refused(bytes, "Loop (the Loop)");
}

#[test]
fn what_a_run_decides_is_named_with_what_may_be_fixed() {
    let path = fixtures().join("conditional.onnx");
    let load = |fixed: &[(&str, i64)]| {
        let fixed = fixed.iter().map(|(name, n)| ((*name).to_string(), *n)).collect();
        onnx::load(&path, &OnnxOptions { fixed })
    };
    // A scalar input chooses between graphs that make one shape: both are read, and a run chooses.
    let open = load(&[]).expect("a choice");
    assert!(open.graph.inputs().any(|(_, name, _)| name == "sr"));
    assert!(open.graph.nodes().len() > load(&[("sr", 16000)]).expect("no choice").graph.nodes().len());
    let error = load(&[("rate", 1)]).expect_err("there is no `rate`").to_string();
    assert!(error.ends_with("no size or scalar input `rate` (there are: n, sr)"), "{error}");
}

#[test]
fn kinds_that_no_operator_takes() {
    let of = |op: &str| model(&[node(op, &["i"], &["y"], &[])]);
    // Truth values have no sigmoid, and no largest position either.
    for op in ["Sigmoid", "ArgMax", "Conv"] {
        let compare = node("Equal", &["x", "x"], &["i"], &[]);
        let bytes = model(&[compare, node(op, &["i", "i"], &["y"], &[])]);
        assert!(read(bytes).is_err(), "{op}");
    }
    refused(of("Sigmoid"), "nothing makes its input");
}

#[test]
fn settings_that_no_operator_can_have() {
    let one = |op: &str, attributes: &[Vec<u8>]| model(&[node(op, &["x"], &["y"], attributes)]);
    refused(one("Transpose", &[ints("perm", &[0, 0])]), "permutation");
    refused(one("Transpose", &[ints("perm", &[i64::MIN, 5])]), "no axis");
    refused(one("MaxPool", &[ints("kernel_shape", &[i64::MAX])]), "`kernel_shape`");
    refused(one("Softmax", &[[field(1, b"axis"), number(3, 9), number(20, 2)].concat()]), "no axis 9");
    let reshape = |shape: &[i64]| {
        let raw: Vec<u8> = shape.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = [shape.len() as i64];
        model(&[node("Reshape", &["x", "shape"], &["y"], &[]), tensor("shape", &dims, 7, &raw)])
    };
    refused(reshape(&[7]), "6 elements");
    refused(reshape(&[-1, -1]), "left open");
    refused(reshape(&[i64::MIN]), "negative");
    let expand = |shape: &[i64]| {
        let raw: Vec<u8> = shape.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = [shape.len() as i64];
        model(&[node("Expand", &["x", "shape"], &["y"], &[]), tensor("shape", &dims, 7, &raw)])
    };
    refused(expand(&[1 << 40, 1 << 20, 2, 3]), "no machine");
    refused(expand(&[i64::MAX, i64::MAX, 2, 3]), "no machine");
}

#[test]
fn sizes_far_beyond_memory_are_refused_before_anything_is_made() {
    let raw: Vec<u8> = [1i64 << 50, 3].iter().flat_map(|v| v.to_le_bytes()).collect();
    refused(
        model(&[node("ConstantOfShape", &["shape"], &["y"], &[]), tensor("shape", &[2], 7, &raw)]),
        "no machine",
    );
    let bounds: Vec<Vec<u8>> = [0i64, i64::MAX, 1].iter().map(|v| v.to_le_bytes().to_vec()).collect();
    refused(
        model(&[
            node("Range", &["a", "b", "c"], &["y"], &[]),
            tensor("a", &[], 7, &bounds[0]),
            tensor("b", &[], 7, &bounds[1]),
            tensor("c", &[], 7, &bounds[2]),
        ]),
        "too large",
    );
}

#[test]
fn external_data_stay_in_their_folder_and_in_their_file() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("outside.bin"), [0u8; 64]).expect("written");
    let inner = dir.path().join("inner");
    std::fs::create_dir(&inner).expect("made");
    std::fs::write(inner.join("w.bin"), [0u8; 64]).expect("written");
    std::os::unix::fs::symlink(dir.path().join("outside.bin"), inner.join("link.bin")).expect("linked");
    let path = inner.join("net.onnx");
    let with = |location: &str, offset: &str, length: &str| {
        let pair = |k: &str, v: &str| field(13, &[field(1, k.as_bytes()), field(2, v.as_bytes())].concat());
        let packed = [varint(3), varint(4)].concat();
        let mut t = [field(1, &packed), number(2, 1), field(8, b"w"), number(14, 1)].concat();
        t.extend(pair("location", location));
        t.extend(pair("offset", offset));
        t.extend(pair("length", length));
        let bytes = model(&[node("MatMul", &["x", "w"], &["y"], &[]), field(5, &t)]);
        onnx::read(&path, bytes.into(), &OnnxOptions::default()).map_err(|e| e.to_string())
    };
    assert!(with("w.bin", "16", "48").is_ok());
    for location in
        ["../outside.bin", "/etc/passwd", "..", "", "a/../../outside.bin", "..\\outside.bin", "link.bin"]
    {
        let error = with(location, "0", "48").expect_err(location);
        assert!(error.contains("not a path inside its folder"), "{location}: {error}");
    }
    for (offset, length) in
        [("32", "48"), ("18446744073709551615", "48"), ("0", "18446744073709551615"), ("65", "0")]
    {
        let error = with("w.bin", offset, length).expect_err("out of bounds");
        assert!(error.contains("claims"), "{error}");
    }
    assert!(with("w.bin", "-1", "48").expect_err("no number").contains("offset"));
    assert!(with("missing.bin", "0", "48").is_err());
}

#[test]
fn functions_that_call_themselves() {
    let call = field(7, &[field(1, b"x"), field(2, b"y"), field(4, b"f"), field(7, b"d")].concat());
    let function = [field(1, b"f"), field(4, b"x"), field(5, b"y"), call, field(10, b"d")].concat();
    let graph = [
        field(1, &[field(1, b"x"), field(2, b"y"), field(4, b"f"), field(7, b"d")].concat()),
        field(11, &value("x", &[2, 3])),
        field(12, &value("y", &[])),
    ];
    let bytes =
        [number(1, 8), field(7, &graph.concat()), field(8, &number(2, 17)), varint(25 << 3 | 2)].concat();
    let bytes = [bytes, varint(function.len() as u64), function].concat();
    refused(bytes, "calls functions");
}

/// A file that ends anywhere is an error, or, where it ends between two fields, another valid file.
#[test]
fn truncation_at_every_byte() {
    for name in ["cnn_script", "conditional"] {
        let bytes = std::fs::read(fixtures().join(format!("{name}.onnx"))).expect("a fixture");
        let options = OnnxOptions { fixed: vec![("sr".into(), 16000)] };
        let mut ok = 0;
        for n in 0..bytes.len() {
            ok +=
                usize::from(onnx::read(Path::new("net.onnx"), bytes[..n].to_vec().into(), &options).is_ok());
        }
        assert!(ok <= 4, "{ok} of {} cut files of {name} were read", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// One byte changed: an answer or an error, in bounded time.
    #[test]
    fn a_changed_byte_never_panics(at in 0usize..5000, byte in any::<u8>(), which in 0usize..5) {
        let name = ["binary", "structure", "index", "images", "old"][which];
        let mut bytes = std::fs::read(fixtures().join(format!("{name}.onnx"))).expect("a fixture");
        let n = bytes.len();
        bytes[at % n] = byte;
        let _ = onnx::read(Path::new("net.onnx"), bytes.into(), &OnnxOptions::default());
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = onnx::read(Path::new("net.onnx"), bytes.into(), &OnnxOptions::default());
    }
}
