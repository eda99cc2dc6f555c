//! Every tensor of a file and every parameter of a graph is accounted for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use headstart_formats::{AssignRules, FormatError, LoadReport, Rename, assign};
use headstart_graph::{Conv, DType, Graph, GraphBuilder, Tensor, Weights};

fn graph() -> Graph {
    let mut b = GraphBuilder::new("tiny");
    let x = b.image("image", [3, 8, 8]);
    let x = b.conv("conv", x, Conv::new(4, 3).no_bias()).unwrap();
    let x = b.batch_norm("bn", x, 1e-5, 0.1).unwrap();
    let x = b.global_avg_pool("pool", x).unwrap();
    let x = b.linear("fc", x, 2).unwrap();
    b.finish([("logits", x)]).unwrap()
}

fn tensor(shape: &[usize], start: f32) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| start + i as f32).collect();
    Tensor::from_f32(shape, &values).unwrap()
}

fn file() -> Weights {
    let params = graph();
    let params = params.params().map(|(_, name, p)| (name.to_string(), tensor(&p.shape, 0.5)));
    params.collect()
}

fn renamed(f: impl Fn(&str) -> String) -> Weights {
    file().iter().map(|(n, t)| (f(n), t.clone())).collect()
}

fn rules(rename: Rename) -> AssignRules {
    AssignRules { rename, ..Default::default() }
}

