//! Finds the state dict in whatever dictionary a training script saved, by structure.

use std::path::Path;

use headstart_graph::Weights;

use super::Checkpoint;
use super::pickle::{Id, Object, Pickle};
use super::rebuild::{self, Refusal, is_scalar, is_tensor};
use super::storage::Storages;
use crate::FormatError;
use crate::listing::{brief, list};

/// Names under which training scripts keep the network, the likeliest first.
const WRAPPERS: [&str; 18] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "ema",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "params_ema",
    "teacher",
    "student",
    "generator",
    "backbone",
];

/// Names under which training scripts keep tensors that are not the network.
const TRAINING: [&str; 14] = [
    "optimizer",
    "optimizers",
    "optim",
    "optimizer_state_dict",
    "optimizer_states",
    "scheduler",
    "lr_scheduler",
    "lr_schedulers",
    "scaler",
    "amp",
    "rng_state",
    "torch_rng_state",
    "cuda_rng_state",
    "loops",
];

/// What data-parallel training and `torch.compile` put before every name.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

const DEPTH_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 512;
const N_TENSORS_MAX: usize = 1 << 18;
/// Names of other things that are noted.
const N_IGNORED_MAX: usize = 10_000;
/// Dictionary entries looked at, at most: a shared dictionary could else be visited exponentially often.
const N_VISITS_MAX: usize = 1 << 22;
/// Tensors that do not lie row by row are copied.  All copies together take at most this many times the file, …
const COPIES_PER_FILE_MAX: usize = 4;
/// … and this many bytes.
const COPIES_SLACK_BYTES: usize = 1 << 20;

/// Chooses the state dict and reads its tensors.
pub(super) fn find(
    path: &Path,
    pickle: &Pickle<'_>,
    storages: &Storages,
    file_bytes: usize,
) -> Result<Checkpoint, FormatError> {
    let budget_bytes = file_bytes.saturating_mul(COPIES_PER_FILE_MAX).saturating_add(COPIES_SLACK_BYTES);
    let mut finder = Finder {
        path,
        pickle,
        storages,
        budget_bytes,
        n_visits: 0,
        weights: Weights::new(),
        ignored: Vec::new(),
    };
    let (state_dict, entries) = finder.choose()?;
    finder.flatten("", &entries, 0)?;
    let Finder { weights, ignored, .. } = finder;
    let (weights, prefix_stripped) = strip_prefixes(weights);
    Ok(Checkpoint { weights, state_dict, prefix_stripped, ignored })
}

type Entries = Vec<(Id, Id)>;

/// A network that was saved whole.
enum Module<'p> {
    /// Attributes of a TorchScript object.
    Script(&'p [(Id, Id)]),
    /// Parameters, buffers and inner networks of an `nn.Module`.
    Pickled([Id; 3]),
}

struct Finder<'p, 'a> {
    path: &'p Path,
    pickle: &'p Pickle<'a>,
    storages: &'p Storages,
    budget_bytes: usize,
    n_visits: usize,
    weights: Weights,
    ignored: Vec<String>,
}

