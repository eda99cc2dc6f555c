//! Adapters: names, shapes, removal, and merging by hand.

use super::*;
use crate::rewrite::tap;
use crate::{Conv, GraphBuilder, Tensor};

fn network() -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new("tiny");
    let x = b.image("image", [3, 8, 8]);
    let x = b.conv("conv", x, Conv::new(4, 3).padding(1))?;
    let x = b.global_avg_pool("pool", x)?;
    let x = b.linear("mid", x, 5)?;
    let y = b.linear("fc", x, 2)?;
    b.finish([("logits", y)])
}

const SPEC: LoraSpec = LoraSpec { rank: 2, alpha: 4.0, dropout: 0.1, rank_stabilised: false };

fn kinds() -> [AdapterKind; 5] {
    [
        AdapterKind::Lora(SPEC),
        AdapterKind::Dora(SPEC),
        AdapterKind::Ia3 { before: false },
        AdapterKind::Ia3 { before: true },
        AdapterKind::Bottleneck { width: 3 },
    ]
}

#[test]
fn removing_an_adapter_gives_the_graph_back() -> Result<(), GraphError> {
    let graph = network()?;
    for kind in kinds() {
        let adapter = Adapter { kind, targets: vec!["conv".into(), "mid".into()] };
        let adapted = adapt(&graph, &adapter)?;
        assert!(adapted.n_learned() > graph.n_learned(), "{kind:?}");
        assert_eq!(tap(&adapted)?.value, adapted.find("mid")?, "{kind:?}: the path names the adapted value");
        assert_eq!(crate::render(&remove(&adapted, &adapter)?), crate::render(&graph), "{kind:?}");
    }
    Ok(())
}

#[test]
fn parameters_are_named_as_in_peft() -> Result<(), GraphError> {
    let adapter = Adapter { kind: AdapterKind::Dora(SPEC), targets: vec!["mid".into()] };
    let adapted = adapt(&network()?, &adapter)?;
    let new: Vec<String> = adapted
        .params()
        .filter(|(_, n, _)| n.contains("lora"))
        .map(|(_, n, p)| format!("{n} {:?}", p.shape))
        .collect();
    assert_eq!(
        new,
        ["mid.lora_A.weight [2, 4]", "mid.lora_B.weight [5, 2]", "mid.lora_magnitude_vector.weight [5]"]
    );
    Ok(())
}

#[test]
fn what_cannot_be_adapted_is_said_by_name() -> Result<(), GraphError> {
    let graph = network()?;
    let lora = |targets: &[&str]| Adapter {
        kind: AdapterKind::Lora(SPEC),
        targets: targets.iter().map(|t| t.to_string()).collect(),
    };
    assert!(matches!(adapt(&graph, &lora(&["pool"])), Err(GraphError::NotAdaptable { .. })));
    assert!(matches!(adapt(&graph, &lora(&["nowhere"])), Err(GraphError::Unknown { .. })));
    let bottleneck = Adapter { kind: AdapterKind::Bottleneck { width: 2 }, targets: vec!["mid".into()] };
    let adapted = adapt(&graph, &bottleneck)?;
    assert!(matches!(merge(&adapted, &Weights::new(), &bottleneck), Err(GraphError::NotMergeable(_))));
    Ok(())
}

/// `W = [[1, 2]]`, `A = [[3, 4]]`, `B = [[5]]`, `s = 2`: `W + s·B·A = [[31, 42]]`, of norm √(31² + 42²).
#[test]
fn merging_adds_the_scaled_product() -> Result<(), GraphError> {
    let mut b = GraphBuilder::new("one");
    let x = b.image("image", [2, 1, 1]);
    let x = b.global_avg_pool("pool", x)?;
    let y = b.linear("fc", x, 1)?;
    let graph = b.finish([("y", y)])?;
    let t = |shape: &[usize], v: &[f32]| Tensor::from_f32(shape, v).expect("fits");
    let spec = LoraSpec { rank: 1, alpha: 2.0, dropout: 0.0, rank_stabilised: false };
    let weights: Weights = [
        ("fc.weight".to_string(), t(&[1, 2], &[1.0, 2.0])),
        ("fc.bias".to_string(), t(&[1], &[7.0])),
        ("fc.lora_A.weight".to_string(), t(&[1, 2], &[3.0, 4.0])),
        ("fc.lora_B.weight".to_string(), t(&[1, 1], &[5.0])),
        ("fc.lora_magnitude_vector.weight".to_string(), t(&[1], &[2.0])),
    ]
    .into_iter()
    .collect();
    let norm = (31f32 * 31.0 + 42.0 * 42.0).sqrt();
    for (kind, want) in [
        (AdapterKind::Lora(spec), [31.0, 42.0]),
        (AdapterKind::Dora(spec), [2.0 * 31.0 / norm, 2.0 * 42.0 / norm]),
    ] {
        let adapter = Adapter { kind, targets: vec!["fc".into()] };
        let (merged, w) = merge(&adapt(&graph, &adapter)?, &weights, &adapter)?;
        assert_eq!(crate::render(&merged), crate::render(&graph));
        let got = w.require("fc.weight")?.to_f32()?.into_owned();
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "{kind:?}: {got:?}");
        assert_eq!(w.require("fc.bias")?.to_f32()?[0], 7.0);
        assert_eq!(w.len(), 2);
    }
    Ok(())
}

/// Layers that share a weight share its adapter, which is folded once: `W = 1`, `s·B·A = 2·5·3`, so `y = 31·31·x`.
#[test]
fn a_shared_weight_has_one_adapter() -> Result<(), GraphError> {
    let mut b = GraphBuilder::new("shared");
    let x = b.image("image", [1, 1, 1]);
    let x = b.global_avg_pool("pool", x)?;
    let w = b.param("w".into(), &[1, 1], crate::Init::Constant(0.0))?;
    let x = b.node("one", Op::Linear, &[x, w])?;
    let y = b.node("two", Op::Linear, &[x, w])?;
    let graph = b.finish([("y", y)])?;
    let one = |v: f32| Tensor::from_f32(&[1], &[v]).expect("fits");
    let spec = LoraSpec { rank: 1, alpha: 2.0, dropout: 0.0, rank_stabilised: false };
    for (kind, want) in [
        (AdapterKind::Lora(spec), 31.0),
        (AdapterKind::Dora(spec), 7.0),
        (AdapterKind::Ia3 { before: false }, 7.0),
    ] {
        let adapter = Adapter { kind, targets: vec!["one".into(), "two".into()] };
        let adapted = adapt(&graph, &adapter)?;
        let names: Vec<&str> = adapted.params().map(|(_, name, _)| name).collect();
        assert!(names.iter().all(|n| *n == "w" || n.starts_with("one.")), "{names:?}");
        let weights: Weights = adapted
            .params()
            .map(|(_, name, p)| {
                let v = match name {
                    "w" => 1.0,
                    "one.lora_A.weight" => 3.0,
                    "one.lora_B.weight" => 5.0,
                    _ => 7.0,
                };
                (name.to_string(), one(v).reshaped(&p.shape).expect("one value"))
            })
            .collect();
        let (merged, w) = merge(&adapted, &weights, &adapter)?;
        assert_eq!(crate::render(&merged), crate::render(&graph));
        assert_eq!(w.require("w")?.to_f32()?[0], want, "{kind:?}");
    }
    Ok(())
}
