//! Determinism, hard cases, and refusals.

use std::sync::Mutex;

use headstart_core::{Features, Scaling};
use headstart_train::{
    HeadFit, LogisticSpec, RidgeSpec, TrainError, fit, fit_labels, fit_ridge, predict_head, predict_proba,
};

/// `n` rows in `n_classes` overlapping clouds.
fn clouds(n: usize, width: usize, n_classes: usize, distance: f64) -> (Features, Vec<usize>) {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / 16_777_216.0 - 0.5
    };
    let labels: Vec<usize> = (0..n).map(|i| i % n_classes).collect();
    let mut values = Vec::new();
    for &y in &labels {
        let shared = next();
        values.extend((0..width).map(|j| {
            let signal = if j % n_classes == y { distance } else { 0.0 };
            (next() + 3.0 * shared + signal) as f32
        }));
    }
    (Features { width, example_idx: (0..n).collect(), values }, labels)
}

fn fit_default(features: &Features, labels: &[usize], n_classes: usize) -> Result<HeadFit, TrainError> {
    fit(features, labels, n_classes, None, &LogisticSpec::default(), &|_, _| ())
}

fn accuracy(head: &HeadFit, features: &Features, labels: &[usize], n_classes: usize) -> f64 {
    let p = predict_proba(features, &head.weight, &head.bias, n_classes, false);
    let right = |(row, y): (&[f32], &usize)| row.iter().all(|v| *v <= row[*y]);
    p.chunks(n_classes).zip(labels).filter(|&pair| right(pair)).count() as f64 / labels.len() as f64
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    // More rows than features, and fewer; several blocks and tasks.
    for (n, width) in [(1500, 40), (90, 200)] {
        let (features, labels) = clouds(n, width, 4, 0.3);
        let run = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| fit_default(&features, &labels, 4).unwrap())
        };
        let one = run(1);
        assert!(one.converged && one.cv.len() > 3);
        assert_eq!(one, run(2));
        assert_eq!(one, run(3));
        assert_eq!(one, run(3));
    }
}

#[test]
fn separable_data_converge() {
    let (features, labels) = clouds(60, 100, 3, 5.0);
    for scaling in [Scaling::Common, Scaling::PerFeature] {
        let spec = LogisticSpec { scaling, l2_candidates: vec![1e-4], ..LogisticSpec::default() };
        let head = fit(&features, &labels, 3, None, &spec, &|_, _| ()).unwrap();
        assert!(head.converged, "{} iterations", head.n_iterations);
        assert_eq!(accuracy(&head, &features, &labels, 3), 1.0);
    }
}

#[test]
fn offsets_and_units_of_features_do_not_matter() {
    let (mut features, labels) = clouds(200, 10, 2, 0.5);
    let spec = LogisticSpec { scaling: Scaling::PerFeature, ..LogisticSpec::default() };
    let plain = fit(&features, &labels, 2, None, &spec, &|_, _| ()).unwrap();
    let p = predict_proba(&features, &plain.weight, &plain.bias, 2, false);
    for row in features.values.chunks_mut(10) {
        for (j, v) in row.iter_mut().enumerate() {
            *v = (*v + 100.0) * 10f32.powi(j as i32 - 5);
        }
    }
    let moved = fit(&features, &labels, 2, None, &spec, &|_, _| ()).unwrap();
    assert_eq!(plain.l2, moved.l2);
    let q = predict_proba(&features, &moved.weight, &moved.bias, 2, false);
    let worst = p.iter().zip(&q).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst < 2e-3, "{worst}: only what rounding at the offset of 100 costs");
}

#[test]
fn noise_gets_a_strong_penalty_and_signal_a_weak_one() {
    let (features, _) = clouds(200, 30, 2, 0.0);
    let coin: Vec<usize> = (0..200).map(|i| usize::from((i * i + 3 * i) % 7 > 2)).collect();
    let noise = fit_default(&features, &coin, 2).unwrap();
    let (features, labels) = clouds(200, 30, 2, 1.0);
    let signal = fit_default(&features, &labels, 2).unwrap();
    assert!(noise.l2 >= 1.0, "{}", noise.l2);
    assert!(signal.l2 <= 0.1, "{}", signal.l2);
    assert!(signal.cv.iter().all(|p| p.loss.is_finite() && p.loss_std >= 0.0));
}

