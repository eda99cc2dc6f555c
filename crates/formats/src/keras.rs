//! Keras' weights: HDF5 files (`.h5`, `.weights.h5`), and `.keras` archives that hold one.
//!
//! Names are the paths in the file, with dots, and numbers lie as they lie there: a convolution's kernel is
//! `[height, width, in, out]`, a dense layer's `[in, out]`.  What training left beside them (`optimizer`, seeds) is left out.
//!
//! HDF5 is read by the crate `hdf5-reader`, which takes bounds on what it may allocate; see
//! `docs/decisions/0033-keras-files.md`.  A panic of it costs the file, not the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use hdf5_reader::group::Group;
use hdf5_reader::{ByteOrder, Dataset, Datatype, Hdf5File, OpenOptions};
use headstart_graph::{DType, Tensor, Weights};

use crate::FormatError;
use crate::listing::brief;

const FORMAT: &str = "Keras file (HDF5)";
/// Groups inside groups.
const DEPTH_MAX: usize = 32;
/// Groups and data sets that are visited: hard links may lead in circles.
const VISITS_MAX: usize = 1 << 17;
/// All tensors together take at most this many times the file, …
const BYTES_PER_FILE_MAX: usize = 8;
/// … and this many bytes.
const BYTES_SLACK: usize = 1 << 20;
/// Keras writes whole arrays; other programs' chunks are some megabytes long.
const CHUNK_BYTES_MAX: usize = 256 << 20;
/// The header of one object; Keras puts long lists of names there.
const HEADER_BYTES_MAX: usize = 16 << 20;
/// Where whole models keep the network's weights, in the file formats before and since Keras 3.
const MODEL: &str = "model_weights";
/// Groups beside the network's.
const TRAINING: [&str; 4] = ["optimizer", "optimizer_weights", "top_level_model_weights", "seed_generator"];

/// Reads an HDF5 file's bytes; `path` is for messages.
///
/// # Errors
/// If it is damaged, asks for more than it has, or holds no numbers.
pub fn read(path: &Path, bytes: &Bytes) -> Result<Weights, FormatError> {
    let budget = bytes.len().saturating_mul(BYTES_PER_FILE_MAX).saturating_add(BYTES_SLACK);
    let mut walk = Walk { path, budget, visits: 0, weights: Weights::new() };
    let done = catch_unwind(AssertUnwindSafe(|| walk.file(bytes)));
    done.unwrap_or_else(|_| Err(FormatError::malformed(path, FORMAT, "the HDF5 decoder gave up on it")))?;
    if walk.weights.is_empty() {
        return Err(FormatError::malformed(path, FORMAT, "it holds no arrays of numbers"));
    }
    Ok(walk.weights)
}

struct Walk<'p> {
    path: &'p Path,
    /// Bytes that may still be taken.
    budget: usize,
    visits: usize,
    weights: Weights,
}

