//! Decoders of other people's making may panic on hostile files, which the readers contain and report.  The fuzzer would stop
//! at any panic; here only one that gets out, or one of ours, is a finding.

use std::panic;
use std::sync::Once;

/// Runs a reader that contains panics of registry crates.
pub(crate) fn contained(read: impl FnOnce()) {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let stop = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_ours = info.location().is_none_or(|l| !l.file().contains("registry"));
            if is_ours {
                stop(info);
            }
        }));
    });
    read();
}