impl<'p> Finder<'p, '_> {
    /// Descends from the top to the dictionary that holds the weights.
    fn choose(&mut self) -> Result<(String, Entries), FormatError> {
        let top = self.pickle.top();
        let mut entries = self.entries(top)?.ok_or_else(|| self.nothing(top))?;
        if !self.any_tensor(&entries, 0)? {
            return Err(self.nothing(top));
        }
        let mut chosen = String::new();
        let mut is_module = self.is_module(top);
        for _ in 0..DEPTH_MAX {
            // A network's parts are not wrappers around it, whatever they are called.
            if is_module {
                break;
            }
            let Some(name) = self.wrapper(&entries)? else { break };
            let (rest, inner): (Entries, Entries) =
                entries.into_iter().partition(|&(k, _)| self.pickle.str(k) != Some(name.as_str()));
            self.ignore(&chosen, &rest);
            let (_, value) = *inner.last().expect("the wrapper is one of the entries");
            entries = self.entries(value)?.unwrap_or_default();
            is_module = self.is_module(value);
            chosen = join(&chosen, &name);
        }
        let (training, entries): (Entries, Entries) =
            entries.into_iter().partition(|&(k, _)| !is_module && self.is_training(k));
        self.ignore(&chosen, &training);
        if !self.any_tensor(&entries, 0)? {
            return Err(self.nothing(top));
        }
        Ok((chosen, entries))
    }

    /// The entry to descend into, or none if these entries are the state dict.
    fn wrapper(&mut self, entries: &[(Id, Id)]) -> Result<Option<String>, FormatError> {
        let direct = |&&(k, v): &&(Id, Id)| {
            !self.is_training(k) && is_tensor(self.pickle, v) && !is_scalar(self.pickle, v)
        };
        if entries.iter().find(direct).is_some() {
            return Ok(None);
        }
        let mut holders = Vec::new();
        for &(k, v) in entries {
            if let Some(name) = self.pickle.str(k)
                && !self.is_training(k)
                && let Some(inner) = self.entries(v)?
                && self.any_tensor(&inner, 0)?
            {
                holders.push(name);
            }
        }
        let known = WRAPPERS.iter().find(|&w| holders.contains(w)).copied();
        // A single holder of an unknown name wraps as well, unless scalars stand beside it.
        let scalars = entries.iter().any(|&(_, v)| is_tensor(self.pickle, v));
        let single = if let [one] = holders[..]
            && !scalars
        {
            Some(one)
        } else {
            None
        };
        Ok(known.or(single).map(Into::into))
    }

    /// Reads all tensors below, names joined by dots.
    fn flatten(&mut self, prefix: &str, entries: &[(Id, Id)], depth: usize) -> Result<(), FormatError> {
        self.visit(entries.len(), depth)?;
        for &(key, value) in entries {
            let name = join(prefix, &self.key(key));
            if name.len() > NAME_BYTES_MAX {
                return Err(self.limit(format!("a tensor name of {} bytes", name.len()), NAME_BYTES_MAX));
            }
            if is_tensor(self.pickle, value) {
                let tensor = self.tensor(&name, value)?;
                self.weights.insert(name, tensor);
                if self.weights.len() > N_TENSORS_MAX {
                    return Err(self.limit("the number of tensors".into(), N_TENSORS_MAX));
                }
            } else if let Some(inner) = self.entries(value)?.filter(|inner| !inner.is_empty()) {
                self.flatten(&name, &inner, depth + 1)?;
            } else {
                self.note_ignored(&name);
            }
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str, id: Id) -> Result<headstart_graph::Tensor, FormatError> {
        if name == "__metadata__" {
            return Err(FormatError::ReservedName(name.into()));
        }
        rebuild::tensor(self.pickle, self.storages, id, &mut self.budget_bytes).map_err(|refusal| {
            let (path, tensor) = (self.path.to_path_buf(), brief(name));
            match refusal {
                Refusal::Unsupported(got) => {
                    FormatError::UnsupportedTensor { path, tensor, got: brief(&got) }
                }
                Refusal::Bounds(what) => FormatError::TensorBounds { path, tensor, what },
            }
        })
    }

    /// The entries of a dictionary, or the parts of a network that was saved whole; none if it is something else.
    fn entries(&mut self, id: Id) -> Result<Option<Entries>, FormatError> {
        match self.module(id) {
            Some(module) => self.module_entries(module).map(Some),
            None => self.dictionary(id),
        }
    }

    /// The entries of a dictionary, whichever of Python's kinds.
    fn dictionary(&mut self, id: Id) -> Result<Option<Entries>, FormatError> {
        let entries = match self.pickle.get(id) {
            Object::Dict(items) => items.clone(),
            Object::Call(call) => match self.pickle.global(call.function) {
                Some(("collections", "OrderedDict" | "defaultdict")) => {
                    let mut items = self.pairs(call.args);
                    items.extend_from_slice(&call.items);
                    items
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.visit(entries.len(), 0)?;
        Ok(Some(entries))
    }

    /// What a network that was saved whole holds: TorchScript's attributes, or the dictionaries of a pickled `nn.Module`.
    fn module(&self, id: Id) -> Option<Module<'p>> {
        let pickle = self.pickle;
        let Object::Call(call) = pickle.get(id) else { return None };
        let Object::Dict(state) = call.state.map(|state| pickle.get(state))? else { return None };
        let is_script = pickle
            .global(call.function)
            .is_some_and(|(module, _)| module == "__torch__" || module.starts_with("__torch__."));
        if is_script {
            return Some(Module::Script(state));
        }
        let part = |name: &str| state.iter().find(|(k, _)| pickle.str(*k) == Some(name)).map(|(_, v)| *v);
        Some(Module::Pickled([part("_parameters")?, part("_buffers")?, part("_modules")?]))
    }

    fn is_module(&self, id: Id) -> bool {
        self.module(id).is_some()
    }

    /// Parameters, buffers and inner networks by name, in the order of a state dict.
    fn module_entries(&mut self, module: Module<'p>) -> Result<Entries, FormatError> {
        let mut entries = match module {
            Module::Script(attributes) => attributes.to_vec(),
            Module::Pickled(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.dictionary(part)?.unwrap_or_default());
                }
                all
            }
        };
        self.visit(entries.len(), 0)?;
        // What is switched off is `None`; settings of a script are no tensors.
        entries.retain(|&(_, v)| is_tensor(self.pickle, v) || matches!(self.pickle.get(v), Object::Call(_)));
        Ok(entries)
    }

    /// Python 2 gave an ordered dictionary its pairs as `([[key, value], …],)`.
    fn pairs(&self, args: Id) -> Entries {
        let list = self.pickle.tuple(args).and_then(<[Id]>::first).map(|&id| self.pickle.get(id));
        let Some(Object::List(list)) = list else { return Vec::new() };
        list.iter()
            .filter_map(|&pair| match self.pickle.get(pair) {
                Object::List(kv) | Object::Tuple(kv) => (kv.len() == 2).then(|| (kv[0], kv[1])),
                _ => None,
            })
            .collect()
    }

    fn any_tensor(&mut self, entries: &[(Id, Id)], depth: usize) -> Result<bool, FormatError> {
        self.visit(entries.len(), depth)?;
        if entries.iter().any(|&(_, v)| is_tensor(self.pickle, v)) {
            return Ok(true);
        }
        for &(_, v) in entries {
            if let Some(inner) = self.entries(v)?
                && self.any_tensor(&inner, depth + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn visit(&mut self, n: usize, depth: usize) -> Result<(), FormatError> {
        if depth > DEPTH_MAX {
            return Err(self.limit("the nesting of its dictionaries".into(), DEPTH_MAX));
        }
        self.n_visits += n + 1;
        if self.n_visits > N_VISITS_MAX {
            return Err(self.limit("the number of its entries".into(), N_VISITS_MAX));
        }
        Ok(())
    }

    fn limit(&self, what: String, max: usize) -> FormatError {
        FormatError::Limit { path: self.path.into(), what, max: max as u64 }
    }

    fn is_training(&self, key: Id) -> bool {
        self.pickle.str(key).is_some_and(|key| TRAINING.contains(&key))
    }

    fn ignore(&mut self, prefix: &str, entries: &[(Id, Id)]) {
        for &(key, _) in entries {
            let name = join(prefix, &self.key(key));
            self.note_ignored(&name);
        }
    }

    fn note_ignored(&mut self, name: &str) {
        if self.ignored.len() < N_IGNORED_MAX {
            self.ignored.push(brief(name));
        }
    }

    fn key(&self, id: Id) -> String {
        match self.pickle.get(id) {
            // Longer than any name may be: cut here, refused by `flatten`.
            Object::Str(s) => s.chars().take(NAME_BYTES_MAX + 1).collect(),
            Object::Int(n) => n.to_string(),
            _ => "?".into(),
        }
    }

    /// The error for a file without tensors, naming what it holds instead.
    fn nothing(&self, id: Id) -> FormatError {
        let found = match self.pickle.get(id) {
            Object::Call(call) => match self.pickle.global(call.function) {
                Some(("torch._utils" | "torch._tensor", _)) => "a single tensor without a name".into(),
                Some(("copyreg" | "copy_reg", "_reconstructor")) => "a pickled object".into(),
                Some(("collections", _)) => "a dictionary without tensors".into(),
                Some((module, name)) => format!("a pickled {}", brief(&format!("{module}.{name}"))),
                None => "a pickled object".into(),
            },
            Object::Dict(items) => {
                let keys: Vec<String> = items.iter().take(64).map(|&(k, _)| brief(&self.key(k))).collect();
                if keys.is_empty() {
                    "an empty dictionary".into()
                } else {
                    format!("a dictionary of {}", list(&keys))
                }
            }
            Object::List(_) => "a list".into(),
            Object::Tuple(_) => "a tuple".into(),
            _ => "a single value".into(),
        };
        FormatError::NoTensors { path: self.path.into(), found }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.into() } else { format!("{prefix}.{name}") }
}

/// Takes off what every name begins with, if it is the mark of a wrapper.
fn strip_prefixes(mut weights: Weights) -> (Weights, String) {
    let mut stripped = String::new();
    while let Some(prefix) =
        PREFIXES.iter().find(|p| weights.iter().all(|(n, _)| n.len() > p.len() && n.starts_with(**p)))
        && !weights.is_empty()
    {
        weights = weights.iter().map(|(n, t)| (n[prefix.len()..].to_string(), t.clone())).collect();
        stripped += prefix;
    }
    (weights, stripped)
}
