//! Every tensor of a file and every parameter of a graph is accounted for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use headstart_formats::{AssignRules, FormatError, assign};
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
    let announced = AssignRules { allow_missing: vec!["fc".into()], allow_unexpected: vec!["aux*".into()] };
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
fn gamma_and_beta_are_weight_and_bias() {
    let old = renamed(|n| n.replace("bn.weight", "bn.gamma").replace("bn.bias", "bn.beta"));
    let (weights, report) = assign(&graph(), old.clone(), &AssignRules::default()).unwrap();
    assert_eq!(weights, file());
    let pair = |from: &str, to: &str| (from.to_string(), to.to_string());
    assert_eq!(report.renamed, [pair("bn.gamma", "bn.weight"), pair("bn.beta", "bn.bias")]);

    // Where the graph has no such layer, the name in the file is what the report says.
    let mut other = file();
    other.insert("aux.gamma", tensor(&[1], 0.0));
    let error = assign(&graph(), other, &AssignRules::default()).unwrap_err();
    assert!(error.to_string().contains("unexpected (aux.gamma)"), "{error}");

    let mut both = old;
    both.insert("bn.weight", tensor(&[4], 0.0));
    let error = assign(&graph(), both, &AssignRules::default()).unwrap_err();
    assert_eq!(error.to_string(), "tensors `bn.gamma` and `bn.weight` would both become `bn.weight`");
}

#[test]
fn only_equal_shapes_fit() {
    for shape in [&[4, 1, 1][..], &[2, 2], &[3]] {
        let mut found = file();
        found.insert("bn.bias", tensor(shape, 0.0));
        let Err(FormatError::Unannounced(report)) = assign(&graph(), found, &AssignRules::default()) else {
            panic!("{shape:?} is not [4]");
        };
        assert_eq!((report.mismatched.len(), &report.mismatched[0].file[..]), (1, shape));
        assert_eq!((report.matched.len(), report.n_params), (6, 7));
    }
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
