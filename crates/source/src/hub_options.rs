//! Which hub is asked, as whom, and where its own cache lies.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Which hub, as whom, and where its cache lies.
#[derive(Clone, Default)]
pub struct HubOptions {
    /// The hub's address; none means the public one.
    pub endpoint: Option<String>,
    /// The user's token; none means the one that the hub's own login left in its cache, if there is one.
    pub token: Option<String>,
    /// The hub's cache; none means `.cache/huggingface/hub` in the home folder.
    pub cache_dir: Option<PathBuf>,
    /// Open no socket for the hub.
    pub offline: bool,
}

impl HubOptions {
    /// The options as Python's client reads them: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_CACHE`, `HF_HOME` and
    /// `HF_HUB_OFFLINE`.  The variable's value is asked of `var`, as in `HubOptions::from_vars(|name|
    /// std::env::var(name).ok())`.
    ///
    /// ```
    /// use headstart_source::HubOptions;
    ///
    /// let hub = HubOptions::from_vars(|name| (name == "HF_HOME").then(|| "/data/hf".to_owned()));
    /// assert_eq!(hub.cache_dir, Some("/data/hf/hub".into()));
    /// assert!(!hub.offline);
    /// ```
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let home = var("HF_HOME").map(|home| Path::new(&home).join("hub"));
        Self {
            endpoint: var("HF_ENDPOINT").map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            token: var("HF_TOKEN").map(|token| token.trim().to_owned()),
            cache_dir: var("HF_HUB_CACHE").map(PathBuf::from).or(home),
            offline: var("HF_HUB_OFFLINE").is_some_and(|value| {
                ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
            }),
        }
    }

    /// The hub's cache; `ours` is the place for it where there is no home folder.
    pub(crate) fn cache(&self, ours: &Path) -> hf_hub::Cache {
        let usual = || dirs::home_dir().map(|home| home.join(".cache/huggingface/hub"));
        hf_hub::Cache::new(self.cache_dir.clone().or_else(usual).unwrap_or_else(|| ours.join("hub")))
    }
}

/// Without the token, which must not reach a log.
impl fmt::Debug for HubOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("cache_dir", &self.cache_dir)
            .field("offline", &self.offline)
            .finish()
    }
}
