//! mixup and cutmix against torchvision's (`tests/make_mix_reference.py` made the numbers), and what must hold of any mix.

use serde::Deserialize;

use super::cutmix::cutmix_with;
use super::mixup::mixup_with;
use super::*;

#[derive(Deserialize)]
struct Reference {
    shape: [usize; 4],
    labels: Vec<usize>,
    n_classes: usize,
    mixup: Case,
    cutmix: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    lambda: f64,
    #[serde(default)]
    rectangle: [usize; 4],
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

/// The formula of `make_mix_reference.py`.
fn batch(shape: &[usize]) -> Array {
    let n: usize = shape.iter().product();
    Array::f32(shape, (0..n).map(|i| (i * 37 % 101) as f32 / 101.0).collect())
}

/// One-hot rows.
fn shares(labels: &[usize], n_classes: usize) -> Array {
    let row = |l: &usize| (0..n_classes).map(|c| if c == *l { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
    Array::f32(&[labels.len(), n_classes], labels.iter().flat_map(row).collect())
}

fn numbers(array: &Array) -> &[f32] {
    let Values::F32(values) = &array.values else { panic!("integers") };
    values
}

fn close(got: &Array, want: &[f32]) {
    let got = numbers(got);
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}, not {want:?}");
}

#[test]
fn agrees_with_torchvision() {
    let reference: Reference = serde_json::from_str(include_str!("../../tests/mix_reference.json")).unwrap();
    let inputs = batch(&reference.shape);
    let targets = shares(&reference.labels, reference.n_classes);
    let n = reference.labels.len();
    // torchvision's partner is the example before.
    let before: Vec<usize> = (0..n).map(|i| (i + n - 1) % n).collect();
    let case = &reference.mixup;
    let mixed = mixup_with(&inputs, &targets, before.clone(), case.lambda).unwrap();
    close(&mixed.inputs, &case.inputs);
    close(&mixed.targets, &case.targets);
    for case in &reference.cutmix {
        let mixed = cutmix_with(&inputs, &targets, before.clone(), case.rectangle).unwrap();
        assert!((mixed.lambda - case.lambda).abs() < 1e-12);
        close(&mixed.inputs, &case.inputs);
        close(&mixed.targets, &case.targets);
    }
}

#[test]
fn targets_stay_shares_and_draws_repeat() {
    let labels = [0, 1, 2, 2, 1];
    let targets = shares(&labels, 3);
    let inputs = batch(&[5, 2, 9, 7]);
    let spec = MixSpec { mixup_alpha: 0.4, cutmix_alpha: 1.0 };
    let (mut n_cut, mut lambda_sum) = (0, 0.0);
    for seed in 0..400 {
        let mixed = spec.mix(&inputs, &targets, &mut Rng::stream(1, seed)).unwrap();
        assert_eq!(mixed, spec.mix(&inputs, &targets, &mut Rng::stream(1, seed)).unwrap());
        for row in numbers(&mixed.targets).chunks(3) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        let mut partner = mixed.partner.clone();
        partner.sort_unstable();
        assert_eq!(partner, [0, 1, 2, 3, 4]);
        let known = numbers(&inputs);
        if numbers(&mixed.inputs).iter().all(|v| known.contains(v)) {
            n_cut += 1;
        } else {
            lambda_sum += mixed.lambda;
        }
    }
    assert!((160..240).contains(&n_cut), "{n_cut} of 400 cut");
    let mean = lambda_sum / f64::from(400 - n_cut);
    assert!((mean - 0.5).abs() < 0.08, "{mean}");
}

#[test]
fn cutmix_keeps_the_share_that_it_says() {
    // Pictures of one value each: the share of it that is left is λ.
    let inputs = Array::f32(&[2, 1, 12, 10], [[0.0; 120], [1.0; 120]].concat());
    let targets = shares(&[0, 1], 2);
    let mut mean = 0.0;
    for seed in 0..2000 {
        let mixed = cutmix(&inputs, &targets, 1.0, &mut Rng::stream(9, seed)).unwrap();
        if mixed.partner == [1, 0] {
            let left = numbers(&mixed.inputs)[..120].iter().filter(|v| **v == 0.0).count();
            assert_eq!(left, (mixed.lambda * 120.0).round() as usize);
        }
        mean += mixed.lambda / 2000.0;
    }
    // Cut off at the edges, so more is kept than half; torchvision's own draws at this size: 0.746.
    assert!((mean - 0.746).abs() < 0.015, "{mean}");
}

#[test]
fn what_cannot_be_mixed_is_refused() {
    let targets = shares(&[0, 1], 2);
    let rng = &mut Rng::new(0);
    let ids = Array::i64(&[2, 1], vec![1, 2]);
    let told = mixup(&ids, &targets, 1.0, rng).unwrap_err().to_string();
    assert_eq!(told, "integers (mix the features behind the embedding) cannot be mixed");
    assert!(cutmix(&batch(&[2, 5]), &targets, 1.0, rng).is_err());
    assert!(cutmix(&batch(&[2, 1, 0, 4]), &targets, 1.0, rng).is_err());
    assert!(mixup(&batch(&[3, 5]), &targets, 1.0, rng).is_err());
    assert!(mixup(&batch(&[0, 5]), &shares(&[], 2), 1.0, rng).is_err());
    assert!(mixup(&batch(&[2, 5]), &targets, -0.2, rng).is_err());
    let same = MixSpec::default().mix(&ids, &targets, rng).unwrap();
    assert_eq!((same.inputs, same.lambda), (ids, 1.0));
}
