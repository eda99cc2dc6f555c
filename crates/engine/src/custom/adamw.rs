//! One step of AdamW, in place where nobody else holds the tensors.

use burn_backend::TensorMetadata;
use headstart_kernels::adamw::{self as kernel, Step};

use super::operator::{plain, slice, untracked, zeros};
use crate::Gradient;
use crate::tensor::{T, dims};

/// The moments of a parameter, which start at 0.
#[derive(Debug)]
pub(crate) struct Moments {
    pub(crate) first: T,
    pub(crate) second: T,
    /// Of a table, the rows in which they are not all 0; empty where that is not known.
    moved: Vec<bool>,
}

impl Moments {
    pub(crate) fn new(first: T, second: T) -> Self {
        Moments { first, second, moved: Vec::new() }
    }
}

/// The new parameter and moments.  For tensors that are [`super::on_processor`].
pub(crate) fn adamw(step: &Step, param: T, gradient: Gradient, moments: Option<Moments>) -> (T, Moments) {
    let n_rows = dims(&param).first().copied().unwrap_or(1);
    let mut param = untracked(param);
    let (mut m, mut v, mut moved) = match moments {
        Some(Moments { first, second, moved }) => (untracked(first), untracked(second), moved),
        None => (zeros(param.shape()), zeros(param.shape()), vec![false; n_rows]),
    };
    match gradient {
        Gradient::Whole(gradient) => {
            moved.clear();
            let gradient = untracked(gradient);
            kernel::update(step, slice(&gradient), param.storage_mut(), m.storage_mut(), v.storage_mut());
        }
        Gradient::Rows { rows, values, .. } => {
            if moved.is_empty() {
                moved = rows_that_are_not_zero(n_rows, [slice(&m), slice(&v)]);
            }
            let values = untracked(values);
            let of_table = [param.storage_mut(), m.storage_mut(), v.storage_mut()];
            kernel::update_rows(step, &rows, slice(&values), of_table, &mut moved);
        }
    }
    (plain(param), Moments { first: plain(m), second: plain(v), moved })
}

fn rows_that_are_not_zero(n_rows: usize, [m, v]: [&[f32]; 2]) -> Vec<bool> {
    let width = (m.len() / n_rows.max(1)).max(1);
    let is_moved = |(m, v): (&[f32], &[f32])| m.iter().chain(v).any(|x| *x != 0.0);
    m.chunks(width).zip(v.chunks(width)).map(is_moved).collect()
}
