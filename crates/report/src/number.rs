//! Numbers as people read them.

use headstart_core::Metric;
pub(crate) use headstart_graph::thousands as count;

/// `1 example`, `12,345 examples`, `3 classes`.
pub(crate) fn counted(n: usize, noun: &str) -> String {
    let plural = match n {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {noun}{plural}", count(n))
}

/// A share of 1, `0.873`: all of them with as many decimals, so that columns line up.
pub(crate) fn share(x: f64) -> String {
    if x.is_finite() { format!("{x:.3}").replace('-', "−") } else { "–".into() }
}

/// A difference of shares, `+0.120` or `−0.034`.
pub(crate) fn gain(x: f64) -> String {
    if x.is_finite() { format!("{x:+.3}").replace('-', "−") } else { "–".into() }
}

/// A measure's value: errors in the target's unit with three digits, all else as a share of 1.
pub(crate) fn score(metric: Metric, x: f64) -> String {
    if metric.is_error() { sig3(x) } else { share(x) }
}

/// A difference of two scores, with its sign.
pub(crate) fn score_gain(metric: Metric, x: f64) -> String {
    match metric.is_error() {
        true if x > 0.0 => format!("+{}", sig3(x)),
        true => sig3(x),
        false => gain(x),
    }
}

/// Three significant digits: `0.0123`, `4.56`, `123`, `45,600`, `3.16×10⁻⁵`.
pub(crate) fn sig3(x: f64) -> String {
    if !x.is_finite() {
        return "–".into();
    }
    if x == 0.0 {
        return "0".into();
    }
    let sign = if x < 0.0 { "−" } else { "" };
    let a = x.abs();
    let body = match a.log10().floor() as i32 {
        e if !(-4..=8).contains(&e) => power_of_ten(a),
        e if e >= 2 => {
            let unit = 10f64.powi(e - 2);
            count(((a / unit).round() * unit) as usize)
        }
        e => format!("{a:.*}", (2 - e) as usize),
    };
    format!("{sign}{body}")
}

/// A positive number with no more digits than it has, at most three: `0.25`, `10⁻⁴`, `3.16×10⁻³`.
pub(crate) fn short(x: f64) -> String {
    if x > 0.0 && x < 0.01 * (1.0 - 1e-9) {
        return power_of_ten(x);
    }
    let text = sig3(x);
    if text.contains('×') || !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn power_of_ten(a: f64) -> String {
    let text = format!("{a:.2e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let raised: String = exponent.chars().map(superscript).collect();
    match mantissa.trim_end_matches('0').trim_end_matches('.') {
        "1" => format!("10{raised}"),
        m => format!("{m}×10{raised}"),
    }
}

pub(crate) fn superscript(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        // The other digits stand in a row.
        d => char::from_u32(0x2070 + d.to_digit(10).unwrap_or(0)).unwrap_or(d),
    }
}

/// `0.42 s`, `12.3 s`, `3 min 20 s`, `1 h 02 min`.
pub(crate) fn duration(seconds: f64) -> String {
    // 59.95 would be written as 60.0.
    if seconds < 59.95 {
        return format!("{} s", if seconds < 0.0005 { "0".into() } else { sig3(seconds) });
    }
    let s = seconds.round() as u64;
    if s < 3600 {
        return format!("{} min {:02} s", s / 60, s % 60);
    }
    let minutes = (s + 30) / 60;
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

/// A number of bytes as people say it, in powers of ten: `312 B`, `4.70 kB`, `44.7 MB`, `1.20 GB`.
///
/// ```
/// assert_eq!([312, 44_700_000].map(headstart_report::bytes), ["312 B", "44.7 MB"]);
/// ```
pub fn bytes(n: u64) -> String {
    let mut x = n as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next();
    while x >= 999.5
        && let Some(next) = units.next()
    {
        x /= 1000.0;
        unit = Some(next);
    }
    let unit = unit.unwrap_or("TB");
    if unit == "B" { format!("{n} B") } else { format!("{} {unit}", sig3(x)) }
}

/// `11.2 million`, `513 thousand`, `642`.
pub(crate) fn rounded(n: usize) -> String {
    match n {
        0..10_000 => count(n),
        10_000..999_500 => format!("{} thousand", sig3(n as f64 / 1e3)),
        999_500..999_500_000 => format!("{} million", sig3(n as f64 / 1e6)),
        _ => format!("{} billion", sig3(n as f64 / 1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1234567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [share(0.8734), share(1.0), gain(-0.0341), gain(0.12)],
            ["0.873", "1.000", "−0.034", "+0.120"]
        );
        let numbers =
            [0.0, 0.012345, 4.5678, 12.34, 123.4, 45_678.0, 3.1623e-5, 1e-6, -0.5, f64::NAN].map(sig3);
        assert_eq!(
            numbers,
            ["0", "0.0123", "4.57", "12.3", "123", "45,700", "3.16×10⁻⁵", "10⁻⁶", "−0.500", "–"]
        );
        assert_eq!(
            [short(0.1), short(1e-4), short(100.0), short(0.25), short(0.01)],
            ["0.1", "10⁻⁴", "100", "0.25", "0.01"]
        );
        assert_eq!(
            [0.0, 0.42, 12.34, 59.97, 200.0, 3720.0].map(duration),
            ["0 s", "0.420 s", "12.3 s", "1 min 00 s", "3 min 20 s", "1 h 02 min"]
        );
        assert_eq!([bytes(312), bytes(4_700), bytes(44_700_000)], ["312 B", "4.70 kB", "44.7 MB"]);
        assert_eq!([rounded(642), rounded(11_176_512)], ["642", "11.2 million"]);
        assert_eq!(
            [counted(1, "class"), counted(2, "class"), counted(0, "fold")],
            ["1 class", "2 classes", "0 folds"]
        );
    }
}
