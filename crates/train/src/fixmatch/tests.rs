//! FixMatch's rules against PyTorch's arithmetic (`tests/make_fixmatch_reference.py` made the numbers).

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Reference {
    n_classes: usize,
    threshold: f64,
    weak: Vec<f32>,
    labels: Vec<usize>,
    mask: Vec<bool>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/fixmatch_reference.json")).unwrap()
}

#[test]
fn labels_are_pytorch_s() {
    let r = reference();
    let spec = FixMatchSpec { threshold: r.threshold, ..FixMatchSpec::default() };
    spec.check().unwrap();
    let made = spec.pseudo_labels(&r.weak, r.n_classes).unwrap();
    assert_eq!((&made.label_idx, &made.kept), (&r.labels, &r.mask));
    let n_kept = r.mask.iter().filter(|m| **m).count();
    assert!(n_kept > 2 && n_kept < r.mask.len());
    assert_eq!(made.kept_share(), n_kept as f64 / r.mask.len() as f64);
}

#[test]
fn unlabelled_examples_come_equally_often_from_any_step_on() {
    let spec = FixMatchSpec::default();
    let mut met = vec![0; 33];
    for step in 0..33 {
        let batch = spec.unlabelled_batch(step, 4, 33, 2);
        assert_eq!(batch.len(), 28);
        assert_eq!(batch, spec.unlabelled_batch(step, 4, 33, 2));
        batch.into_iter().for_each(|i| met[i] += 1);
    }
    assert!(met.iter().all(|n| *n == 28), "{met:?}");
    assert_ne!(spec.unlabelled_batch(0, 4, 33, 2), spec.unlabelled_batch(0, 4, 33, 3));
    assert!(spec.unlabelled_batch(0, 4, 0, 2).is_empty());
    // Fewer unlabelled examples than a batch takes: each several times.
    assert_eq!(spec.unlabelled_batch(5, 4, 2, 2).len(), 28);
}

#[test]
fn wrong_settings_and_rows_are_refused() {
    let spec = FixMatchSpec::default();
    let told = FixMatchSpec { threshold: 1.2, ..spec }.check().unwrap_err().to_string();
    assert_eq!(told, "confidence threshold is 1.2; allowed: 0 to 1");
    assert!(FixMatchSpec { unlabelled_weight: f64::NAN, ..spec }.check().is_err());
    assert!(FixMatchSpec { n_unlabelled_per_labelled: 0, ..spec }.check().is_err());
    assert!(spec.pseudo_labels(&[0.5, 0.5, 0.1], 2).is_err());
    assert!(spec.pseudo_labels(&[], 0).is_err());
    assert!(spec.pseudo_labels(&[0.5, f32::NAN], 2).is_err());
    assert_eq!(spec.pseudo_labels(&[], 2).unwrap().kept_share(), 0.0);
}
