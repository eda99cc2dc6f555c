//! A bundle is whole or refused; the one that was there is never lost.

#![allow(clippy::unwrap_used, reason = "a helper outside a #[test] is test code too")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headstart_bundle::{
    BundleError, FORMAT, Golden, GoldenInput, MANIFEST_NAME, Manifest, Provenance, README_NAME, Results,
    golden_inputs_image, open, readme, seal,
};
use headstart_core::{Comparison, HeadPlan, Metric, Modality, Plan, SplitPlan, Verdict};
use headstart_graph::{Card, Filter, ImagePreprocess, Preprocess, Resize};

fn manifest() -> Manifest {
    let classes = vec!["cat".to_string(), "dog".to_string()];
    let inputs: Vec<GoldenInput> =
        golden_inputs_image(1).into_iter().map(|(name, _)| GoldenInput::File(name)).collect();
    Manifest {
        format: FORMAT,
        name: "pets".into(),
        task: "image-classification".into(),
        modality: Modality::Image,
        labels: classes.clone(),
        preprocess: Preprocess::Image(ImagePreprocess::imagenet(224, Resize::Squash, Filter::Bicubic)),
        precision: Default::default(),
        plan: Plan {
            modality: Modality::Image,
            task: Default::default(),
            metric: Default::default(),
            recipe: "probe".into(),
            source: "resnet18".into(),
            tap: "avgpool".into(),
            feature_width: 512,
            classes,
            seed: 7,
            split: SplitPlan { given: false, seed: 0, n_train: 80, n_valid: 0, n_test: 20 },
            precision: Default::default(),
            head: HeadPlan {
                kind: Default::default(),
                scaling: Default::default(),
                l2_candidates: vec![1e-4, 0.1],
                n_folds: 5,
                class_weights: false,
            },
            training: None,
            baseline: None,
            unused_weights: vec![],
            groups: vec![],
            notes: vec![],
        },
        results: Results {
            n_test: 20,
            metric: Metric::Accuracy,
            score: 0.9,
            score_ci95: [0.7, 0.97].into(),
            measures: [
                ("accuracy".to_string(), 0.9),
                ("macro_f1".to_string(), 0.9),
                ("ece".to_string(), 0.1),
            ]
            .into(),
            comparisons: vec![Comparison {
                baseline: "majority".into(),
                score: 0.5,
                gain: 0.4,
                gain_ci95: [0.2, 0.6].into(),
            }],
            verdict: Verdict::Helped,
            sentence: "Transfer helped.".into(),
            fallback: None,
        },
        card: Card { id: "resnet18".into(), licence: "BSD-3-Clause".into(), ..Card::default() },
        provenance: Provenance {
            headstart: "0.1.0".into(),
            data_blake3: "ab".repeat(32),
            device: "cpu-f32".into(),
        },
        golden: Golden {
            outputs: vec![vec![0.25, 0.75]; inputs.len()],
            inputs,
            tolerance: headstart_bundle::GOLDEN_TOLERANCE,
        },
        files: Default::default(),
    }
}

fn files() -> Vec<(String, Bytes)> {
    let mut files = vec![
        ("model.safetensors".to_string(), Bytes::from_static(b"weights")),
        ("graph.json".to_string(), Bytes::from_static(b"{}")),
    ];
    files.extend(golden_inputs_image(1).into_iter().map(|(name, bytes)| (name, bytes.into())));
    files
}

fn sealed() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = seal(&root.path().join("bundle"), manifest(), &files()).unwrap();
    (root, dir)
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Changes the manifest as JSON, beneath every check of the writer.
fn edit(dir: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join(MANIFEST_NAME);
    let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}

#[test]
fn what_is_sealed_is_what_is_opened() {
    let (root, dir) = sealed();
    let bundle = open(&dir).unwrap();
    assert_eq!(entries(root.path()), ["bundle"], "no temporary folder stays behind");
    assert_eq!(bundle.manifest, Manifest { files: bundle.manifest.files.clone(), ..manifest() });
    assert_eq!(&bundle.read("model.safetensors").unwrap()[..], b"weights");
    assert_eq!(fs::read_to_string(dir.join(README_NAME)).unwrap(), readme(&manifest()));
    bundle.check_golden(&bundle.manifest.golden.outputs).unwrap();
    let error = bundle.check_golden(&vec![vec![0.5, 0.5]; 5]).unwrap_err().to_string();
    assert!(error.contains("\"cat\"") && error.contains("golden/gradient-64x48.png"), "{error}");
}

