//! The one table of hyper-parameters: name, default, range, why.  It feeds the command line (`--set`, `--help`), the
//! plan, validation and the docs.

use serde::{Deserialize, Serialize};

use crate::RecipeError;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyper {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is if nobody says otherwise.
    pub default: f64,
    /// Smallest value allowed.
    pub lo: f64,
    /// Largest value allowed.
    pub hi: f64,
    /// What it does, and why that default.
    pub why: &'static str,
}

/// All of them.
pub const TABLE: &[Hyper] = &[
    Hyper {
        name: "n_folds",
        default: 5.0,
        lo: 2.0,
        hi: 20.0,
        why: "folds of the cross-validation, inside the training split, that picks the head's penalty",
    },
    Hyper {
        name: "l2",
        default: 0.0,
        lo: 0.0,
        hi: 1e6,
        why: "the head's L2 penalty; 0 lets cross-validation pick it",
    },
    Hyper {
        name: "class_weights",
        default: 2.0,
        lo: 0.0,
        hi: 2.0,
        why: "1 weighs classes equally, 0 examples equally, 2 weighs classes if one is 3 times as large as another",
    },
    Hyper {
        name: "baseline_passes_max",
        default: 40.0,
        lo: 1.0,
        hi: 1000.0,
        why: "passes over the training split after which the rival from random weights has had its chance",
    },
    Hyper {
        name: "baseline_batch",
        default: 16.0,
        lo: 2.0,
        hi: 1024.0,
        why: "examples a step of the rival; small data wants many steps",
    },
    Hyper {
        name: "baseline_lr_max",
        default: 0.0,
        lo: 0.0,
        hi: 10.0,
        why: "the rival's highest learning rate (AdamW, one cycle); 0 means 2e-3 for pictures, 3e-4 for texts",
    },
];

/// Values for every row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings(Vec<f64>);

impl Default for Settings {
    fn default() -> Self {
        Settings(TABLE.iter().map(|h| h.default).collect())
    }
}

impl Settings {
    /// The value of a row; the name must be one of the table's.
    pub fn get(&self, name: &str) -> f64 {
        let i = TABLE.iter().position(|h| h.name == name).expect("callers name rows of the table");
        self.0[i]
    }

    /// Overrides values from `name=number` texts.
    ///
    /// ```
    /// use headstart_recipe::Settings;
    /// let s = Settings::parse(["n_folds=3"]).expect("in range");
    /// assert_eq!(s.get("n_folds"), 3.0);
    /// assert_eq!(s.get("l2"), 0.0);
    /// assert!(Settings::parse(["n_folds=1"]).is_err());
    /// assert!(Settings::parse(["folds=3"]).is_err());
    /// ```
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, RecipeError> {
        let mut settings = Settings::default();
        for text in texts {
            let (name, value) = text.split_once('=').ok_or_else(|| RecipeError::NotASetting(text.into()))?;
            let got: f64 = value.trim().parse().map_err(|_| RecipeError::NotASetting(text.into()))?;
            let i = TABLE.iter().position(|h| h.name == name.trim()).ok_or_else(|| {
                let allowed = TABLE.iter().map(|h| h.name).collect::<Vec<_>>().join(", ");
                RecipeError::UnknownSetting { got: name.into(), allowed }
            })?;
            let Hyper { name, lo, hi, .. } = TABLE[i];
            if !(lo..=hi).contains(&got) {
                return Err(RecipeError::OutOfRange { name, got, lo, hi });
            }
            settings.0[i] = got;
        }
        Ok(settings)
    }
}