impl Walk<'_> {
    fn file(&mut self, bytes: &Bytes) -> Result<(), FormatError> {
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_chunk_bytes(CHUNK_BYTES_MAX.min(self.budget))
            .with_max_read_bytes(self.budget)
            .with_max_object_header_bytes(HEADER_BYTES_MAX);
        let file = Hdf5File::from_owner(bytes.clone(), options).map_err(|e| self.malformed(e.to_string()))?;
        // Where the file ends, by its own words.
        let end = file.superblock().eof_address;
        if end > bytes.len() as u64 {
            return Err(self.malformed(format!("it is cut off: it has {} of {end} bytes", bytes.len())));
        }
        let root = file.root_group().map_err(|e| self.malformed(e.to_string()))?;
        let (groups, datasets) = root.members().map_err(|e| self.malformed(e.to_string()))?;
        match groups.iter().find(|g| g.name() == MODEL) {
            Some(model) => self.group(model, "", 0),
            None => self.members("", &groups, &datasets, 0),
        }
    }

    fn group(&mut self, group: &Group, prefix: &str, depth: usize) -> Result<(), FormatError> {
        if depth > DEPTH_MAX {
            return Err(self.limit("the nesting of its groups".into(), DEPTH_MAX));
        }
        let (groups, datasets) = group.members().map_err(|e| self.malformed(e.to_string()))?;
        self.members(prefix, &groups, &datasets, depth)
    }

    fn members(
        &mut self,
        prefix: &str,
        groups: &[Group],
        datasets: &[Dataset],
        depth: usize,
    ) -> Result<(), FormatError> {
        self.visits += groups.len() + datasets.len() + 1;
        if self.visits > VISITS_MAX {
            return Err(self.limit("the number of its objects".into(), VISITS_MAX));
        }
        for dataset in datasets {
            let name = join(prefix, dataset.name());
            if let Some(tensor) = self.tensor(&name, dataset)?
                && self.weights.insert(name.clone(), tensor).is_some()
            {
                return Err(self.malformed(format!("two arrays are called `{name}`")));
            }
        }
        for group in groups.iter().filter(|g| !TRAINING.contains(&g.name())) {
            self.group(group, &join(prefix, group.name()), depth + 1)?;
        }
        Ok(())
    }

    /// The numbers of a data set; none if it holds something else.
    fn tensor(&mut self, name: &str, dataset: &Dataset) -> Result<Option<Tensor>, FormatError> {
        let bounds = |path: &Path, what: String| FormatError::TensorBounds {
            path: path.into(),
            tensor: brief(name),
            what,
        };
        let (dtype, order) = match dataset.dtype() {
            Datatype::FloatingPoint { size: 4, byte_order } => (DType::F32, *byte_order),
            Datatype::FloatingPoint { size: 8, byte_order } => (DType::F64, *byte_order),
            Datatype::FloatingPoint { size: 2, byte_order } => (DType::F16, *byte_order),
            Datatype::FixedPoint { size: 8, byte_order, .. } => (DType::I64, *byte_order),
            Datatype::FixedPoint { size: 4, signed: true, byte_order } => (DType::I32, *byte_order),
            Datatype::FixedPoint { size: 2, signed: true, byte_order } => (DType::I16, *byte_order),
            Datatype::FixedPoint { size: 1, signed: true, byte_order } => (DType::I8, *byte_order),
            Datatype::FixedPoint { size: 1, signed: false, byte_order } => (DType::U8, *byte_order),
            Datatype::FixedPoint { .. } | Datatype::FloatingPoint { .. } => {
                return Err(FormatError::UnsupportedTensor {
                    path: self.path.into(),
                    tensor: brief(name),
                    got: format!("of type {:?}", dataset.dtype()),
                });
            }
            // Texts: names of layers, settings.
            _ => return Ok(None),
        };
        let shape: Result<Vec<usize>, _> = dataset.shape().iter().map(|&n| usize::try_from(n)).collect();
        let shape = shape.map_err(|_| bounds(self.path, format!("has the shape {:?}", dataset.shape())))?;
        let wanted = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
        let left = wanted.and_then(|n| self.budget.checked_sub(n));
        self.budget = left
            .ok_or_else(|| bounds(self.path, format!("of shape {shape:?} is larger than its file can be")))?;
        let mut raw =
            dataset.read_raw_bytes().map_err(|e| bounds(self.path, format!("cannot be read: {e}")))?;
        if order == ByteOrder::BigEndian {
            raw.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
        }
        Ok(Some(Tensor::new(dtype, shape, raw.into())?))
    }

    fn malformed(&self, what: String) -> FormatError {
        FormatError::malformed(self.path, FORMAT, what)
    }

    fn limit(&self, what: String, max: usize) -> FormatError {
        FormatError::Limit { path: self.path.into(), what, max: max as u64 }
    }
}

fn join(prefix: &str, name: &str) -> String {
    // Keras 2 repeats the layer's name and ends tensors in `:0`.
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = brief(name.strip_suffix(":0").unwrap_or(name));
    if prefix.is_empty() { name } else { format!("{prefix}.{name}") }
}
