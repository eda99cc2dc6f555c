//! Hostile files: one test a way to lie.  All must end in an error, quickly, within bounded memory, and never in a panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use headstart_formats::{FormatError, load_weights, safetensors};
use headstart_graph::{Tensor, Weights};
use proptest::prelude::*;
use zip::write::{SimpleFileOptions, ZipWriter};

/// What Linux, CI and a slow laptop all stay below for the worst of these files.
const PATIENCE: Duration = Duration::from_secs(20);

fn load(bytes: &[u8]) -> Result<Weights, FormatError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile.bin");
    std::fs::write(&path, bytes).unwrap();
    let start = Instant::now();
    let result = load_weights(&path);
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
    result
}

fn refused(bytes: &[u8], said: &str) {
    let error = load(bytes).unwrap_err().to_string();
    assert!(error.contains(said), "said {error:?}, wanted {said:?}");
    assert!(error.len() < 2000, "{} bytes of message", error.len());
}

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in entries {
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(*name, stored).unwrap();
        zip.write_all(data).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An archive with this pickle and one storage of four f32.
fn torch(pickle: &[u8]) -> Vec<u8> {
    zip_of(&[("a/data.pkl", pickle), ("a/byteorder", b"little"), ("a/data/0", &[0; 16])])
}

fn int(n: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &n.to_le_bytes()].concat()
}

fn text(s: &str) -> Vec<u8> {
    [&[b'X'][..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat()
}

fn ints(ns: &[i64]) -> Vec<u8> {
    [&b"("[..], &ns.iter().flat_map(|&n| int(n)).collect::<Vec<u8>>(), b"t"].concat()
}

/// `{"w": _rebuild_tensor_v2(storage of n floats, offset, size, stride, False, {})}`
fn one_tensor(n: i64, offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    let storage =
        [&b"("[..], &text("storage"), b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), &int(n), b"tQ"];
    [
        &b"\x80\x02}"[..],
        &text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        &storage.concat(),
        &int(offset),
        &ints(size),
        &ints(stride),
        b"\x89}tRs.",
    ]
    .concat()
}

#[test]
fn the_honest_twin_of_these_files_is_read() {
    let weights = load(&torch(&one_tensor(4, 0, &[2, 2], &[1, 2]))).unwrap();
    assert_eq!(weights.get("w").unwrap().shape(), [2, 2]);
}

#[test]
fn code_is_named_and_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("owned");
    let command = text(&format!("touch {}", flag.display()));
    let bomb = [&b"\x80\x02cposix\nsystem\n"[..], &command, b"\x85R."].concat();
    refused(&torch(&bomb), "posix.system");
    // As an entry beside a tensor it is ignored, not called.
    let mut beside = one_tensor(4, 0, &[4], &[1]);
    beside.truncate(beside.len() - 1);
    beside.extend([&text("x")[..], b"cos\nsystem\n", &command, b"\x85Rs."].concat());
    assert_eq!(load(&torch(&beside)).unwrap().len(), 1);
    assert!(!flag.exists());
    // As the function that makes the tensor it makes none.
    refused(
        &torch(b"\x80\x02}X\x01\0\0\0wc__builtin__\neval\nX\x01\0\0\0x\x85Rs."),
        "no dictionary of tensors",
    );
}

