//! Several adapters on one base, switched without reading anything again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use headstart_core::{Input, Modality, Values};
use headstart_data::Preparer;
use headstart_engine::{Device, Network};
use headstart_formats::peft::PeftAdapter;
use headstart_graph::{Graph, Model, Weights};

use super::attach::{Attached, Base, same};
use super::open_base;
use crate::source::modality_of;
use crate::{Error, Session};

/// A base network and named adapters on it, of which one at most is active.
///
/// The base's weights are never changed: an adapter is merged into a copy of those that it touches, so that switching it
/// off is exact.  Networks that differ in their heads alone (adapters with `modules_to_save`) may stand on one base.
///
/// ```no_run
/// use headstart::{AdapterSet, Session, SessionOptions, Silent};
/// let session = Session::new(SessionOptions::new("cache".into()), Box::new(Silent));
/// let mut set = AdapterSet::open(&session, "hf:owner/base")?;
/// set.add("legal", "adapters/legal".as_ref())?;
/// set.add("medical", "adapters/medical".as_ref())?;
/// set.switch(Some("legal"))?;
/// assert_eq!(set.active(), Some("legal"));
/// set.switch(None)?;
/// # Ok::<(), headstart::Error>(())
/// ```
pub struct AdapterSet {
    base: Base,
    plain: Model,
    adapters: BTreeMap<String, Attached>,
    active: Option<String>,
    model: Model,
    network: Network,
    /// The base's, once it was asked for: adapters change neither tokenizer nor preprocessing.
    preparer: OnceLock<Preparer>,
    device: Device,
}

impl AdapterSet {
    /// Opens a base: a folder of transformers, a repository on the hub or an id of the catalogue.
    pub fn open(session: &Session, base: &str) -> Result<Self, Error> {
        let base = open_base(session, base)?;
        let (plain, device) = (base.plain()?.model, session.device.clone());
        let network = Network::load(plain.graph.clone(), &plain.weights, &device)?;
        let (adapters, model, preparer) = (BTreeMap::new(), plain.clone(), OnceLock::new());
        Ok(AdapterSet { base, plain, adapters, active: None, model, network, preparer, device })
    }

    /// Reads an adapter's folder.  It is not active yet.
    ///
    /// # Errors
    /// If the name is taken, or the adapter does not fit the base.
    pub fn add(&mut self, name: &str, dir: &Path) -> Result<(), Error> {
        if self.adapters.contains_key(name) {
            return Err(Error::request(
                format!("there is an adapter `{name}` already"),
                "give each adapter a name of its own",
            ));
        }
        let attached = self.base.attach(&PeftAdapter::open(dir)?, dir)?;
        self.adapters.insert(name.into(), attached);
        Ok(())
    }

    /// Names of the adapters, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.adapters.keys().map(String::as_str)
    }

    /// The adapter that is merged into the network now.
    pub fn active(&self) -> Option<&str> {
        self.active.as_deref()
    }

    /// Makes an adapter the active one, or none.  Of the running network only those weights are replaced that differ.
    pub fn switch(&mut self, name: Option<&str>) -> Result<(), Error> {
        let model = match name {
            None => self.plain.clone(),
            Some(name) => {
                let Some(attached) = self.adapters.get(name) else {
                    let known: Vec<&str> = self.names().collect();
                    return Err(Error::request(
                        format!("there is no adapter `{name}` (there are: {})", known.join(", ")),
                        "add it first",
                    ));
                };
                attached.merged()?.model
            }
        };
        if model.graph.hash() == self.model.graph.hash() {
            let before = &self.model.weights;
            let is_new = |name: &str, new| before.get(name).is_none_or(|old| !same(old, new));
            let changed: Weights = model
                .weights
                .iter()
                .filter(|(name, new)| is_new(name, new))
                .map(|(name, new)| (name.to_string(), new.clone()))
                .collect();
            self.network.set(&changed)?;
        } else {
            self.network = Network::load(model.graph.clone(), &model.weights, &self.device)?;
        }
        self.active = name.map(String::from);
        self.model = model;
        Ok(())
    }

    /// What the network looks at.
    pub fn modality(&self) -> Modality {
        modality_of(&self.model.preprocess)
    }

    /// What the network says, as it is now: the numbers of its main output for one input.
    ///
    /// # Errors
    /// If the input cannot be read or is not what the network takes.
    pub fn answer(&self, input: &Input) -> Result<Vec<f32>, Error> {
        let preparer = match self.preparer.get() {
            Some(preparer) => preparer,
            None => {
                let made = Preparer::new(&self.plain.preprocess, self.plain.tokenizer.as_deref())?;
                self.preparer.get_or_init(|| made)
            }
        };
        let answer = self.network.infer(&preparer.batch(&[&preparer.prepare(input)?]))?;
        match answer.values {
            Values::F32(numbers) => Ok(numbers),
            _ => Err(Error::request("the network's main output is not numbers with a point", "")),
        }
    }

    /// The network as it is now, the active adapter merged.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The same, loaded.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network with an adapter's own parameters beside the frozen layers, as it was trained: graph and weights.
    pub fn unmerged(&self, name: &str) -> Option<(Graph, Weights)> {
        let attached = self.adapters.get(name)?;
        let all = attached.source.model.weights.iter().chain(attached.own.iter());
        Some((attached.graph.clone(), all.map(|(n, t)| (n.to_string(), t.clone())).collect()))
    }
}
