//! PEFT adapters: as a source together with their base, several on one base, and as an export.

mod attach;
mod export;
mod record;
mod set;

use std::path::{Path, PathBuf};

use headstart_formats::peft::PeftAdapter;
use headstart_graph::Card;
use headstart_source::Spec;
use headstart_zoo::catalogue;

use crate::source::{Source, card_of, fetch, fetch_entry};
use crate::{Error, Session};
use attach::Base;

pub(crate) use export::export;
pub(crate) use record::{AdapterRecord, Unmerged};
pub use set::AdapterSet;

/// A base by name, and the adapter that a folder or a repository on the hub holds, merged into it.
pub(crate) fn open(session: &Session, base: &str, adapter: &str) -> Result<Source, Error> {
    let dir = fetch(session, &Spec::parse(adapter)?, None)?.path;
    let mut base = open_base(session, base)?;
    base.card.origin = format!("{} with adapter {adapter}", base.card.origin);
    base.attach(&PeftAdapter::open(&dir)?, &dir)?.merged()
}

/// An adapter on the base that it names itself.
pub(crate) fn open_alone(session: &Session, dir: &Path, card: Card) -> Result<Source, Error> {
    let adapter = PeftAdapter::open(dir)?;
    let name = base_name(dir, &adapter)?;
    let mut base = open_base(session, &name)?;
    base.card.origin = format!("{} on {}", card.origin, base.card.origin);
    base.card.id = card.id;
    base.attach(&adapter, dir)?.merged()
}

/// What to type after `--source` for the base that an adapter names: a folder, from here or from the adapter's own; an
/// id of the catalogue; a repository on the hub.
fn base_name(dir: &Path, adapter: &PeftAdapter) -> Result<String, Error> {
    let hint = "name the base's folder yourself: `--source BASE --adapter FOLDER`";
    let Some(name) = &adapter.config.base else {
        return Err(Error::request(
            format!("{} does not say on which network it stands (base_model_name_or_path)", dir.display()),
            hint,
        ));
    };
    let beside = dir.join(name);
    if Path::new(name).is_dir() || catalogue().entry(name).is_ok() {
        return Ok(name.clone());
    }
    if beside.is_dir() {
        return Ok(beside.display().to_string());
    }
    let is_word = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    match name.split_once('/') {
        Some((owner, repo)) if is_word(owner) && is_word(repo) => {
            let revision = adapter.config.revision.as_ref().map(|r| format!("@{r}")).unwrap_or_default();
            Ok(format!("hf:{name}{revision}"))
        }
        _ => Err(Error::request(
            format!("{} stands on `{name}`, which is no folder here and no repository's name", dir.display()),
            hint,
        )),
    }
}

/// Fetches and reads the folder of a base.
fn open_base(session: &Session, name: &str) -> Result<Base, Error> {
    let (dir, card) = base_folder(session, name)?;
    if PeftAdapter::is_at(&dir) {
        return Err(Error::request(
            format!("the base `{name}` is itself an adapter"),
            "merge it first: fit on it, and export with --format hf",
        ));
    }
    Base::open(&dir, card)
}

fn base_folder(session: &Session, name: &str) -> Result<(PathBuf, Card), Error> {
    let (fetched, card) = match catalogue().entry(name) {
        Ok(entry) => (fetch_entry(session, entry)?, entry.card()?),
        Err(_) => {
            let spec = Spec::parse(name)?;
            let fetched = fetch(session, &spec, None)?;
            let card = card_of(name, &spec, &fetched);
            (fetched, card)
        }
    };
    if !fetched.path.is_dir() {
        return Err(Error::request(
            format!("an adapter stands on a folder with a config.json; `{name}` is a file"),
            "name the folder that transformers' save_pretrained wrote, or its repository (hf:owner/name)",
        ));
    }
    Ok((fetched.path, card))
}

#[cfg(test)]
mod tests;
