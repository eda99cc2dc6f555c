//! Recurrent networks, step by step.

use burn_backend::Scalar;
use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_dispatch::Dispatch as B;
use headstart_graph::{Cell, Direction};

use crate::tensor::{T, cat, dims, reshape, slice};

/// `x, w, r, b`, initial states → `[sequence, directions, batch, states·hidden]`.
pub(super) fn recurrent(inputs: Vec<T>, cell: Cell, direction: Direction) -> T {
    let [x, w, r, b] = [0, 1, 2, 3].map(|i| inputs[i].clone());
    let n = dims(&x)[0];
    let ways: Vec<T> = (0..direction.count())
        .map(|way| {
            let own = |t: &T| {
                let shape = dims(t);
                let mut slices: Vec<_> = shape.iter().map(|&n| (0..n).into()).collect();
                slices[0] = (way..way + 1).into();
                reshape(slice(t.clone(), &slices), &shape[1..])
            };
            let backwards = direction == Direction::Reverse || way == 1;
            let weights = Weights { w: own(&w), r: own(&r), b: own(&b), cell };
            let mut states: Vec<T> = inputs[4..].iter().map(own).collect();
            let mut steps = Vec::with_capacity(n);
            for i in 0..n {
                let at = if backwards { n - 1 - i } else { i };
                states = weights.step(step_of(&x, at), states);
                let joined = if states.len() == 1 { states[0].clone() } else { cat(states.clone(), 1) };
                let s = dims(&joined);
                steps.push(reshape(joined, &[1, 1, s[0], s[1]]));
            }
            if backwards {
                steps.reverse();
            }
            cat(steps, 0)
        })
        .collect();
    cat(ways, 1)
}

fn step_of(x: &T, at: usize) -> T {
    let s = dims(x);
    reshape(slice(x.clone(), &[(at..at + 1).into(), (0..s[1]).into(), (0..s[2]).into()]), &s[1..])
}

struct Weights {
    w: T,
    r: T,
    b: T,
    cell: Cell,
}

impl Weights {
    /// The states after one step, hidden first.
    fn step(&self, x: T, states: Vec<T>) -> Vec<T> {
        let hidden = dims(&states[0])[1];
        let gates = self.cell.gates();
        let bias = |second: bool| {
            let n = gates * hidden;
            let range = if second { n..2 * n } else { 0..n };
            reshape(slice(self.b.clone(), &[range.into()]), &[1, n])
        };
        let product = |x: T, w: &T, second| {
            B::float_add(B::float_matmul(x, B::float_transpose(w.clone())), bias(second))
        };
        let gate = |t: &T, i: usize| {
            let n = dims(t)[0];
            slice(t.clone(), &[(0..n).into(), (i * hidden..(i + 1) * hidden).into()])
        };
        let h = states[0].clone();
        let (from_x, from_h) = (product(x, &self.w, false), product(h.clone(), &self.r, true));
        match self.cell {
            Cell::Lstm => {
                let sum = B::float_add(from_x, from_h);
                let [i, o, f] = [0, 1, 2].map(|k| B::sigmoid(gate(&sum, k)));
                let candidate = B::float_tanh(gate(&sum, 3));
                let c = B::float_add(B::float_mul(f, states[1].clone()), B::float_mul(i, candidate));
                vec![B::float_mul(o, B::float_tanh(c.clone())), c]
            }
            Cell::Rnn { relu } => {
                let sum = B::float_add(from_x, from_h);
                vec![if relu { B::relu(sum) } else { B::float_tanh(sum) }]
            }
            Cell::Gru { linear_before_reset } => {
                let both = |k: usize| B::sigmoid(B::float_add(gate(&from_x, k), gate(&from_h, k)));
                let (z, reset) = (both(0), both(1));
                let recurrence = if linear_before_reset {
                    B::float_mul(reset, gate(&from_h, 2))
                } else {
                    let n = dims(&self.r)[0];
                    let rows = slice(self.r.clone(), &[(2 * hidden..n).into(), (0..hidden).into()]);
                    let product = B::float_matmul(B::float_mul(reset, h.clone()), B::float_transpose(rows));
                    B::float_add(product, gate(&bias(true), 2))
                };
                let candidate = B::float_tanh(B::float_add(gate(&from_x, 2), recurrence));
                let keep = B::float_mul(z.clone(), h);
                let rest =
                    B::float_add_scalar(B::float_mul_scalar(z, Scalar::Float(-1.0)), Scalar::Float(1.0));
                vec![B::float_add(B::float_mul(rest, candidate), keep)]
            }
        }
    }
}
