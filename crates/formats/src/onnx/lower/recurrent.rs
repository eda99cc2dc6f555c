//! Recurrent networks.

use headstart_graph::{AxisRange, Cell, Dim, Direction, Expr, Literal, Op};

use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};

/// `LSTM`, `GRU` and `RNN`: one node that makes all states of all steps, and parts of it for each output.
pub(super) fn recurrent(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let direction = match n.string("direction").unwrap_or("forward") {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Bidirectional,
        other => return Err(format!("`direction` is {other}")),
    };
    let activations = n.strings("activations");
    let cell = match n.op {
        "LSTM" => Cell::Lstm,
        "RNN" => Cell::Rnn { relu: activations.first().is_some_and(|a| a == "Relu") },
        _ => Cell::Gru { linear_before_reset: n.flag("linear_before_reset", false) },
    };
    let plain = match cell {
        Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"][..],
        Cell::Gru { .. } => &["Sigmoid", "Tanh"],
        Cell::Rnn { relu: true } => &["Relu"],
        Cell::Rnn { relu: false } => &["Tanh"],
    };
    if activations.iter().zip(plain.iter().cycle()).any(|(a, b)| a != b) {
        return Err(format!("its activations are {}", activations.join(", ")));
    }
    if n.has("clip") || n.flag("input_forget", false) || n.optional(7).is_some() {
        return Err("clip, input_forget and peepholes are not read".into());
    }
    if n.optional(4).is_some() {
        return Err("lengths of the sequences of a batch are not read".into());
    }
    // The batch may come first: of the input and the states, and of the outputs.
    let batch_first = n.flag("layout", false);
    let turn = |r: &mut Reader, name: &str, x: &Val, perm: &[usize]| {
        if !batch_first {
            return Ok(x.clone());
        }
        if r.rank(x) != perm.len() {
            return Err(format!("{name} has not {} axes", perm.len()));
        }
        r.apply(&n.part(&format!("{name}.turned")), Op::Transpose { perm: perm.to_vec() }, &[x])
    };
    let (w, recurrence) = (n.input(1)?, n.input(2)?);
    let x = &turn(r, "x", n.input(0)?, &[1, 0, 2])?;
    let dims = r.dims(x);
    let hidden = r.dims(recurrence).get(2).and_then(Dim::fixed).ok_or("its hidden size must be known")?;
    let ways = direction.count();
    let fan_in = hidden;
    let batch = dims.get(1).cloned().ok_or("its input must be [sequence, batch, in]")?;
    let zeros = |r: &mut Reader, shape: Vec<Dim>, name: &str| -> Result<Val, String> {
        let zero = Literal::f32(&[1; 3][..shape.len()], &[0.0]).map_err(|e| e.to_string())?;
        let zero = Val::Value(r.node(&n.part(&format!("{name}.zero")), Op::Constant { value: zero }, &[])?);
        r.apply(&n.part(name), Op::Expand { shape }, &[&zero])
    };
    let bias = match n.optional(3) {
        Some(b) => Val::Value(r.value_for(b, Use::Shift)?),
        None => {
            let width = hidden.checked_mul(2 * cell.gates()).ok_or("its hidden size is too large")?;
            zeros(r, vec![Dim::Fixed(ways), Dim::Fixed(width)], "bias")?
        }
    };
    let mut inputs = vec![
        r.value(x)?,
        r.value_for(w, Use::Matrix { fan_in })?,
        r.value_for(recurrence, Use::Matrix { fan_in })?,
        r.value(&bias)?,
    ];
    for k in 0..cell.states() {
        let state = match n.optional(5 + k) {
            Some(state) => turn(r, &format!("state{k}"), state, &[1, 0, 2])?,
            None => {
                zeros(r, vec![Dim::Fixed(ways), batch.clone(), Dim::Fixed(hidden)], &format!("state{k}"))?
            }
        };
        inputs.push(r.value(&state)?);
    }
    let all = Val::Value(r.node(n.path, Op::Recurrent { cell, direction }, &inputs)?);
    let number = Dim::Fixed;
    let states = |k: usize| AxisRange { axis: 3, start: number(k * hidden), length: number(hidden), step: 1 };
    let y = r.apply(&n.part("Y"), Op::Slice { ranges: vec![states(0)] }, &[&all])?;
    let mut outputs = vec![turn(r, "Y", &y, &[2, 0, 1, 3])?];
    // The state after the last step each way, which for the way back is the first.
    let last =
        Expr::from(&dims[0]).sub(&Expr::number(1)).and_then(|e| e.to_dim()).ok_or("there are no steps")?;
    for k in 0..cell.states() {
        if !n.wants(1 + k) {
            outputs.push(all.clone());
            continue;
        }
        let name = ["Y_h", "Y_c"][k];
        let mut ends = Vec::new();
        for way in 0..ways {
            let is_back = direction == Direction::Reverse || way == 1;
            let step = if is_back { number(0) } else { last.clone() };
            let ranges = vec![
                AxisRange { axis: 0, start: step, length: number(1), step: 1 },
                AxisRange { axis: 1, start: number(way), length: number(1), step: 1 },
                states(k),
            ];
            let end = r.apply(&n.part(&format!("{name}.{way}")), Op::Slice { ranges }, &[&all])?;
            let shape = vec![number(1), batch.clone(), number(hidden)];
            ends.push(r.apply(&n.part(&format!("{name}.{way}.state")), Op::Reshape { shape }, &[&end])?);
        }
        let state = match ends.as_slice() {
            [one] => one.clone(),
            _ => r.apply(&n.part(name), Op::Concat { axis: 0 }, &ends.iter().collect::<Vec<_>>())?,
        };
        outputs.push(turn(r, name, &state, &[1, 0, 2])?);
    }
    Ok(outputs)
}
