//! Agreement with SciPy, on numbers that `make_reference.py` wrote.

use headstart_core::Interval;
use headstart_trust::{bootstrap, clopper_pearson, mcnemar_p, wilson};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    shares: Vec<Share>,
    mcnemar: Vec<Mcnemar>,
}

#[derive(Deserialize)]
struct Share {
    n_right: usize,
    n: usize,
    exact: Interval,
    wilson: Interval,
}

#[derive(Deserialize)]
struct Mcnemar {
    n_a: usize,
    n_b: usize,
    p: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference.json")).expect("make_reference.py wrote it")
}

fn near(got: Interval, want: Interval) -> bool {
    (got.lo - want.lo).abs() < 1e-9 && (got.hi - want.hi).abs() < 1e-9
}

#[test]
fn intervals_of_shares_agree_with_scipy() {
    for s in reference().shares {
        let (exact, wilson) = (clopper_pearson(s.n_right, s.n), wilson(s.n_right, s.n));
        assert!(near(exact, s.exact), "{} of {}: {exact:?}, not {:?}", s.n_right, s.n, s.exact);
        assert!(near(wilson, s.wilson), "{} of {}: {wilson:?}, not {:?}", s.n_right, s.n, s.wilson);
    }
    assert_eq!(clopper_pearson(0, 0), Interval { lo: 0.0, hi: 1.0 });
}

#[test]
fn mcnemar_agrees_with_scipy() {
    for m in reference().mcnemar {
        let p = mcnemar_p(m.n_a, m.n_b);
        assert!((p - m.p).abs() < 1e-9, "{} to {}: {p}, not {}", m.n_a, m.n_b, m.p);
    }
}

/// The bootstrap of a share comes near its exact distribution: 300 of 400, binomial standard deviation 0.02165.
#[test]
fn the_bootstrap_of_accuracy_agrees_with_the_binomial() {
    let share = |idx: &[usize]| idx.iter().filter(|i| **i < 300).count() as f64 / idx.len() as f64;
    let ci = bootstrap(400, 10_000, 0, share);
    assert!((ci.lo - 0.7075).abs() < 0.0035 && (ci.hi - 0.7925).abs() < 0.0035, "{ci:?}");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(ci, pool.install(|| bootstrap(400, 10_000, 0, share)));
}