#[test]
fn class_weights_find_the_rare_class() {
    let (all, every) = clouds(400, 6, 2, 0.35);
    let rows: Vec<usize> = (0..400).filter(|&i| every[i] == 0 || i % 20 == 1).collect();
    let labels: Vec<usize> = rows.iter().map(|&i| every[i]).collect();
    let features = Features {
        width: 6,
        example_idx: rows.clone(),
        values: rows.iter().flat_map(|&i| all.row(i).to_vec()).collect(),
    };
    let recall = |class_weights| {
        let spec = LogisticSpec { class_weights, ..LogisticSpec::default() };
        let head = fit(&features, &labels, 2, None, &spec, &|_, _| ()).unwrap();
        let p = predict_proba(&features, &head.weight, &head.bias, 2, false);
        let found = |(i, y): (usize, &usize)| *y == 1 && p[2 * i + 1] > 0.5;
        labels.iter().enumerate().filter(|&pair| found(pair)).count()
    };
    assert!(recall(true) > recall(false), "{} {}", recall(true), recall(false));
}

#[test]
fn too_few_rows_to_cross_validate_is_noted() {
    let (features, labels) = clouds(3, 5, 3, 1.0);
    let head = fit_default(&features, &labels, 3).unwrap();
    assert!(head.cv.is_empty() && head.converged);
    assert_eq!(head.l2, headstart_train::default_l2_candidates()[5]);
    assert_eq!(head.notes.len(), 1);
    // Four rows of two classes can be held out one by one.
    let (features, labels) = clouds(4, 5, 2, 1.0);
    let head = fit_default(&features, &labels, 2).unwrap();
    assert!(!head.cv.is_empty());
    assert_eq!(head.notes, ["4 folds instead of 5: no more rows can be held out"]);
}

#[test]
fn classes_that_only_one_group_shows_do_not_break_a_fold() {
    let (features, labels) = clouds(60, 8, 3, 0.5);
    let groups: Vec<u64> =
        labels.iter().enumerate().map(|(i, y)| if *y == 2 { 0 } else { i as u64 }).collect();
    let head = fit(&features, &labels, 3, Some(&groups), &LogisticSpec::default(), &|_, _| ()).unwrap();
    assert!(head.converged && head.cv.iter().all(|p| p.loss < 5.0));
}

#[test]
fn progress_ends_where_it_said() {
    let (features, labels) = clouds(60, 8, 3, 0.5);
    let seen = Mutex::new(Vec::new());
    fit(&features, &labels, 3, None, &LogisticSpec::default(), &|done, total| {
        seen.lock().unwrap().push((done, total));
    })
    .unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&(56, 56)));
}

#[test]
fn refusals_name_what_they_saw() {
    let (features, labels) = clouds(6, 2, 2, 1.0);
    let message =
        |features: &Features, labels: &[usize], n_classes, spec: &LogisticSpec, groups: Option<&[u64]>| {
            fit(features, labels, n_classes, groups, spec, &|_, _| ()).unwrap_err().to_string()
        };
    let spec = LogisticSpec::default();
    let say =
        |features: &Features, labels: &[usize], n_classes| message(features, labels, n_classes, &spec, None);
    assert_eq!(
        say(&features, &[1; 6], 2),
        "every row has class 1: a classifier needs at least 2 classes to tell apart"
    );
    assert_eq!(
        say(&features, &labels, 3),
        "class 2 has no row to learn from (2 of 3 classes occur): drop it or add examples"
    );
    assert_eq!(say(&features, &[0, 1, 0, 1, 0, 7], 2), "row 5 has class 7, but there are 2 classes (0 to 1)");
    assert_eq!(say(&features, &labels[..5], 2), "5 labels for 6 rows of features (one a row is needed)");
    assert_eq!(
        message(&features, &labels, 2, &spec, Some(&[1, 2])),
        "2 groups for 6 rows of features (one a row is needed)"
    );
    let mut broken = features.clone();
    broken.values[7] = f32::NAN;
    broken.example_idx[3] = 30;
    assert_eq!(say(&broken, &labels, 2), "row 3 (example 30), feature 1 is NaN: features must be finite");
    assert_eq!(
        say(&Features::default(), &[], 2),
        "no features to learn from: 0 rows of 0 numbers (both must be 1 or more)"
    );
    let with = |l2_candidates| LogisticSpec { l2_candidates, ..LogisticSpec::default() };
    assert_eq!(
        message(&features, &labels, 2, &with(vec![0.1, 0.0]), None),
        "l2 candidate 0 is not allowed: strengths are finite and above 0"
    );
    assert_eq!(fit(&features, &labels, 2, None, &with(vec![]), &|_, _| ()), Err(TrainError::NoStrength));
}

