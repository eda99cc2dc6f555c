//! What every verb needs: where things are cached, who fetches, what computes, who watches.

use std::path::PathBuf;

use headstart_engine::Device;
use headstart_source::{Fetcher, FetcherOptions};

use crate::feature_cache::FeatureCache;

/// Watches long work.  Called from any thread; must be quick.
pub trait Observer: Sync + Send {
    /// `done` of `total` units of a stage are finished; a total of 0 means that nobody knows.
    fn progress(&self, stage: &str, done: u64, total: u64);
    /// Something that a person should know.
    fn note(&self, text: &str);
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn progress(&self, _stage: &str, _done: u64, _total: u64) {}
    fn note(&self, _text: &str) {}
}

/// Settings of a session.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Where fetched models and computed features are kept.
    pub cache_dir: PathBuf,
    /// Never start a process or open a socket.
    pub offline: bool,
    /// What computes.
    pub device: Device,
    /// Size above which the least recently used features are deleted, bytes.
    pub feature_cache_bytes_max: u64,
}

impl SessionOptions {
    /// The processor, online, ten gigabytes of features.
    pub fn new(cache_dir: PathBuf) -> Self {
        SessionOptions { cache_dir, offline: false, device: Device::cpu(), feature_cache_bytes_max: 10 << 30 }
    }
}

/// An open session.
pub struct Session {
    pub(crate) fetcher: Fetcher,
    pub(crate) device: Device,
    pub(crate) features: FeatureCache,
    pub(crate) baselines_dir: PathBuf,
    pub(crate) observer: Box<dyn Observer>,
}

impl Session {
    /// Opens a session.
    pub fn new(options: SessionOptions, observer: Box<dyn Observer>) -> Self {
        let mut fetcher = FetcherOptions::new(options.cache_dir.clone());
        fetcher.offline = options.offline;
        let features = FeatureCache::new(options.cache_dir.join("features"), options.feature_cache_bytes_max);
        Session {
            fetcher: Fetcher::new(fetcher),
            device: options.device,
            features,
            baselines_dir: options.cache_dir.join("baselines"),
            observer,
        }
    }

    /// What computes.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
