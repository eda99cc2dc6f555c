//! Bounds on what a `config.json` may ask for: a graph is built before any weight is read, so a hostile number must not
//! reach it.

use crate::ZooError;

/// Most layers of one network.
pub(crate) const LAYERS_MAX: usize = 1_000;
/// Largest width, kernel or number of heads.
pub(crate) const WIDTH_MAX: usize = 1 << 20;
/// Most rows of a table: tokens, positions.
pub(crate) const ROWS_MAX: usize = 1 << 26;

/// Checks counts: each must be at least 1 and at most its bound.
pub(crate) fn check(counts: &[(&'static str, usize, usize)]) -> Result<(), ZooError> {
    for &(field, got, max) in counts {
        if got == 0 || got > max {
            return Err(ZooError::Config { field, got: got.to_string(), allowed: format!("1 to {max}") });
        }
    }
    Ok(())
}

/// One count of a configuration, `default` where it is left out.
pub(crate) fn count(
    config: &serde_json::Value,
    field: &'static str,
    default: usize,
    max: usize,
) -> Result<usize, ZooError> {
    let value = &config[field];
    if value.is_null() {
        return Ok(default);
    }
    let count = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0 && n <= max);
    count.ok_or_else(|| ZooError::Config { field, got: value.to_string(), allowed: format!("1 to {max}") })
}

/// Checks that heads divide a width.
pub(crate) fn check_heads(field: &'static str, heads: usize, width: usize) -> Result<(), ZooError> {
    if heads == 0 || !width.is_multiple_of(heads) {
        let allowed = format!("divisors of the width {width}");
        return Err(ZooError::Config { field, got: heads.to_string(), allowed });
    }
    Ok(())
}

/// Reads a configuration over a family's defaults; fields that are `null` count as left out.  `aliases` are names that
/// transformers takes for others, and those others.
pub(crate) fn read_over<T>(
    default: &T,
    config: &serde_json::Value,
    aliases: &[(&str, &str)],
    hint: &'static str,
) -> Result<T, ZooError>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let failed = |e: serde_json::Error| ZooError::Config {
        field: "a field of the configuration",
        got: e.to_string(),
        allowed: hint.into(),
    };
    let mut whole = serde_json::to_value(default).map_err(failed)?;
    if let (Some(whole), Some(config)) = (whole.as_object_mut(), config.as_object()) {
        for (field, value) in config.iter().filter(|(_, v)| !v.is_null()) {
            let own = aliases.iter().find(|(alias, _)| alias == field).map_or(field.as_str(), |(_, own)| own);
            if own == field || config.get(own).is_none() {
                whole.insert(own.into(), value.clone());
            }
        }
    }
    serde_json::from_value(whole).map_err(failed)
}
