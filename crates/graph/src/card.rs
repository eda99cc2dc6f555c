//! Where a model comes from and what it may be used for.

use serde::{Deserialize, Serialize};

/// The facts that travel with a model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Card {
    /// The source's id in the catalogue, or its specifier.
    pub id: String,
    /// Architecture, as the reference implementation names it.
    pub architecture: String,
    /// Where it was fetched from, with the version pinned.
    pub origin: String,
    /// SPDX licence expression, or `unknown`.
    pub licence: String,
    /// SHA-256 of the weights' file.
    pub sha256: String,
    /// What it was trained on, for which task.
    pub trained_on: String,
    /// The paper of the architecture.
    pub paper: String,
    /// What it should not be used for.
    #[serde(default)]
    pub limits: String,
    /// The `config.json` it came with, if it came with one: an export writes its own from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}
