//! Progress bars on standard error: one at a time, gone when its stage is done.

use std::sync::Mutex;

use headstart::Observer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows stages as bars if standard error is a terminal, and notes as lines.
pub(crate) struct Bars {
    current: Mutex<Option<(String, ProgressBar)>>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Bars { current: Mutex::new(None) }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<(String, ProgressBar)>> {
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Observer for Bars {
    fn progress(&self, stage: &str, done: u64, total: u64) {
        let mut current = self.current();
        let fresh = current.as_ref().is_none_or(|(name, _)| name != stage);
        if fresh {
            if let Some((_, bar)) = current.take() {
                bar.finish_and_clear();
            }
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let bytes = stage.starts_with("fetching");
            let counts = if bytes { "{bytes}/{total_bytes}" } else { "{pos}/{len}" };
            let known = format!("{{msg}} {{wide_bar}} {counts} {{eta}}");
            let template = if total > 0 { known.as_str() } else { "{msg} {spinner} {elapsed}" };
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_message(stage.to_string());
            *current = Some((stage.to_string(), bar));
        }
        if let Some((_, bar)) = current.as_ref() {
            if total > 0 {
                bar.set_length(total);
            }
            bar.set_position(done);
            if total > 0 && done >= total {
                bar.finish_and_clear();
            }
        }
    }

    fn note(&self, text: &str) {
        match self.current().as_ref() {
            Some((_, bar)) => bar.suspend(|| eprintln!("note: {text}")),
            None => eprintln!("note: {text}"),
        }
    }
}
