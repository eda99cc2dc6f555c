//! `adapter_config.json`: what is understood of it, and what is refused by name.

use std::path::Path;

use serde_json::{Map, Value};

use super::error;
use super::pattern::{Keys, Modules};
use crate::FormatError;
use crate::listing::{brief, list};

/// What a configuration says of the whole adapter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PeftConfig {
    /// The network it stands on: a path or a name on the hub.
    pub base: Option<String>,
    /// That network's revision on the hub.
    pub revision: Option<String>,
    /// `SEQ_CLS`, `TOKEN_CLS`, `QUESTION_ANS`, `FEATURE_EXTRACTION`, …
    pub task_type: Option<String>,
    /// transformers' class that it was made on, where no task says so.
    pub base_class: Option<String>,
    /// Modules with an adapter.
    pub targets: Modules,
    /// Modules that are none of `targets` all the same.
    pub excluded: Modules,
    /// Only some layers' modules are meant.
    pub only_some_layers: bool,
    /// Modules that are replaced as a whole.
    pub modules_to_save: Vec<String>,
    /// Modules whose factors stand before them ((IA)³).
    pub feedforward: Modules,
    /// Biases that come along.
    pub bias: Bias,
    /// Dropout before `A` in training.
    pub dropout: f64,
}

/// `bias`: which of the base's biases an adapter replaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// Those of adapted layers.
    LoraOnly,
    /// All.
    All,
}

impl Bias {
    pub(super) fn name(self) -> &'static str {
        match self {
            Bias::None => "none",
            Bias::LoraOnly => "lora_only",
            Bias::All => "all",
        }
    }
}

/// What computes, as the configuration has it.
pub(super) enum Method {
    Lora { rank: ByModule, alpha: ByModule, rank_stabilised: bool, is_dora: bool },
    Ia3,
}

/// A number for all modules, and others for those that patterns name.
pub(super) struct ByModule {
    of_all: f64,
    exceptions: Keys,
}

impl ByModule {
    /// The numbers that a module may have; several only if patterns contradict each other.
    pub(super) fn of(&self, module: &str) -> Vec<f64> {
        let mut all: Vec<f64> = self.exceptions.of(module).collect();
        all.dedup();
        if all.is_empty() { vec![self.of_all] } else { all }
    }
}

/// Fields that say nothing about what the adapter computes once it is trained.
const WITHOUT_EFFECT: [&str; 7] = [
    "inference_mode",
    "peft_version",
    "init_ia3_weights",
    "eva_config",
    "qalora_group_size",
    "megatron_core",
    "loftq_config",
];

/// Ways to start that leave the base as it is; the others change it, which the file does not tell.
const HARMLESS_STARTS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// Reads a configuration.
pub(super) fn parse(path: &Path, json: &Value) -> Result<(PeftConfig, Method), FormatError> {
    let Some(map) = json.as_object() else { return Err(error(path, "it is no JSON object")) };
    let mut fields = Fields { path, map, used: WITHOUT_EFFECT.to_vec() };
    let kind = fields.take("peft_type");
    let is_lora = match kind.as_str() {
        Some("LORA") => true,
        Some("IA3") => false,
        _ => {
            return Err(error(path, format!("peft_type is {} (known: LORA, IA3)", shown(kind))));
        }
    };
    let mut config = PeftConfig {
        base: fields.text("base_model_name_or_path")?,
        revision: fields.text("revision")?,
        task_type: fields.text("task_type")?,
        base_class: fields.take("auto_mapping")["base_model_class"].as_str().map(String::from),
        targets: fields.modules("target_modules")?,
        excluded: fields.modules("exclude_modules")?,
        modules_to_save: fields.names("modules_to_save")?,
        ..PeftConfig::default()
    };
    // Whether the base's weights are stored transposed changes nothing here: A and B are not.
    fields.flag("fan_in_fan_out")?;
    let method = if is_lora {
        config.only_some_layers = !fields.take("layers_to_transform").is_null();
        fields.take("layers_pattern");
        config.dropout = fields.number("lora_dropout", 0.0)?;
        config.bias = match fields.take("bias").as_str() {
            None | Some("none") => Bias::None,
            Some("lora_only") => Bias::LoraOnly,
            Some("all") => Bias::All,
            Some(other) => {
                return Err(error(path, format!("bias is `{}` (known: none, lora_only, all)", brief(other))));
            }
        };
        let start = fields.take("init_lora_weights");
        if start.as_str().is_some_and(|s| !HARMLESS_STARTS.contains(&s)) {
            let what = format!("init_lora_weights is {}, which changed the base's weights", shown(start));
            return Err(error(path, format!("{what}: convert the adapter to plain LoRA when saving it")));
        }
        let rank_of_all = fields.number("r", 8.0)?;
        let rank = fields.by_module("rank_pattern", rank_of_all)?;
        let alpha_of_all = fields.number("lora_alpha", 8.0)?;
        let alpha = fields.by_module("alpha_pattern", alpha_of_all)?;
        for r in rank.exceptions.numbers().chain([rank.of_all]) {
            if r < 1.0 || r.fract() != 0.0 {
                return Err(error(path, format!("a rank of {r}: ranks are whole numbers from 1 on")));
            }
        }
        Method::Lora {
            rank,
            alpha,
            rank_stabilised: fields.flag("use_rslora")?,
            is_dora: fields.flag("use_dora")?,
        }
    } else {
        config.feedforward = fields.modules("feedforward_modules")?;
        Method::Ia3
    };
    fields.nothing_else()?;
    Ok((config, method))
}

