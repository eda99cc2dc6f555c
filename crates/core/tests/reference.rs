//! Agreement with scikit-learn, on numbers that `make_reference.py` wrote: ties, absent classes, weights.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use headstart_core::{Metric, Metrics, Scorer, Targets, Task};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    task: Task,
    outputs: Vec<f32>,
    width: usize,
    #[serde(default)]
    classes: Vec<usize>,
    #[serde(default)]
    sets: Vec<Vec<usize>>,
    #[serde(default)]
    numbers: Vec<f64>,
    weights: Vec<u32>,
    scores: BTreeMap<String, f64>,
}

#[test]
fn agrees_with_scikit_learn() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("reference.json")).unwrap();
    let mut n_compared = 0;
    for case in cases {
        let truth = match case.task {
            Task::Classification => Targets::Class(case.classes),
            Task::MultiLabel => Targets::Classes(case.sets),
            Task::Regression => Targets::Number(case.numbers),
        };
        let names: Vec<String> = (0..case.width).map(|c| format!("c{c}")).collect();
        let unweighted = case.weights.iter().all(|w| *w == 1);
        let metrics = Metrics::of(&names, &case.outputs, &truth);
        assert_eq!(case.scores.len(), Metric::of_task(case.task).len());
        for (name, want) in &case.scores {
            let metric: Metric = name.parse().unwrap();
            let got = Scorer::new(metric, case.width, &case.outputs, &truth).score(&case.weights);
            assert!((got - want).abs() < 1e-6, "{} {name}: {got}, scikit-learn has {want}", case.task);
            if unweighted {
                let whole = metrics.get(metric).unwrap();
                assert!(
                    (whole - want).abs() < 1e-6,
                    "{} {name}: {whole}, scikit-learn has {want}",
                    case.task
                );
            }
            n_compared += 1;
        }
    }
    assert_eq!(n_compared, 22);
}
