//! What flows from the data to the engine: named arrays.

/// The elements of an [`Array`].
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Floating point: pixels, samples, columns.
    F32(Vec<f32>),
    /// Integers: token ids, masks.
    I64(Vec<i64>),
}

/// A dense row-major array on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its shape; the first dimension counts examples.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Values,
}

impl Array {
    /// An array of f32.  Panics if the number of values is not that of the shape: a mistake of the caller.
    pub fn f32(shape: &[usize], values: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values must fill shape {shape:?}");
        Array { shape: shape.to_vec(), values: Values::F32(values) }
    }

    /// An array of i64.  Panics if the number of values is not that of the shape: a mistake of the caller.
    pub fn i64(shape: &[usize], values: Vec<i64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values must fill shape {shape:?}");
        Array { shape: shape.to_vec(), values: Values::I64(values) }
    }
}

/// The inputs of one forward pass, by the names of the graph's inputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Input name and array: `image [batch, 3, height, width]`, `input_ids [batch, sequence]`, …
    pub inputs: Vec<(String, Array)>,
}

impl Batch {
    /// A batch of images `[n, 3, height, width]`.
    pub fn image(array: Array) -> Self {
        Batch { inputs: vec![("image".into(), array)] }
    }

    /// The array of an input.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.inputs.iter().find(|(n, _)| n == name).map(|(_, a)| a)
    }
}