fn report(result: Result<(Weights, LoadReport), FormatError>) -> LoadReport {
    match result {
        Err(FormatError::Unannounced(report)) => *report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn equal_names_match_and_counters_are_left_aside() {
    let mut found = file();
    found.insert("bn.num_batches_tracked", Tensor::new(DType::I64, vec![], vec![0; 8].into()).unwrap());
    let (weights, report) = assign(&graph(), found, &AssignRules::default()).unwrap();
    assert_eq!(weights, file());
    assert_eq!(report.ignored_by_rule.len(), 1);
    assert_eq!(
        report.to_string(),
        "7 of 7 parameters loaded from 8 tensors\n  ignored: 1 (bn.num_batches_tracked)"
    );
    assert!(serde_json::to_string(&report).unwrap().contains("\"n_params\":7"));
}

#[test]
fn what_was_not_announced_is_an_error_that_names_it() {
    let mut found = file();
    found.remove("fc.bias");
    found.insert("fc.weight", tensor(&[1000, 4], 0.0));
    found.insert("aux.weight", tensor(&[1], 0.0));
    let error = assign(&graph(), found.clone(), &AssignRules::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the weights do not fit: 1 of 7 parameters missing (fc.bias); 1 of 7 tensors unexpected (aux.weight); \
         1 of another shape (fc.weight: file [1000, 4], graph [2, 4])"
    );
    assert!(error.hint().is_some());
    let announced = AssignRules {
        rename: Rename::None,
        allow_missing: vec!["fc".into()],
        allow_unexpected: vec!["aux*".into()],
    };
    let (weights, report) = assign(&graph(), found, &announced).unwrap();
    assert_eq!(weights.len(), 5);
    assert_eq!(report.missing_announced, ["fc.weight", "fc.bias"]);
    assert_eq!(report.ignored_by_rule.len(), 2);
}

#[test]
fn long_lists_of_problems_are_cut() {
    let found = (0..100).map(|i| (format!("x{i}"), tensor(&[1], 0.0))).collect();
    let error = assign(&graph(), found, &AssignRules::default()).unwrap_err();
    assert!(error.to_string().contains("and 92 more"), "{error}");
    assert!(error.hint().unwrap().contains("no name fits"));
}

#[test]
fn prefixes_are_added_and_stripped() {
    let stripped = rules(Rename::StripPrefix("net.".into()));
    let (weights, report) = assign(&graph(), renamed(|n| format!("net.{n}")), &stripped).unwrap();
    assert_eq!((weights, report.renamed.len()), (file(), 7));
    let mut b = GraphBuilder::new("prefixed");
    let x = b.image("image", [1, 1, 1]);
    let x = b.global_avg_pool("pool", x).unwrap();
    let x = b.linear("bert.fc", x, 1).unwrap();
    let graph = b.finish([("logits", x)]).unwrap();
    let found: Weights =
        [("fc.weight".to_string(), tensor(&[1, 1], 1.0)), ("fc.bias".into(), tensor(&[1], 2.0))]
            .into_iter()
            .collect();
    let (weights, _) = assign(&graph, found, &rules(Rename::AddPrefix("bert.".into()))).unwrap();
    assert_eq!(weights.get("bert.fc.bias"), Some(&tensor(&[1], 2.0)));
}

#[test]
fn order_matches_whatever_the_names_and_checks_every_shape() {
    let by_order =
        |skip: &[&str]| rules(Rename::ByOrder { skip: skip.iter().map(|s| s.to_string()).collect() });
    let mut found = renamed(|n| format!("features.{n}.old"));
    let (weights, _) = assign(&graph(), found.clone(), &by_order(&[])).unwrap();
    assert_eq!(weights, file());

    found.insert("extra", tensor(&[1], 0.0));
    let error = assign(&graph(), found.clone(), &by_order(&[])).unwrap_err();
    assert!(matches!(error, FormatError::OrderCount { n_found: 8, n_wanted: 7, .. }), "{error}");
    assert_eq!(assign(&graph(), found, &by_order(&["extra"])).unwrap().0, file());

    // Dimensions of length 1 do not matter, others do.
    let reshape = |to: &[usize]| -> Weights {
        let of = |n: &str, t: &Tensor| if n == "bn.bias" { t.reshaped(to).unwrap() } else { t.clone() };
        file().iter().map(|(n, t)| (n.to_string(), of(n, t))).collect()
    };
    let (weights, done) = assign(&graph(), reshape(&[4, 1, 1]), &by_order(&[])).unwrap();
    assert_eq!((weights, done.reshaped.len()), (file(), 1));
    assert_eq!(report(assign(&graph(), reshape(&[2, 2]), &by_order(&[]))).mismatched.len(), 1);
    assert_eq!(report(assign(&graph(), reshape(&[4, 1, 1]), &AssignRules::default())).mismatched.len(), 1);

    // A new head may be missing at the end of the order.
    let mut headless = renamed(|n| format!("{n}_"));
    headless.remove("fc.weight_");
    headless.remove("fc.bias_");
    let announced = AssignRules { allow_missing: vec!["fc".into()], ..by_order(&[]) };
    assert_eq!(assign(&graph(), headless, &announced).unwrap().0.len(), 5);
}

#[test]
fn a_table_renames_and_reshapes() {
    let mut found = file();
    found.remove("fc.weight");
    found.insert("pre_logits.fc1.weight", tensor(&[2, 2, 2, 1], 0.5));
    let table = vec![("pre_logits.fc1.weight".to_string(), "fc.weight".to_string())];
    let (weights, report) = assign(&graph(), found.clone(), &rules(Rename::Table(table.clone()))).unwrap();
    assert_eq!(weights.get("fc.weight"), Some(&tensor(&[2, 4], 0.5)));
    assert_eq!(report.reshaped[0].file, [2, 2, 2, 1]);
    found.insert("fc.weight", tensor(&[2, 4], 0.0));
    let error = assign(&graph(), found, &rules(Rename::Table(table))).unwrap_err();
    assert!(matches!(error, FormatError::Collision { .. }), "{error}");
}

#[test]
fn gamma_and_beta_are_weight_and_bias() {
    let old = renamed(|n| n.replace("bn.weight", "bn.gamma").replace("bn.bias", "bn.beta"));
    let (weights, report) = assign(&graph(), old, &AssignRules::default()).unwrap();
    assert_eq!((weights, report.renamed.len()), (file(), 2));
}

#[test]
fn halves_become_f32_and_numbers_that_are_none_are_refused() {
    let with = |dtype: DType, bytes: Vec<u8>| {
        let mut found = file();
        found.insert("fc.bias", Tensor::new(dtype, vec![2], bytes.into()).unwrap());
        assign(&graph(), found, &AssignRules::default())
    };
    let half = |v: f32| half::f16::from_f32(v).to_le_bytes();
    let (weights, report) = with(DType::F16, [half(1.5), half(-2.0)].concat()).unwrap();
    assert_eq!(weights.get("fc.bias").unwrap(), &Tensor::from_f32(&[2], &[1.5, -2.0]).unwrap());
    assert_eq!((report.converted.len(), report.converted[0].from), (1, DType::F16));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = with(DType::F32, [1f32.to_le_bytes(), bad.to_le_bytes()].concat()).unwrap_err();
        assert_eq!(error.to_string(), "tensor `fc.bias` holds 1 of 2 values that are NaN or infinite as f32");
        assert!(with(DType::F16, [half(1.0), half(bad)].concat()).is_err());
    }
    assert!(with(DType::F64, [1e300f64.to_le_bytes(), 0f64.to_le_bytes()].concat()).is_err());
}
