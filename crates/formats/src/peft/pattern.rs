//! Which modules a PEFT configuration names: a list of names, a regular expression, or all linear layers.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Largest compiled regular expression, bytes.  Matching takes linear time whatever the expression.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Keys of one table that are more than a name.  Each takes up to two megabytes while it matches.
const REGEXES_MAX: usize = 64;

/// Modules by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Modules {
    /// The configuration does not say.
    #[default]
    Unknown,
    /// Whole names, or what they end with after a dot.
    Named(Vec<String>),
    /// What a regular expression matches as a whole.
    Matching(Pattern),
    /// `all-linear`: every linear layer but the head.
    AllLinear,
}

impl Modules {
    /// Reads a field; what is neither null, a text nor a list of texts is described.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Modules::Unknown),
            Value::String(text) if text.eq_ignore_ascii_case("all-linear") => Ok(Modules::AllLinear),
            Value::String(pattern) => Pattern::new(pattern).map(Modules::Matching),
            Value::Array(list) => {
                let names: Option<Vec<String>> = list.iter().map(|v| v.as_str().map(String::from)).collect();
                names.map(Modules::Named).ok_or_else(|| "a list of something else than names".into())
            }
            other => Err(format!("{other}, which is no list of names, no pattern and not `all-linear`")),
        }
    }

    /// Whether a module is named here; `all-linear` names none by itself, as it goes by what modules are.
    ///
    /// ```
    /// use headstart_formats::peft::{Modules, Pattern};
    /// let named = Modules::Named(vec!["query".into()]);
    /// assert!(named.contains("encoder.layer.0.attention.self.query") && !named.contains("subquery"));
    /// let either = Pattern::new(r".*\.(query|value)").map_err(|e| e.to_string())?;
    /// assert!(Modules::Matching(either).contains("layer.0.value"));
    /// # Ok::<(), String>(())
    /// ```
    pub fn contains(&self, module: &str) -> bool {
        match self {
            Modules::Unknown | Modules::AllLinear => false,
            Modules::Named(names) => names.iter().any(|name| ends_with_part(module, name)),
            Modules::Matching(pattern) => pattern.regex.is_match(module),
        }
    }

    /// As the configuration writes it.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Modules::Unknown => Value::Null,
            Modules::Named(names) => names.clone().into(),
            Modules::Matching(pattern) => pattern.text.clone().into(),
            Modules::AllLinear => "all-linear".into(),
        }
    }
}

/// Whether `module` is `name` or ends with it after a dot.
pub(super) fn ends_with_part(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A regular expression that matches whole names.  Two are equal if they are written alike.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// # Errors
    /// Says what is not supported: look-around, or more than a megabyte when compiled.
    pub fn new(text: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(REGEX_BYTES_MAX).build();
        let refuse =
            |_| format!("`{}`, a regular expression that is not supported", crate::listing::brief(text));
        Ok(Pattern { text: text.into(), regex: regex.map_err(refuse)? })
    }
}

/// Keys behind which a module's name ends, each with a number.
#[derive(Debug, Default)]
pub(super) struct Keys {
    all: Vec<(Key, f64)>,
    n_regexes: usize,
}

#[derive(Debug)]
enum Key {
    /// Letters, digits, and dots for any character: most keys are names of modules.
    Name(String),
    Regex(Regex),
}

impl Keys {
    /// # Errors
    /// Says which key is not supported, or that there are too many.
    pub(super) fn add(&mut self, key: &str, number: f64) -> Result<(), String> {
        if key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')) {
            self.all.push((Key::Name(key.into()), number));
            return Ok(());
        }
        self.n_regexes += 1;
        if self.n_regexes > REGEXES_MAX {
            return Err(format!("more than {REGEXES_MAX} regular expressions"));
        }
        self.all.push((Key::Regex(Pattern::new(&format!("(?:.*\\.)?(?:{key})"))?.regex), number));
        Ok(())
    }

    /// The numbers of the keys that name a module.
    pub(super) fn of<'k>(&'k self, module: &'k str) -> impl Iterator<Item = f64> + 'k {
        let is_named = |key: &Key| match key {
            Key::Name(name) => ends_alike(module, name),
            Key::Regex(regex) => regex.is_match(module),
        };
        self.all.iter().filter(move |(key, _)| is_named(key)).map(|(_, n)| *n)
    }

    /// Every number.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f64> {
        self.all.iter().map(|(_, n)| *n)
    }
}

/// Whether a module's name is `key`, or ends with it after a dot, where a dot in `key` is any character.
fn ends_alike(module: &str, key: &str) -> bool {
    let mut rest = module.chars();
    let fits = key.chars().rev().all(|k| rest.next_back().is_some_and(|m| k == m || (k == '.' && m != '\n')));
    fits && matches!(rest.next_back(), None | Some('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are matched as the regular expressions that they are.
    #[test]
    fn keys_that_are_names_match_as_expressions_do() {
        let modules = ["layer.1.dense", "layer.11.dense", "xlayer.1.dense", "a.layer_1_dense", "dense", ""];
        for key in ["layer.1.dense", "dense", "1.dense", "..dense", "", "layer.1"] {
            let mut keys = Keys::default();
            keys.add(key, 1.0).expect("is a name");
            let regex = Pattern::new(&format!("(?:.*\\.)?(?:{key})")).expect("is one").regex;
            for module in modules {
                assert_eq!(keys.of(module).count() == 1, regex.is_match(module), "{key} and {module}");
            }
        }
    }

    #[test]
    fn expressions_are_counted() {
        let mut keys = Keys::default();
        for i in 0..REGEXES_MAX {
            keys.add(&format!("a{i}+"), 1.0).expect("few");
        }
        assert_eq!(keys.add("b+", 1.0), Err("more than 64 regular expressions".into()));
        keys.add("a.plain.name", 2.0).expect("any number of names");
        assert!(Keys::default().add("(?=a)", 1.0).expect_err("is refused").contains("not supported"));
        assert!(Keys::default().add("(a{999}){999}", 1.0).is_err());
    }
}
