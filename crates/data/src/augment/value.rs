//! Reading the values of augmentation steps, with errors that name what is allowed.

use std::ops::RangeInclusive;

/// A number within bounds.
pub(crate) fn number(text: &str, allowed: RangeInclusive<f64>) -> Result<f64, String> {
    let value: f64 = text.trim().parse().map_err(|_| format!("`{text}` is not a number"))?;
    if allowed.contains(&value) {
        // No negative zero: it would print as `-0`.
        Ok(value + 0.0)
    } else {
        Err(format!("{value} is out of range; allowed: {} to {}", allowed.start(), allowed.end()))
    }
}

/// `LOW-HIGH`, both within bounds.
pub(crate) fn range(text: &str, allowed: RangeInclusive<f64>) -> Result<[f64; 2], String> {
    let (low, high) = text.split_once('-').ok_or_else(|| format!("`{text}` is not a range LOW-HIGH"))?;
    let (low, high) = (number(low, allowed.clone())?, number(high, allowed)?);
    if low <= high { Ok([low, high]) } else { Err(format!("{low}-{high} begins above its end")) }
}

/// A whole number within bounds.
pub(crate) fn count(text: &str, allowed: RangeInclusive<u32>) -> Result<u32, String> {
    let value: u32 = text.trim().parse().map_err(|_| format!("`{text}` is not a whole number"))?;
    if allowed.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{value} is out of range; allowed: {} to {}", allowed.start(), allowed.end()))
    }
}
