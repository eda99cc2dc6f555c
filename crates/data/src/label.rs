//! A cell or a folder's name → what it says of an example: a class, some labels, or a number.

use std::collections::BTreeSet;
use std::path::Path;

use headstart_core::{Diagnostic, Target, Task};

use crate::DataError;
use crate::assemble::note;

/// What an example is said to be, before classes have positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Label {
    Class(String),
    Classes(BTreeSet<String>),
    Number(f64),
}

impl Label {
    /// Reads a label of `task`.
    ///
    /// Several labels are parted by `;` or `|`, or by `,` where neither of those occurs; an empty cell has none.
    pub(crate) fn parse(value: &str, name: &str, task: Task) -> Result<Self, String> {
        let value = value.trim();
        match task {
            _ if value.is_empty() && task != Task::MultiLabel => Err(format!("`{name}` is empty")),
            Task::Classification => Ok(Label::Class(value.into())),
            Task::MultiLabel => {
                let strong = value.contains([';', '|']);
                let parts = value.split(|c| if strong { c == ';' || c == '|' } else { c == ',' });
                Ok(Label::many(parts))
            }
            Task::Regression => match value.parse::<f64>() {
                // A target that f32 cannot hold could not be learned.
                Ok(number) if (number as f32).is_finite() => Ok(Label::Number(number)),
                _ => Err(format!("`{name}` is `{}`; --task regression needs a number", shortened(value))),
            },
        }
    }

    /// Several labels, empty ones left out.
    pub(crate) fn many<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        Label::Classes(parts.map(str::trim).filter(|p| !p.is_empty()).map(String::from).collect())
    }

    /// The names of its classes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        let (one, many) = match self {
            Label::Class(name) => (Some(name), None),
            Label::Classes(names) => (None, Some(names)),
            Label::Number(_) => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// With positions in place of names.
    pub(crate) fn target(&self, position: impl Fn(&str) -> usize) -> Target {
        match self {
            Label::Class(name) => Target::Class(position(name)),
            Label::Number(value) => Target::Number(*value),
            Label::Classes(names) => {
                let mut idx: Vec<usize> = names.iter().map(|n| position(n)).collect();
                idx.sort_unstable();
                Target::Classes(idx)
            }
        }
    }
}

/// A value short enough for a message.
pub(crate) fn shortened(value: &str) -> String {
    const N_CHARS: usize = 40;
    if value.chars().count() <= N_CHARS {
        return value.into();
    }
    value.chars().take(N_CHARS).chain(['…']).collect()
}

/// Are these classes, as was assumed because nobody named the task?  Refuses what can only be numbers to predict, and
/// remarks on what may be several labels.
pub(crate) fn doubt_classes(path: &Path, labels: &[&Label]) -> Result<Option<Diagnostic>, DataError> {
    let names: Vec<&String> = labels.iter().flat_map(|l| l.names()).collect();
    let distinct: BTreeSet<&String> = names.iter().copied().collect();
    let numbers: Option<Vec<f64>> =
        distinct.iter().map(|n| n.parse::<f64>().ok().filter(|v| v.is_finite())).collect();
    if let Some(numbers) = numbers {
        // Numbered classes are whole and come back; measurements do neither.
        let has_fractions = numbers.iter().any(|v| v.fract() != 0.0);
        let many = distinct.len() > 20;
        if many && (has_fractions || distinct.len() * 5 > names.len()) {
            let (n, n_distinct) = (names.len(), distinct.len());
            return Err(DataError::NumbersOrClasses { path: path.into(), n, n_distinct });
        }
    }
    let n_parted = names.iter().filter(|n| n.contains([';', '|'])).count();
    let remark = || {
        let example = names.iter().find(|n| n.contains([';', '|'])).map_or("", |n| n.as_str());
        let example = shortened(example);
        note(
            path,
            format!(
                "{n_parted} labels such as `{example}` are read as one class each; if they are several labels, pass \
                 --task multi-label"
            ),
        )
    };
    Ok((n_parted * 10 >= names.len().max(1)).then(remark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(names: &[&str]) -> Label {
        Label::many(names.iter().copied())
    }

    #[test]
    fn labels_are_parted_by_the_strongest_sign() {
        let parse = |v: &str| Label::parse(v, "tags", Task::MultiLabel).unwrap();
        assert_eq!(parse("b; a;;b"), many(&["a", "b"]));
        assert_eq!(parse("a|b"), many(&["a", "b"]));
        assert_eq!(parse("a, b"), many(&["a", "b"]));
        assert_eq!(parse("Paris, France; Rome"), many(&["Paris, France", "Rome"]));
        assert_eq!(parse("  "), many(&[]));
    }

    #[test]
    fn only_finite_numbers_are_numbers() {
        let parse = |v: &str| Label::parse(v, "price", Task::Regression);
        assert_eq!(parse(" -1.5e3 "), Ok(Label::Number(-1500.0)));
        for bad in ["12,5", "NaN", "inf", "1e300", "about 3"] {
            let error = parse(bad).unwrap_err();
            assert_eq!(error, format!("`price` is `{bad}`; --task regression needs a number"));
        }
        assert_eq!(parse("").unwrap_err(), "`price` is empty");
    }

    #[test]
    fn measurements_are_not_taken_for_classes() {
        let doubt = |values: Vec<String>| {
            let labels: Vec<Label> = values.into_iter().map(Label::Class).collect();
            doubt_classes("a.csv".as_ref(), &labels.iter().collect::<Vec<_>>())
        };
        assert!(doubt((0..100).map(|i| format!("{}", i % 10)).collect()).unwrap().is_none());
        assert!(doubt((0..688).map(|i| format!("{}", i % 43)).collect()).unwrap().is_none());
        assert!(doubt((0..100).map(|i| format!("{}", 18 + i % 60)).collect()).is_err());
        assert!(doubt((0..1000).map(|i| format!("{}", f64::from(i % 30) / 4.0)).collect()).is_err());
        let remark = doubt(["a;b", "a", "b", "c"].map(String::from).to_vec()).unwrap().unwrap();
        assert!(remark.message.contains("--task multi-label"), "{remark}");
    }
}