/// Elements of the storage, offset, sizes, strides, and what the error says.
type Case = (i64, i64, &'static [i64], &'static [i64], &'static str);

#[test]
fn tensors_that_reach_beyond_their_storage() {
    let cases: [Case; 12] = [
        (4, 1, &[4], &[1], "reaches beyond"),
        (4, 4, &[1], &[1], "reaches beyond"),
        (4, 0, &[2, 3], &[3, 1], "reaches beyond"),
        (4, 0, &[2], &[4], "reaches beyond"),
        (5, 0, &[5], &[1], "has 16 bytes"),
        (i64::MAX, 0, &[4], &[1], "has 16 bytes"),
        (4, -1, &[4], &[1], "impossible"),
        (4, 0, &[-4], &[1], "impossible"),
        (4, 0, &[4], &[-1], "impossible"),
        (-4, 0, &[4], &[1], "impossible"),
        (4, 0, &[i64::MAX, i64::MAX, 4], &[0, 0, 0], "impossible"),
        (4, i64::MAX, &[2], &[i64::MAX], "reaches beyond"),
    ];
    for (n, offset, size, stride, said) in cases {
        refused(&torch(&one_tensor(n, offset, size, stride)), said);
    }
    refused(&torch(&one_tensor(4, 0, &[4], &[1, 1])), "1 sizes and 2 strides");
    refused(&torch(&one_tensor(4, 0, &[1; 65], &[1; 65])), "65 dimensions");
}

#[test]
fn a_scalar_expanded_to_terabytes() {
    refused(&torch(&one_tensor(4, 0, &[1 << 20, 1 << 20], &[0, 0])), "out of proportion");
    // A gigabyte in a thousand tensors of a megabyte each: the limit is for all together.
    let mut pickle = one_tensor(4, 0, &[250_000], &[0]);
    let (head, one) = (pickle[..3].to_vec(), pickle.split_off(3));
    let one = &one[..one.len() - 1];
    let mut many = head;
    for i in 0..1000 {
        let name = format!("w{i}");
        many.extend([&text(&name)[..], &one[6..]].concat());
    }
    many.push(b'.');
    refused(&torch(&many), "out of proportion");
}

#[test]
fn pickles_that_blow_up() {
    let open = |n: usize, op: &[u8]| [&b"\x80\x02"[..], &op.repeat(n), b"."].concat();
    // Objects, marks, memo entries, copies.
    refused(&torch(&open(5_000_000, b"]")), "objects");
    refused(&torch(&open(6_000_000, b"N0")), "objects");
    refused(&torch(&open(1_000_000, b"(")), "stack is empty");
    refused(&torch(&open(17_000_000, b"(0")), "opcodes");
    let memo: Vec<u8> = (0..5_000_000u32).flat_map(|i| [&b"r"[..], &i.to_le_bytes()].concat()).collect();
    refused(&torch(&[&b"\x80\x02N"[..], &memo, b"."].concat()), "memo entries");
    // Nesting: a million tuples within each other, as the value of a dictionary.
    let deep = [&b"\x80\x02}X\x01\0\0\0w)"[..], &b"\x85".repeat(1_000_000), b"s."].concat();
    refused(&torch(&deep), "no dictionary of tensors");
    let deep =
        [&b"\x80\x02"[..], &b"}X\x01\0\0\0w".repeat(100_000), b"N", &b"s".repeat(100_000), b"."].concat();
    refused(&torch(&deep), "nesting");
    // REDUCE upon REDUCE.
    let calls = [&b"\x80\x02cos\nsystem\n"[..], &b")R".repeat(1_000_000), b"."].concat();
    refused(&torch(&calls), "pickled object");
}

#[test]
fn a_dictionary_shared_exponentially_often() {
    // d1 = {a: d0, b: d0}, d2 = {a: d1, b: d1}, …: 2^30 paths.
    let mut pickle = b"\x80\x02}q\x00".to_vec();
    for i in 0..30u8 {
        pickle.extend([&b"}("[..], &text("a"), &[b'h', i], &text("b"), &[b'h', i], b"uq", &[i + 1]].concat());
    }
    pickle.push(b'.');
    refused(&torch(&pickle), "entries");
    // A list that contains itself, and a dictionary that does.
    refused(&torch(b"\x80\x02]q\x00h\x00a."), "a list");
    refused(&torch(b"\x80\x02}q\x00X\x01\0\0\0wh\x00s."), "nesting");
}

#[test]
fn lengths_that_lie() {
    for head in [
        &b"X\xff\xff\xff\x7f"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\xff",
        b"T\xff\xff\xff\xff",
        b"B\xff\xff\xff\xff",
    ] {
        refused(&torch(&[b"\x80\x04", head, b"abc."].concat()), "the data ends");
    }
    for (pickle, said) in [
        (&b"\x80\x02h\x07."[..], "never set"),
        (b"\x80\x02R.", "stack is empty"),
        (b"\x80\x02t.", "no mark"),
        (b"\x80\x02}(Nu.", "key without a value"),
        (b"\x80\x02Na.", "stack is empty"),
        (b"\x80\x02NNs.", "stack is empty"),
        (b"\x80\x02NNa.", "not a list"),
        (b"\x80\x02(o.", "without a class"),
        (b"\x80\x02\x82\x01.", "extension"),
        (b"\x80\x05\x97.", "out-of-band"),
        (b"\x80\x09.", "protocol 9"),
        (b"\x80\x02X\x01\0\0\0\xff.", "UTF-8"),
        (b"\x80\x02cos", "line without an end"),
        (b"\x80\x02\xfe.", "unknown opcode"),
        (b"", "the data ends"),
    ] {
        refused(&torch(pickle), said);
    }
}

#[test]
fn archives_that_lie() {
    let pickle = one_tensor(4, 0, &[4], &[1]);
    refused(&zip_of(&[("a/data.pkl", &pickle)]), "storage `0`, which the file does not have");
    refused(&zip_of(&[("a/data.pkl", &pickle), ("b/data.pkl", &pickle)]), "more than one data.pkl");
    refused(&zip_of(&[("a/data.pkl", &pickle), ("a/byteorder", b"big")]), "big-endian");
    // A network that is its own parameters, and one that is its own part.
    let whole = |part: &str| {
        let head = [&b"\x80\x02cnet\nNet\nq\x00)\x81q\x01}("[..], &text("_parameters")].concat();
        let rest = [&text("_buffers")[..], b"}", &text("_modules"), part.as_bytes(), b"ub."].concat();
        [head, if part == "}" { b"h\x01".to_vec() } else { b"}".to_vec() }, rest].concat()
    };
    refused(&torch(&whole("}")), "a pickled net.Net");
    refused(&torch(&whole("}X\x01\0\0\0wh\x01s")), "nesting");
    refused(&zip_of(&[("x.npy", b"")]), "NumPy");
    refused(&zip_of(&[]), "without data.pkl");

    // The central directory: sizes at 20 and 24, method at 10, name length at 28, local header at 42, name at 46.
    let honest = torch(&pickle);
    let find = |from: usize| from + honest[from..].windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let (first, last) = (find(0), find(find(find(0) + 1) + 1));
    let patched = |at: usize, with: &[u8]| {
        let mut bytes = honest.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    refused(&patched(first + 24, &1000u32.to_le_bytes()), "claims 1000 bytes");
    refused(&patched(last + 20, &[0xf0, 0xff, 0xff, 0x7f, 0xf0, 0xff, 0xff, 0x7f]), "zip");
    refused(&patched(first + 10, &[8, 0]), "compressed");
    refused(&patched(first + 8, &[1, 0]), "encrypted");
    refused(&patched(last + 42, &[0, 0, 0, 0]), "overlap");
    refused(&patched(last + 42, &[0xff, 0xff, 0xff, 0x7f]), "zip");
    let twice = zip_of(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 16]), ("a/data/1", &[1; 16])]);
    let at = twice.windows(8).rposition(|w| w == b"a/data/1").unwrap();
    let mut bytes = twice.clone();
    bytes[at + 7] = b'0';
    refused(&bytes, "same name");
}