/// Few rows of many features, so that the dual is solved: the same answer as from the normal equations of the same data
/// with features that never vary left out.
#[test]
fn ridge_by_its_dual_is_ridge() {
    let n = 20;
    let narrow: Vec<f32> = (0..n * 3).map(|i| ((i * 37 + i * i) % 29) as f32 / 29.0).collect();
    let wide: Vec<f32> =
        narrow.chunks(3).flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(7.0, 30))).collect();
    let features = |width, values| Features { width, example_idx: (0..n).collect(), values };
    let targets: Vec<f64> =
        (0..n).map(|i| f64::from(narrow[i * 3] - 2.0 * narrow[i * 3 + 2]) + 5.0).collect();
    let fit = |features: &Features, l2_candidates: Vec<f64>| {
        let spec = RidgeSpec { l2_candidates, ..RidgeSpec::default() };
        fit_ridge(features, &targets, None, &spec, &|_, _| ()).unwrap()
    };
    let (primal, dual) = (features(3, narrow.clone()), features(33, wide));
    let (a, b) = (fit(&primal, vec![0.1]), fit(&dual, vec![0.1]));
    for (a, b) in a.weight.iter().zip(&b.weight) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(b.weight[3..].iter().all(|w| *w == 0.0) && (a.bias[0] - b.bias[0]).abs() < 1e-4);
    // Without noise the weakest strength predicts best, and cross-validation says so.
    let chosen = fit(&primal, headstart_train::default_l2_candidates());
    assert_eq!(chosen.l2, 1e-4);
    assert!(chosen.cv[10].loss < 1e-4 && chosen.cv[0].loss > 0.1, "{:?}", chosen.cv);
}

#[test]
fn heads_for_labels_and_numbers_are_the_same_on_any_number_of_threads() {
    let n = 150;
    let values: Vec<f32> = (0..n * 20).map(|i| ((i * 7919) % 1013) as f32 / 1013.0).collect();
    let features = Features { width: 20, example_idx: (0..n).collect(), values };
    let labels: Vec<Vec<usize>> =
        (0..n).map(|i| (0..3).filter(|c| features.row(i)[*c] > 0.6).collect()).collect();
    let targets: Vec<f64> = (0..n).map(|i| f64::from(features.row(i)[0] + features.row(i)[1])).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let a = fit_labels(&features, &labels, 3, None, &LogisticSpec::default(), &|_, _| ()).unwrap();
            (a, fit_ridge(&features, &targets, None, &RidgeSpec::default(), &|_, _| ()).unwrap())
        })
    };
    let (labelled, numbered) = run(1);
    assert_eq!(run(3), (labelled.clone(), numbered));
    assert!(labelled.cv.iter().any(|p| p.accuracy.unwrap() > 0.9), "{:?}", labelled.cv);
}

/// A label that no row has must neither fail nor be said.
#[test]
fn an_absent_label_is_improbable() {
    let features =
        Features { width: 1, example_idx: (0..30).collect(), values: (0..30).map(|i| i as f32).collect() };
    let labels: Vec<Vec<usize>> = (0..30).map(|i| if i > 14 { vec![0] } else { vec![] }).collect();
    let head = fit_labels(&features, &labels, 2, None, &LogisticSpec::default(), &|_, _| ()).unwrap();
    let p = predict_head(headstart_core::Task::MultiLabel, &features, &head.weight, &head.bias);
    assert!(p.chunks(2).all(|row| row[1] < 0.05), "{p:?}");
    assert!(p[0] < 0.5 && p[58] > 0.5);
}
