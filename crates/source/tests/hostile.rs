//! Archives that lie: each must give an error, write nothing outside its folder, and end soon.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{fs, path::Path};

use common::{tgz_of, zip_of};
use headstart_source::{ArchiveFault, Limits, SourceError, unpack_tgz, unpack_zip};
use tar::EntryType::{self, Regular};

const SMALL: Limits =
    Limits { entries_max: 50, bytes_max: 1 << 20, ratio_max: 100, ratio_from_bytes: 256 << 10 };

type Unpack = fn(&Path, &Path, &Limits) -> Result<usize, SourceError>;

/// Unpacks in `outer/inner` and checks that `outer` got nothing else.
fn fault_of(bytes: &[u8], limits: &Limits, unpack: Unpack) -> ArchiveFault {
    let outer = tempfile::tempdir().unwrap();
    let (archive, inner) = (outer.path().join("archive"), outer.path().join("inner"));
    fs::write(&archive, bytes).unwrap();
    fs::create_dir(&inner).unwrap();
    let error = unpack(&archive, &inner, limits).unwrap_err();
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
    let SourceError::Archive { fault, .. } = error else { panic!("{error}") };
    fault
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../evil", "a/../../evil", "/evil", "C:/evil", "a\\..\\evil", "a//b", "./a", "a\u{7}b", ""] {
        let fault = fault_of(&zip_of(&[("ok", b"x"), (name, b"x")]), &SMALL, unpack_zip);
        assert!(matches!(fault, ArchiveFault::UnsafeName { .. }), "{name}: {fault}");
        if !name.is_empty() {
            let fault = fault_of(
                &tgz_of(&[("package/ok", Regular, b"x"), (name, Regular, b"x")]),
                &SMALL,
                unpack_tgz,
            );
            assert!(matches!(fault, ArchiveFault::UnsafeName { .. }), "{name}: {fault}");
        }
    }
    // Stripping the top folder must not turn a harmless name into an absolute one.
    let fault = fault_of(&tgz_of(&[("package//etc/evil", Regular, b"x")]), &SMALL, unpack_tgz);
    assert!(matches!(fault, ArchiveFault::UnsafeName { .. }), "{fault}");
    let fault = fault_of(&tgz_of(&[("beside", Regular, b"x")]), &SMALL, unpack_tgz);
    assert!(matches!(fault, ArchiveFault::UnsafeName { .. }), "{fault}");
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Char, EntryType::GNUSparse]
    {
        let fault = fault_of(&tgz_of(&[("package/link", kind, b"")]), &SMALL, unpack_tgz);
        assert!(matches!(fault, ArchiveFault::NotAFile { .. }), "{kind:?}: {fault}");
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.add_symlink("link", "/etc/passwd", zip::write::SimpleFileOptions::default()).unwrap();
    let fault = fault_of(&zip.finish().unwrap().into_inner(), &SMALL, unpack_zip);
    assert_eq!(fault, ArchiveFault::NotAFile { name: "link".to_owned(), kind: "symbolic link" });
}

#[test]
fn bombs_are_stopped_at_the_limit() {
    let zeros = vec![0; 8 << 20];
    let (zip, tgz) = (zip_of(&[("zeros", &zeros)]), tgz_of(&[("package/zeros", Regular, &zeros)]));
    let by_size = Limits { ratio_max: 1 << 20, ..SMALL };
    let by_ratio = Limits { bytes_max: 1 << 40, ..SMALL };
    for (bytes, unpack) in [(&zip, unpack_zip as Unpack), (&tgz, unpack_tgz)] {
        for (limits, limit_bytes_expected) in
            [(by_size, SMALL.bytes_max), (by_ratio, (bytes.len() as u64 * 100).max(256 << 10))]
        {
            let fault = fault_of(bytes, &limits, unpack);
            let ArchiveFault::TooLarge { limit_bytes, .. } = fault else { panic!("{fault}") };
            assert_eq!(limit_bytes, limit_bytes_expected);
        }
    }
    // Many files that are each within the limit.
    let half = vec![0; 600 << 10];
    let two = zip_of(&[("a", &half), ("b", &half)]);
    assert!(matches!(fault_of(&two, &by_size, unpack_zip), ArchiveFault::TooLarge { .. }));
    let enough = Limits { bytes_max: 2 << 20, ..by_size };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.zip"), two).unwrap();
    assert_eq!(unpack_zip(&folder.path().join("a.zip"), folder.path(), &enough).unwrap(), 2);
}

#[test]
fn huge_counts_are_refused() {
    let names: Vec<String> = (0..60).map(|idx| format!("package/{idx}")).collect();
    let zip: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let tgz: Vec<_> = names.iter().map(|name| (name.as_str(), Regular, &b""[..])).collect();
    assert_eq!(fault_of(&zip_of(&zip), &SMALL, unpack_zip), ArchiveFault::TooManyEntries { limit: 50 });
    assert_eq!(fault_of(&tgz_of(&tgz), &SMALL, unpack_tgz), ArchiveFault::TooManyEntries { limit: 50 });

    // A directory that claims many more entries than it has.
    let mut lying = zip_of(&[("a", b"x")]);
    let end = lying.len() - 22;
    lying[end + 8..end + 12].copy_from_slice(&[0xfe; 4]);
    assert!(matches!(
        fault_of(&lying, &SMALL, unpack_zip),
        ArchiveFault::Unreadable(_) | ArchiveFault::TooManyEntries { .. }
    ));
}

#[test]
fn long_names_have_a_limit() {
    let long = vec![b'a'; 900 << 10];
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let fault =
            fault_of(&tgz_of(&[("x", kind, &long), ("package/a", Regular, b"x")]), &SMALL, unpack_tgz);
        assert!(matches!(fault, ArchiveFault::Unreadable(_)), "{fault}");
    }
    // A long name is checked like a short one.
    for (kind, name) in
        [(EntryType::GNULongName, &b"package/../../evil\0"[..]), (EntryType::XHeader, b"14 path=/evil\n")]
    {
        let fault = fault_of(&tgz_of(&[("x", kind, name), ("package/a", Regular, b"x")]), &SMALL, unpack_tgz);
        assert!(matches!(fault, ArchiveFault::UnsafeName { .. }), "{fault}");
    }
}

#[test]
fn names_that_come_twice_are_refused() {
    let twice = tgz_of(&[("package/a", Regular, b"x"), ("package/a", Regular, b"y")]);
    assert_eq!(fault_of(&twice, &SMALL, unpack_tgz), ArchiveFault::Twice { name: "a".to_owned() });
}

#[test]
fn every_truncation_and_every_flipped_byte_ends_in_an_answer() {
    let zip = zip_of(&[("pkg/a.txt", b"some text"), ("pkg/b.txt", b"more text")]);
    let tgz = tgz_of(&[("package/a.txt", Regular, b"some text"), ("package/b.txt", Regular, b"more text")]);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let unpackers: [(&[u8], Unpack); 2] = [(&zip, unpack_zip), (&tgz, unpack_tgz)];
    for (bytes, unpack) in unpackers {
        for idx in 0..bytes.len() {
            let into = folder.path().join("into");
            let mut flipped = bytes.to_vec();
            flipped[idx] ^= 0xff;
            for (hostile, must_fail) in [(&bytes[..idx], true), (&flipped[..], false)] {
                fs::create_dir(&into).unwrap();
                fs::write(&archive, hostile).unwrap();
                let outcome = unpack(&archive, &into, &SMALL);
                assert!(!must_fail || outcome.is_err(), "cut at {idx} of {}", bytes.len());
                fs::remove_dir_all(&into).unwrap();
            }
        }
    }
}
