//! Prototype heads against scikit-learn's `NearestCentroid` and against leaving rows out one by one
//! (`make_prototype_reference.py` made the numbers).

#![allow(clippy::unwrap_used)]

use headstart_core::Features;
use headstart_train::{Distance, PrototypeFit, PrototypeSpec, TrainError, fit_prototypes, predict_proba};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    shots: Vec<usize>,
    cosine: bool,
    first_row: Vec<f32>,
    centroids: Vec<f64>,
    predictions: Vec<usize>,
    temperature: Option<f64>,
    log_loss: Option<f64>,
    accuracy: Option<f64>,
}

const D: usize = 10;
const K: usize = 4;
const N_TEST: usize = 6;

/// The formula of `make_prototype_reference.py`: rows to learn from with their labels, and rows to judge.
fn data(shots: &[usize]) -> (Features, Vec<usize>, Features) {
    let mut state = 12345u64;
    let mut rows = |n: usize, class: usize| -> Vec<f32> {
        let mut value = |j: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % 300 + if j % K == class { 120 } else { 0 }) as f32 / 100.0
        };
        (0..n * D).map(|i| value(i % D)).collect()
    };
    let train: Vec<f32> = shots.iter().enumerate().flat_map(|(c, &n)| rows(n, c)).collect();
    let test: Vec<f32> = (0..K).flat_map(|c| rows(N_TEST, c)).collect();
    let labels = shots.iter().enumerate().flat_map(|(c, &n)| vec![c; n]).collect();
    (features(D, train), labels, features(D, test))
}

fn features(width: usize, values: Vec<f32>) -> Features {
    Features { width, example_idx: (0..values.len() / width).collect(), values }
}

fn predictions(head: &PrototypeFit, rows: &Features) -> Vec<usize> {
    let p = predict_proba(rows, &head.weight, &head.bias, K, head.normalise);
    p.chunks(K).map(|p| (0..K).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap()).collect()
}

#[test]
fn agrees_with_scikit_learn_and_with_leaving_rows_out() {
    let reference: Reference = serde_json::from_str(include_str!("prototype_reference.json")).unwrap();
    for case in &reference.cases {
        let (rows, labels, test) = data(&case.shots);
        assert_eq!(rows.row(0), case.first_row, "the two programs must make the same data");
        let distance = if case.cosine { Distance::Cosine } else { Distance::Euclidean };
        let plain = PrototypeSpec { distance, temperature: Some(1.0) };
        let head = fit_prototypes(&rows, &labels, K, &plain).unwrap();
        let factor = if case.cosine { 1.0 } else { 2.0 };
        for (w, c) in head.weight.iter().zip(&case.centroids) {
            assert!((f64::from(*w) - factor * c).abs() < 1e-6, "{w}, not {c}");
        }
        assert_eq!(predictions(&head, &test), case.predictions, "{:?} {distance:?}", case.shots);
        let measured =
            fit_prototypes(&rows, &labels, K, &PrototypeSpec { distance, temperature: None }).unwrap();
        assert_eq!(predictions(&measured, &test), case.predictions);
        let Some(loo) = measured.leave_one_out else {
            assert!(case.accuracy.is_none() && measured.notes.len() == 1);
            continue;
        };
        let wanted = case.temperature.unwrap();
        assert!((measured.temperature / wanted - 1.0).abs() < 1e-5, "{} not {wanted}", measured.temperature);
        assert!((loo.log_loss - case.log_loss.unwrap()).abs() < 1e-6, "{loo:?}");
        assert!((loo.accuracy - case.accuracy.unwrap()).abs() < 1e-12, "{loo:?}");
    }
}

#[test]
fn one_example_a_class_gives_moderate_probabilities_at_any_scale() {
    for scale in [1e-3, 1.0, 1e3] {
        for distance in [Distance::Euclidean, Distance::Cosine] {
            let rows = features(3, [1., 0., 0., 0., 1., 0., 0., 0., 1.].map(|v: f32| v * scale).to_vec());
            let spec = PrototypeSpec { distance, temperature: None };
            let head = fit_prototypes(&rows, &[0, 1, 2], 3, &spec).unwrap();
            let p = predict_proba(&rows, &head.weight, &head.bias, 3, head.normalise);
            assert!((p[0] - 0.9).abs() < 1e-4 && (p[1] - 0.05).abs() < 1e-4, "{p:?}");
            assert!(head.leave_one_out.is_none());
        }
    }
}

#[test]
fn separable_rows_do_not_make_it_certain() {
    let rows = features(1, vec![0.0, 0.1, 0.2, 9.8, 9.9, 10.0]);
    let spec = PrototypeSpec { distance: Distance::Euclidean, temperature: None };
    let head = fit_prototypes(&rows, &[0, 0, 0, 1, 1, 1], 2, &spec).unwrap();
    let p = predict_proba(&rows, &head.weight, &head.bias, 2, false);
    assert!(p[0] > 0.8 && p[0] < 0.95, "{p:?}");
    assert_eq!(head.leave_one_out.unwrap().accuracy, 1.0);
}

#[test]
fn degenerate_rows_and_wrong_requests() {
    for distance in [Distance::Euclidean, Distance::Cosine] {
        let spec = |temperature| PrototypeSpec { distance, temperature };
        // All rows are the same, or zero: nothing to tell apart, but nothing that is not a number.
        for value in [0.0, 3.0] {
            for labels in [[0, 0, 1, 1].as_slice(), &[0, 1]] {
                let rows = features(2, vec![value; 2 * labels.len()]);
                let head = fit_prototypes(&rows, labels, 2, &spec(None)).unwrap();
                let p = predict_proba(&rows, &head.weight, &head.bias, 2, head.normalise);
                assert!(p.iter().all(|p| (p - 0.5).abs() < 1e-6), "{p:?}");
            }
        }
        // Opposite rows cancel out to a prototype of zeros.
        let rows = features(1, vec![1.0, -1.0, 2.0, 2.0]);
        let head = fit_prototypes(&rows, &[0, 0, 1, 1], 2, &spec(None)).unwrap();
        assert!(head.weight.iter().all(|w| w.is_finite()) && head.temperature.is_finite());
        let rows = features(1, vec![1.0, 2.0]);
        let wrong = fit_prototypes(&rows, &[0, 1], 2, &spec(Some(0.0))).unwrap_err();
        assert_eq!(wrong.to_string(), "temperature is 0; allowed: above 0");
        assert!(matches!(
            fit_prototypes(&rows, &[0, 0], 1, &spec(None)),
            Err(TrainError::OneClass { class_idx: 0 })
        ));
        assert!(fit_prototypes(&features(1, vec![1.0, f32::NAN]), &[0, 1], 2, &spec(None)).is_err());
    }
}
