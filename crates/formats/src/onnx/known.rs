//! Small arrays whose elements are known while a file is read, though they may depend on the sizes of a run: what exporters
//! compute shapes with.

use headstart_graph::{Elements, Expr, Literal};

/// Elements of one array; larger ones are left to the run.
pub(super) const ELEMENTS_MAX: usize = 4096;

/// One element.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Elem {
    Int(Expr),
    /// Rounded to f32 after each operation, as a run would.
    Float(f64),
    Bool(bool),
}

/// An array.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) shape: Vec<usize>,
    pub(super) elems: Vec<Elem>,
}

impl Known {
    pub(super) fn ints(values: Vec<Expr>) -> Self {
        Known { shape: vec![values.len()], elems: values.into_iter().map(Elem::Int).collect() }
    }

    pub(super) fn numbers(values: &[i64]) -> Self {
        Known::ints(values.iter().map(|&n| Expr::number(n)).collect())
    }

    pub(super) fn int(value: Expr) -> Self {
        Known { shape: Vec::new(), elems: vec![Elem::Int(value)] }
    }

    pub(super) fn float(value: f64) -> Self {
        Known { shape: Vec::new(), elems: vec![Elem::Float(f64::from(value as f32))] }
    }

    /// The array of a constant, if it is small.
    pub(super) fn of(literal: &Literal) -> Option<Self> {
        if literal.tensor().len() > ELEMENTS_MAX {
            return None;
        }
        let elems = match literal.elements() {
            Elements::F32(v) => v.into_iter().map(|v| Elem::Float(v.into())).collect(),
            Elements::I64(v) => v.into_iter().map(|v| Elem::Int(Expr::number(v))).collect(),
            Elements::Bool(v) => v.into_iter().map(Elem::Bool).collect(),
        };
        Some(Known { shape: literal.shape().to_vec(), elems })
    }

    /// As a constant, if no element depends on a run.
    pub(super) fn literal(&self) -> Option<Literal> {
        let literal = match self.elems.first() {
            Some(Elem::Float(_)) => {
                let v: Option<Vec<f32>> = self.floats().map(|v| v.into_iter().map(|v| v as f32).collect());
                Literal::f32(&self.shape, &v?)
            }
            Some(Elem::Bool(_)) => Literal::bool(&self.shape, &self.bools()?),
            // What has no elements has no kind; exporters make empty shapes.
            Some(Elem::Int(_)) | None => Literal::i64(&self.shape, &self.as_numbers()?),
        };
        literal.ok()
    }

    /// The elements as integers of a run.
    pub(super) fn exprs(&self) -> Option<Vec<Expr>> {
        self.elems.iter().map(|e| if let Elem::Int(e) = e { Some(e.clone()) } else { None }).collect()
    }

    /// The elements as integers that are known now.
    pub(super) fn as_numbers(&self) -> Option<Vec<i64>> {
        self.exprs()?.iter().map(Expr::as_number).collect()
    }

    /// The elements as floats; integers convert.
    pub(super) fn floats(&self) -> Option<Vec<f64>> {
        let float = |e: &Elem| match e {
            Elem::Float(v) => Some(*v),
            Elem::Int(e) => e.as_number().map(|n| n as f64),
            Elem::Bool(_) => None,
        };
        self.elems.iter().map(float).collect()
    }

    pub(super) fn bools(&self) -> Option<Vec<bool>> {
        self.elems.iter().map(|e| if let Elem::Bool(b) = e { Some(*b) } else { None }).collect()
    }

    /// The only element as a float.
    pub(super) fn single_float(&self) -> Option<f64> {
        (self.elems.len() == 1).then(|| self.floats())?.map(|v| v[0])
    }

    /// The only element as an integer that is known now.
    pub(super) fn single_number(&self) -> Option<i64> {
        (self.elems.len() == 1).then(|| self.as_numbers())?.map(|v| v[0])
    }

    /// Takes the element at the position that `from` gives for each position of `shape`.
    pub(super) fn picked(&self, shape: &[usize], from: impl Fn(&[usize]) -> Vec<usize>) -> Option<Self> {
        let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= ELEMENTS_MAX)?;
        let strides = strides(&self.shape);
        let mut at = vec![0; shape.len()];
        let mut elems = Vec::with_capacity(n);
        for _ in 0..n {
            let index: usize = from(&at).iter().zip(&strides).map(|(i, s)| i * s).sum();
            elems.push(self.elems.get(index)?.clone());
            for i in (0..shape.len()).rev() {
                at[i] += 1;
                if at[i] < shape[i] {
                    break;
                }
                at[i] = 0;
            }
        }
        Some(Known { shape: shape.to_vec(), elems })
    }

    /// Broadcast to a shape.
    pub(super) fn expanded(&self, shape: &[usize]) -> Option<Self> {
        let skip = shape.len().checked_sub(self.shape.len())?;
        self.picked(shape, |at| {
            self.shape.iter().zip(&at[skip..]).map(|(&n, &i)| if n == 1 { 0 } else { i }).collect()
        })
    }
}

/// Steps between neighbours along each axis, row by row.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1);
    }
    strides
}
