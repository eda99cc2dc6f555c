//! Agreement with PyTorch in value and gradient, on numbers that `tests/losses/make_reference.py` wrote.

use burn_backend::AutodiffBackend;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_core::{TargetRows, Values};
use serde_json::Value;

use super::*;
use crate::tensor::to_array;

/// A loss and its gradient by the outputs.
fn value_and_gradient(loss: &Loss, outputs: &[f32], rows: &TargetRows) -> (f64, Vec<f64>) {
    let device = Device::cpu();
    let plain = from_f32(&[rows.len(), rows.width], outputs.to_vec(), device.plain());
    let x = B::float_set_require_grad(<B as AutodiffBackend>::from_inner(plain), true);
    let y = loss.value(x.clone(), rows, &device);
    let numbers = |t| match to_array(t).unwrap().values {
        Values::F32(v) => v.into_iter().map(f64::from).collect::<Vec<_>>(),
        Values::I64(_) => unreachable!("losses are f32"),
    };
    let value = numbers(<B as AutodiffBackend>::inner(y.clone()))[0];
    let mut all = <B as AutodiffBackend>::backward(y);
    (value, numbers(<B as AutodiffBackend>::grad_remove(&x, &mut all).unwrap()))
}

fn floats(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

#[test]
fn agrees_with_pytorch() {
    let cases: Value = serde_json::from_str(include_str!("../../tests/losses/reference.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 16);
    for case in cases {
        let weights = (!case["weights"].is_null()).then(|| floats(&case["weights"]));
        let number = |key: &str| case[key].as_f64().unwrap_or_default();
        let loss = match case["loss"].as_str().unwrap() {
            "cross_entropy" => {
                Loss::CrossEntropy { label_smoothing: number("label_smoothing"), class_weights: weights }
            }
            "binary_cross_entropy" => Loss::BinaryCrossEntropy { positive_weights: weights },
            "focal" => Loss::Focal { gamma: number("gamma"), class_weights: weights },
            "binary_focal" => Loss::BinaryFocal { gamma: number("gamma"), alpha: case["alpha"].as_f64() },
            "squared_error" => Loss::SquaredError,
            "huber" => Loss::Huber { delta: number("delta") },
            other => panic!("no such loss: {other}"),
        };
        let width = case["width"].as_u64().unwrap() as usize;
        let rows = TargetRows { width, values: floats(&case["targets"]) };
        let (value, gradient) = value_and_gradient(&loss, &floats(&case["outputs"]), &rows);
        let want = number("value");
        assert!((value - want).abs() <= 2e-6 * want.abs().max(1.0), "{loss:?}: {value}, PyTorch has {want}");
        for (got, want) in gradient.iter().zip(floats(&case["gradient"])) {
            assert!((got - f64::from(want)).abs() < 2e-6, "{loss:?}: gradient {got}, PyTorch has {want}");
        }
    }
}

#[test]
fn soft_and_hard_labels_cost_the_same() {
    let hard = cross_entropy(
        from_f32(&[2, 2], vec![0.3, -1.0, 2.0, 0.5], Device::cpu().plain()),
        &[1, 0],
        &Device::cpu(),
    );
    let rows = |values: &[f32]| TargetRows { width: 2, values: values.to_vec() };
    let of = |weights, rows: &TargetRows| {
        let loss = Loss::CrossEntropy { label_smoothing: 0.0, class_weights: weights };
        value_and_gradient(&loss, &[0.3, -1.0, 2.0, 0.5], rows).0
    };
    let Values::F32(hard) = to_array(hard).unwrap().values else { unreachable!("losses are f32") };
    // Two implementations: the last bit may differ.
    let soft = of(None, &rows(&[0.0, 1.0, 1.0, 0.0]));
    assert!((soft - f64::from(hard[0])).abs() < 2e-7, "{soft} and {}", hard[0]);
    // Weights that are all alike change nothing, neither for hard nor for soft labels.
    for targets in [[0.0, 1.0, 1.0, 0.0], [0.3, 0.7, 0.9, 0.1]] {
        let (plain, tripled) = (of(None, &rows(&targets)), of(Some(vec![3.0, 3.0]), &rows(&targets)));
        assert!((plain - tripled).abs() < 1e-6);
    }
}

#[test]
fn certainty_does_not_overflow() {
    let rows = TargetRows { width: 2, values: vec![1.0, 0.0, 0.0, 1.0] };
    for loss in [
        Loss::of_task(Task::Classification),
        Loss::of_task(Task::MultiLabel),
        Loss::of_task(Task::Regression),
        Loss::Focal { gamma: 0.5, class_weights: None },
        Loss::BinaryFocal { gamma: 0.5, alpha: Some(0.25) },
        Loss::Huber { delta: 1.0 },
    ] {
        let (value, gradient) = value_and_gradient(&loss, &[200.0, -200.0, 200.0, -200.0], &rows);
        assert!(
            value.is_finite() && gradient.iter().all(|g| g.is_finite()),
            "{loss:?}: {value} {gradient:?}"
        );
    }
}
