//! What a bundle keeps of the adapters that its network was trained with: the network itself holds them merged.

use headstart_formats::safetensors;
use headstart_graph::rewrite::Adapter;
use headstart_graph::{Model, Weights};
use serde::{Deserialize, Serialize};

/// Adapters as they were trained, beside a network that was not changed.
pub(crate) struct Unmerged {
    pub(crate) adapters: Vec<Adapter>,
    /// Their parameters.
    pub(crate) own: Weights,
}

/// `adapter.json` of a bundle; `adapter.safetensors` holds the parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AdapterRecord {
    /// What stands beside which nodes.
    pub(crate) adapters: Vec<Adapter>,
    /// BLAKE3 of the weights that they stand beside.
    pub(crate) base_blake3: String,
    /// The source was a base with this adapter.
    pub(crate) source_adapter: Option<String>,
}

impl AdapterRecord {
    /// The record's name in a bundle.
    pub(crate) const NAME: &'static str = "adapter.json";
    /// The parameters' name.
    pub(crate) const TENSORS: &'static str = "adapter.safetensors";

    /// The two files.
    pub(crate) fn files(
        unmerged: &Unmerged,
        source: &Model,
        source_adapter: Option<String>,
    ) -> [(String, Vec<u8>); 2] {
        let record = AdapterRecord {
            adapters: unmerged.adapters.clone(),
            base_blake3: source.weights.hash().to_hex().to_string(),
            source_adapter,
        };
        let json = serde_json::to_vec(&record).expect("a record is plain data");
        [(Self::NAME.into(), json), (Self::TENSORS.into(), safetensors::to_bytes(&unmerged.own, &[]))]
    }
}
