//! What several operators are put together from.

use headstart_graph::{AxisRange, Dim, Op};

use super::super::reader::{Reader, Use, Val};
use super::elementwise::scalar;

impl Reader {
    /// A value times a number.
    pub(super) fn times(&mut self, path: &str, x: &Val, by: f64) -> Result<Val, String> {
        self.apply(path, Op::Mul, &[x, &scalar(by)])
    }

    /// A value plus a number.
    pub(super) fn plus(&mut self, path: &str, x: &Val, by: f64) -> Result<Val, String> {
        self.apply(path, Op::Add, &[x, &scalar(by)])
    }

    /// A value plus what is learned as its bias.
    pub(super) fn biased(&mut self, path: &str, x: &Val, bias: &Val) -> Result<Val, String> {
        let bias = Val::Value(self.value_for(bias, Use::Shift)?);
        self.apply(path, Op::Add, &[x, &bias])
    }

    /// `length` positions of an axis from `start` on, `step` apart.
    pub(super) fn stretch(
        &mut self,
        path: &str,
        x: &Val,
        axis: usize,
        [start, length]: [Dim; 2],
        step: i64,
    ) -> Result<Val, String> {
        let ranges = vec![AxisRange { axis, start, length, step }];
        self.apply(path, Op::Slice { ranges }, &[x])
    }

    /// `length` integers from `start` on, `step` apart, along one axis of `rank`.
    pub(super) fn counted(
        &mut self,
        path: &str,
        [start, length]: [&Dim; 2],
        step: i64,
        axis: usize,
        rank: usize,
    ) -> Result<Val, String> {
        let range = Op::Range { start: start.clone(), length: length.clone(), step };
        let range = self.node(&format!("{path}.range"), range, &[])?;
        let mut shape = vec![Dim::Fixed(1); rank];
        shape[axis] = length.clone();
        self.node(path, Op::Reshape { shape }, &[range]).map(Val::Value)
    }
}
