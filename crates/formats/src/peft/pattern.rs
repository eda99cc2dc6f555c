//! Which modules a PEFT configuration names: a list of names, a regular expression, or all linear layers.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Largest compiled regular expression, bytes.  Matching takes linear time whatever the expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Modules by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Modules {
    /// The configuration does not say.
    #[default]
    Unknown,
    /// Whole names, or what they end with after a dot.
    Named(Vec<String>),
    /// What a regular expression matches as a whole.
    Matching(String),
    /// `all-linear`: every linear layer but the head.
    AllLinear,
}

impl Modules {
    /// Reads a field; what is neither null, a text nor a list of texts is described.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Modules::Unknown),
            Value::String(text) if text.eq_ignore_ascii_case("all-linear") => Ok(Modules::AllLinear),
            Value::String(pattern) => regex(pattern).map(|_| Modules::Matching(pattern.clone())),
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
    /// use headstart_formats::peft::Modules;
    /// let named = Modules::Named(vec!["query".into()]);
    /// assert!(named.contains("encoder.layer.0.attention.self.query") && !named.contains("subquery"));
    /// assert!(Modules::Matching(r".*\.(query|value)".into()).contains("layer.0.value"));
    /// ```
    pub fn contains(&self, module: &str) -> bool {
        match self {
            Modules::Unknown | Modules::AllLinear => false,
            Modules::Named(names) => names.iter().any(|name| ends_with_part(module, name)),
            Modules::Matching(pattern) => regex(pattern).is_ok_and(|r| r.is_match(module)),
        }
    }

    /// As the configuration writes it.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Modules::Unknown => Value::Null,
            Modules::Named(names) => names.clone().into(),
            Modules::Matching(pattern) => pattern.clone().into(),
            Modules::AllLinear => "all-linear".into(),
        }
    }
}

/// Whether `module` is `name` or ends with it after a dot.
pub(super) fn ends_with_part(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A regular expression that matches whole names.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(REGEX_BYTES_MAX).build().map_err(|_| {
        format!("`{}`, a regular expression that is not supported", crate::listing::brief(pattern))
    })
}