#[test]
fn legacy_streams_that_lie() {
    let honest = std::fs::read(fixture("state_dict.legacy.pt")).unwrap();
    refused(b"\x80\x02K\x01.", "torch.save did not write");
    let start = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    assert!(honest.starts_with(start));
    let mut bytes = start.to_vec();
    bytes[start.len() - 2] = 4;
    refused(&bytes, "protocol is not 1001");
    let big = [&start[..], b"\x80\x02}X\x0d\0\0\0little_endian\x89s."].concat();
    refused(&big, "big-endian");
    let keys = |n: i64| {
        let object = one_tensor(4, 0, &[4], &[1]);
        let keys = [&b"\x80\x02]"[..], &text("0"), b"a."].concat();
        [&start[..], b"\x80\x02}.", &object, &keys, &n.to_le_bytes(), &[0; 16]].concat()
    };
    assert_eq!(load(&keys(4)).unwrap().len(), 1);
    refused(&keys(-1), "negative");
    refused(&keys(i64::MAX), "its tensors say 4");
    refused(&keys(4)[..keys(4).len() - 1], "more than the file has");
}

#[test]
fn safetensors_that_lie() {
    let file = |header: &str, data: &[u8]| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    let one = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    assert_eq!(load(&file(&one("F32", "[2]", 0, 8), &[0; 8])).unwrap().len(), 1);
    refused(&file(&one("F32", "[2]", 0, 8), &[0; 7]), "safetensors");
    refused(&file(&one("F32", "[2]", 0, 8), &[0; 9]), "safetensors");
    refused(&file(&one("F32", "[3]", 0, 8), &[0; 8]), "safetensors");
    refused(&file(&one("F32", "[2]", 8, 0), &[0; 8]), "safetensors");
    refused(&file(&one("F32", "[2]", 4, 12), &[0; 12]), "safetensors");
    refused(&file(&one("F32", "[2]", 0, u64::MAX), &[0; 8]), "safetensors");
    refused(&file(&one("F32", "[18446744073709551615,2]", 0, 8), &[0; 8]), "safetensors");
    refused(&file(&one("F99", "[2]", 0, 8), &[0; 8]), "safetensors");
    let two = |name: &str, from: u64, to: u64| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{from},{to}]}}}}"#
        )
    };
    refused(&file(&two("b", 2, 6), &[0; 6]), "safetensors");
    refused(&file(&two("b", 0, 4), &[0; 4]), "safetensors");
    refused(&file(&two("a", 0, 4), &[0; 4]), "safetensors");
    let nested = format!("{{\"w\":{}", "[".repeat(100_000));
    refused(&file(&nested, &[]), "safetensors");
    let mut lie = file(&one("F32", "[2]", 0, 8), &[0; 8]);
    lie[..8].copy_from_slice(&90_000_000u64.to_le_bytes());
    refused(&lie, "safetensors");
    lie[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(&lie, "unknown format");
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn a_file_cut_off_at_any_byte_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.bin");
    for name in ["nested.zip.pt", "checkpoint.legacy.pt", "dtypes.safetensors", "views.legacy.pt"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        std::fs::write(&path, &whole).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        for n in (0..whole.len()).rev() {
            file.set_len(n as u64).unwrap();
            assert!(load_weights(&path).is_err(), "{name} cut to {n} of {} bytes", whole.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_bytes_do_not_panic(
        head in prop::sample::select(vec![
            &b""[..], b"\x80\x02", b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
            b"\x20\0\0\0\0\0\0\0{",
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = load(&[head, &tail].concat());
        let _ = load(&torch(&tail));
    }

    #[test]
    fn mutated_files_do_not_panic(
        name in prop::sample::select(vec![
            "checkpoint.zip.pt", "checkpoint.legacy.pt", "views.zip.pt", "protocol5.zip.pt", "dtypes.safetensors",
        ]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        let _ = load(&bytes);
    }

    #[test]
    fn what_is_saved_is_loaded(values in prop::collection::vec(any::<f32>(), 0..20), name in "\\PC{1,20}") {
        let mut weights = Weights::new();
        weights.insert(name, Tensor::from_f32(&[values.len()], &values).unwrap());
        let loaded = load(&safetensors::to_bytes(&weights, &[])).unwrap();
        prop_assert_eq!(loaded.hash(), weights.hash());
    }
}