#[test]
fn the_same_inputs_make_the_same_bytes() {
    let ((_a, a), (_b, b)) = (sealed(), sealed());
    let bundle = open(&a).unwrap();
    for name in bundle.manifest.files.keys().map(String::as_str).chain([MANIFEST_NAME]) {
        assert_eq!(fs::read(a.join(name)).unwrap(), fs::read(b.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn a_change_in_any_file_is_found() {
    let names: Vec<String> = open(&sealed().1).unwrap().manifest.files.into_keys().collect();
    assert_eq!(names.len(), 8);
    for name in names {
        let (_root, dir) = sealed();
        let path = dir.join(&name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(open(&dir), Err(BundleError::Hash { name: n, .. }) if n == name));
        fs::write(&path, &bytes[1..]).unwrap();
        assert!(matches!(open(&dir), Err(BundleError::Size { name: n, .. }) if n == name));
        fs::remove_file(&path).unwrap();
        assert!(matches!(open(&dir), Err(BundleError::Missing { name: n }) if n == name));
        fs::create_dir(&path).unwrap();
        assert!(matches!(open(&dir), Err(BundleError::Missing { name: n }) if n == name));
    }
}

#[test]
fn a_change_after_opening_is_found_when_reading() {
    let (_root, dir) = sealed();
    let bundle = open(&dir).unwrap();
    fs::write(dir.join("model.safetensors"), b"weighty").unwrap();
    assert!(matches!(bundle.read("model.safetensors"), Err(BundleError::Hash { .. })));
    assert!(matches!(bundle.read("../bundle/graph.json"), Err(BundleError::Missing { .. })));
}

#[test]
fn foreign_files_are_refused_hidden_ones_passed_over() {
    let (_root, dir) = sealed();
    fs::write(dir.join(".DS_Store"), "x").unwrap();
    open(&dir).unwrap();
    fs::write(dir.join("golden/extra.png"), "x").unwrap();
    assert!(matches!(open(&dir), Err(BundleError::Unlisted { name }) if name == "golden/extra.png"));
    fs::remove_file(dir.join("golden/extra.png")).unwrap();
    fs::create_dir(dir.join("more")).unwrap();
    assert!(matches!(open(&dir), Err(BundleError::Unlisted { name }) if name == "more"));
}

#[test]
fn newer_formats_are_called_newer() {
    let (_root, dir) = sealed();
    // A format whose other fields are unknown too.
    fs::write(dir.join(MANIFEST_NAME), r#"{"format": 99, "galaxy": []}"#).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, BundleError::Future { got: 99, .. }));
    assert!(error.to_string().contains("install a newer Headstart"));
    edit(&dir, |m| m["format"] = 0.into());
    assert!(open(&dir).is_err());
}

#[test]
fn every_truncation_of_the_manifest_is_refused() {
    let (_root, dir) = sealed();
    let bytes = fs::read(dir.join(MANIFEST_NAME)).unwrap();
    for n in (0..bytes.len() - 2).step_by(7) {
        fs::write(dir.join(MANIFEST_NAME), &bytes[..n]).unwrap();
        assert!(matches!(open(&dir), Err(BundleError::Manifest { .. })), "{n} bytes");
    }
    fs::remove_file(dir.join(MANIFEST_NAME)).unwrap();
    assert!(matches!(open(&dir), Err(BundleError::NotABundle { .. })));
}

#[test]
fn lies_in_the_manifest_are_refused() {
    type Lie = fn(&mut serde_json::Value);
    let lies: [(&str, Lie); 9] = [
        ("traversal", |m| m["files"]["../outside"] = m["files"]["graph.json"].clone()),
        ("absolute", |m| m["files"]["/etc/hostname"] = m["files"]["graph.json"].clone()),
        ("case", |m| m["files"]["GRAPH.json"] = m["files"]["graph.json"].clone()),
        ("huge", |m| m["files"]["graph.json"]["size_bytes"] = u64::MAX.into()),
        ("hash", |m| m["files"]["graph.json"]["blake3"] = "zz".into()),
        ("unknown field", |m| m["surprise"] = 1.into()),
        ("labels", |m| m["labels"] = serde_json::json!(["cat"])),
        ("golden rows", |m| m["golden"]["outputs"] = serde_json::json!([[0.5, 0.5]])),
        ("golden file", |m| m["golden"]["inputs"][0] = serde_json::json!({"file": "../../secret.png"})),
    ];
    for (what, lie) in lies {
        let (root, dir) = sealed();
        fs::write(root.path().join("outside"), "{}").unwrap();
        edit(&dir, lie);
        assert!(open(&dir).is_err(), "{what}");
    }
}

#[test]
fn hostile_names_and_contradictions_are_not_sealed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("bundle");
    for bad in ["../x", "/x", "a\\b", ".hidden", "headstart.json", "graph.json", "GRAPH.JSON"] {
        let mut files = files();
        files.push((bad.into(), Bytes::new()));
        assert!(matches!(seal(&dir, manifest(), &files), Err(BundleError::Name { .. })), "{bad}");
    }
    assert!(seal::<Bytes>(&dir, manifest(), &[]).is_err(), "golden files are missing");
    let mut nan = manifest();
    nan.results.measures.insert("ece".into(), f64::NAN);
    assert!(seal(&dir, nan, &files()).is_err());
    assert!(entries(root.path()).is_empty());
}

#[test]
fn a_bundle_is_replaced_and_nothing_else_is() {
    let (root, dir) = sealed();
    let renamed = Manifest { name: "second".into(), ..manifest() };
    seal(&dir, renamed, &files()).unwrap();
    assert_eq!(open(&dir).unwrap().manifest.name, "second");
    assert_eq!(entries(root.path()), ["bundle"]);

    let holiday = root.path().join("holiday");
    fs::create_dir(&holiday).unwrap();
    seal(&holiday, manifest(), &files()).unwrap();
    fs::remove_file(holiday.join(MANIFEST_NAME)).unwrap();
    assert!(matches!(seal(&holiday, manifest(), &files()), Err(BundleError::InTheWay { .. })));
    assert!(holiday.join("graph.json").exists());
    let file = root.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(seal(&file, manifest(), &files()), Err(BundleError::InTheWay { .. })));
}

#[test]
fn a_failed_write_leaves_the_old_bundle_and_nothing_more() {
    let (root, dir) = sealed();
    // `graph.json` cannot be both a file and a folder: the second write fails, half-way.
    let mut files = files();
    files.push(("graph.json/x".into(), Bytes::new()));
    assert!(matches!(seal(&dir, manifest(), &files), Err(BundleError::Io { .. })));
    assert_eq!(entries(root.path()), ["bundle"]);
    open(&dir).unwrap();
}

#[cfg(unix)]
#[test]
fn a_read_only_place_gives_an_error_that_names_it() {
    use std::os::unix::fs::PermissionsExt;
    let (root, dir) = sealed();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // Whoever is root may write all the same.
    if let Err(error) = seal(&dir, manifest(), &files()) {
        assert!(error.to_string().contains("cannot create a folder in"), "{error}");
        assert_eq!(entries(root.path()), ["bundle"]);
    }
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    open(&dir).unwrap();
    // No user may create anything here.
    if Path::new("/proc/self").exists() {
        assert!(matches!(
            seal(Path::new("/proc/self/bundle"), manifest(), &files()),
            Err(BundleError::Io { .. })
        ));
    }
}

#[test]
fn the_model_card_says_what_matters() {
    let mut m = manifest();
    m.labels[0] = "<script>alert(1)</script>\n# pwned".into();
    m.results.fallback = Some("scratch".into());
    let card = readme(&m);
    assert!(card.starts_with(
        "---\nlicense: bsd-3-clause\nlibrary_name: headstart\npipeline_tag: image-classification\n"
    ));
    assert!(!card.contains("<script>") && !card.contains("\n# pwned"));
    assert!(card.contains("does not hold the transferred network"));
    assert!(card.contains("| majority | 0.500 | +0.400 (+0.200 to +0.600) |"));
}