/// A value in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", brief(text)),
        other => brief(&other.to_string()),
    }
}

/// A configuration's fields, and which of them somebody asked for.
struct Fields<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
    used: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &'static str) -> &'a Value {
        self.used.push(name);
        self.map.get(name).unwrap_or(&Value::Null)
    }

    fn wrong(&self, name: &str, value: &Value, allowed: &str) -> FormatError {
        error(self.path, format!("{name} is {}, not {allowed}", shown(value)))
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, FormatError> {
        match self.take(name) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone()).filter(|t| !t.is_empty())),
            other => Err(self.wrong(name, other, "a text")),
        }
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, FormatError> {
        match self.take(name) {
            Value::Null => Ok(false),
            Value::Bool(b) => Ok(*b),
            other => Err(self.wrong(name, other, "true or false")),
        }
    }

    fn number(&mut self, name: &'static str, default: f64) -> Result<f64, FormatError> {
        match self.take(name) {
            Value::Null => Ok(default),
            value => {
                value.as_f64().filter(|n| n.is_finite()).ok_or_else(|| self.wrong(name, value, "a number"))
            }
        }
    }

    fn names(&mut self, name: &'static str) -> Result<Vec<String>, FormatError> {
        match self.take(name) {
            Value::Null => Ok(Vec::new()),
            Value::Array(list) => list
                .iter()
                .map(|v| v.as_str().map(String::from).ok_or_else(|| self.wrong(name, v, "a name")))
                .collect(),
            other => Err(self.wrong(name, other, "a list of names")),
        }
    }

    fn modules(&mut self, name: &'static str) -> Result<Modules, FormatError> {
        let value = self.take(name);
        Modules::read(value).map_err(|what| error(self.path, format!("{name} is {what}")))
    }

    /// PEFT takes a key as a regular expression behind which a module's name ends.
    fn by_module(&mut self, name: &'static str, of_all: f64) -> Result<ByModule, FormatError> {
        let mut exceptions = Keys::default();
        match self.take(name) {
            Value::Null => {}
            Value::Object(map) => {
                for (key, value) in map {
                    let number = value.as_f64().filter(|n| n.is_finite());
                    let number = number.ok_or_else(|| {
                        self.wrong(&format!("{name} of `{}`", brief(key)), value, "a number")
                    })?;
                    let added = exceptions.add(key, number);
                    added.map_err(|what| error(self.path, format!("{name} has {what}")))?;
                }
            }
            other => return Err(self.wrong(name, other, "an object of numbers")),
        }
        Ok(ByModule { of_all, exceptions })
    }

    /// Refuses fields that mean something and that nobody asked for.
    fn nothing_else(&self) -> Result<(), FormatError> {
        let is_off = |v: &Value| match v {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        let unknown: Vec<String> = self
            .map
            .iter()
            .filter(|(name, value)| !self.used.contains(&name.as_str()) && !is_off(value))
            .map(|(name, _)| brief(name))
            .collect();
        match unknown.len() {
            0 => Ok(()),
            _ => Err(error(self.path, format!("fields that are not supported: {}", list(&unknown)))),
        }
    }
}
