//! Agreement with scikit-learn, on numbers that `make_reference.py` wrote.

use headstart_core::{Features, Scaling, Task};
use headstart_train::{LogisticSpec, RidgeSpec, fit, fit_labels, fit_ridge, predict_head, predict_proba};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    first_row: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    n_classes: usize,
    l2: f64,
    class_weights: bool,
    per_feature: bool,
    normalise: bool,
    weight: Vec<f64>,
    bias: Vec<f64>,
    probabilities: Vec<f64>,
}

const N: usize = 120;
const D: usize = 12;

/// The formula of `make_reference.py`.
fn data() -> (Features, Vec<usize>) {
    let mut state = 42u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / 16_777_216.0 - 0.5
    };
    let labels: Vec<usize> = (0..N).map(|i| [0, 0, 1, 1, 2, 0, 1][i % 7]).collect();
    let mut values = Vec::new();
    for &y in &labels {
        let latent = next();
        for j in 0..D - 1 {
            let signal = if j % 3 == y { 0.5 } else { 0.0 };
            values.push(((next() + 2.0 * latent + signal) * (j + 1) as f64 + 4.0 * j as f64) as f32);
        }
        values.push(3.0);
    }
    (Features { width: D, example_idx: (0..N).collect(), values }, labels)
}

#[test]
fn agrees_with_scikit_learn() {
    let reference: Reference = serde_json::from_str(include_str!("reference.json")).unwrap();
    let (features, labels) = data();
    assert_eq!(features.row(0), reference.first_row, "the two programs must make the same data");
    let (mut worst_weight, mut worst_probability) = (0.0f64, 0.0f64);
    for case in &reference.cases {
        let labels: Vec<usize> = labels.iter().map(|y| *y.min(&(case.n_classes - 1))).collect();
        let spec = LogisticSpec {
            l2_candidates: vec![case.l2],
            class_weights: case.class_weights,
            normalise: case.normalise,
            scaling: if case.per_feature { Scaling::PerFeature } else { Scaling::Common },
            ..LogisticSpec::default()
        };
        let head = fit(&features, &labels, case.n_classes, None, &spec, &|_, _| ()).unwrap();
        assert!(head.converged, "λ = {}", case.l2);
        let largest = case.weight.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        for (got, want) in head.weight.iter().zip(&case.weight) {
            worst_weight = worst_weight.max((f64::from(*got) - want).abs() / largest);
        }
        // Adding one number to all biases changes nothing: compare them centred.
        let mean = head.bias.iter().map(|b| f64::from(*b)).sum::<f64>() / case.n_classes as f64;
        let largest = case.bias.iter().fold(1.0f64, |m, b| m.max(b.abs()));
        for (got, want) in head.bias.iter().zip(&case.bias) {
            assert!((f64::from(*got) - mean - want).abs() < 1e-3 * largest, "{got} − {mean}, not {want}");
        }
        let p = predict_proba(&features, &head.weight, &head.bias, case.n_classes, case.normalise);
        for (got, want) in p.iter().zip(&case.probabilities) {
            worst_probability = worst_probability.max((f64::from(*got) - want).abs());
        }
    }
    println!(
        "weights within {worst_weight:.1e} of the largest, probabilities within {worst_probability:.1e}"
    );
    assert!(worst_weight < 1e-3, "{worst_weight}");
    assert!(worst_probability < 1e-4, "{worst_probability}");
}

#[derive(Deserialize)]
struct HeadCase {
    task: Task,
    l2: f64,
    per_feature: bool,
    weight: Vec<f64>,
    bias: Vec<f64>,
    outputs: Vec<f64>,
}

/// The formulas of `make_heads.py`.
fn label_sets(classes: &[usize]) -> Vec<Vec<usize>> {
    let has = |i: usize, c: usize| classes[i] == c || (7 * i + 3 * c).is_multiple_of(5);
    (0..N).map(|i| (0..3).filter(|&c| has(i, c)).collect()).collect()
}

fn numbers(features: &Features) -> Vec<f64> {
    (0..N)
        .map(|i| {
            let x = features.row(i);
            3.0 * f64::from(x[0]) - 0.5 * f64::from(x[4]) + 100.0 + (i % 5) as f64
        })
        .collect()
}

#[test]
fn heads_for_labels_and_numbers_agree_with_scikit_learn() {
    let cases: Vec<HeadCase> = serde_json::from_str(include_str!("heads.json")).unwrap();
    let (features, classes) = data();
    for case in &cases {
        let scaling = if case.per_feature { Scaling::PerFeature } else { Scaling::Common };
        let l2_candidates = vec![case.l2];
        let head = match case.task {
            Task::Regression => {
                // With many rows the normal equations are solved, with few their dual.
                let spec = RidgeSpec { l2_candidates, scaling, ..RidgeSpec::default() };
                fit_ridge(&features, &numbers(&features), None, &spec, &|_, _| ()).unwrap()
            }
            _ => {
                let spec = LogisticSpec { l2_candidates, scaling, ..LogisticSpec::default() };
                fit_labels(&features, &label_sets(&classes), 3, None, &spec, &|_, _| ()).unwrap()
            }
        };
        assert!(head.converged);
        let largest = case.weight.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        for (got, want) in head.weight.iter().zip(&case.weight) {
            assert!(
                (f64::from(*got) - want).abs() < 1e-3 * largest,
                "{} {}: {got}, {want}",
                case.task,
                case.l2
            );
        }
        for (got, want) in head.bias.iter().zip(&case.bias) {
            assert!((f64::from(*got) - want).abs() < 1e-3 * want.abs().max(1.0), "{got}, {want}");
        }
        let outputs = predict_head(case.task, &features, &head.weight, &head.bias);
        for (got, want) in outputs.iter().zip(&case.outputs) {
            assert!((f64::from(*got) - want).abs() < 1e-4 * want.abs().max(1.0), "{got}, {want}");
        }
    }
    assert_eq!(cases.len(), 12);
}
