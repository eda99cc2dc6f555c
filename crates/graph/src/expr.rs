//! Whole-number arithmetic on dimensions that only a run fixes: what `(sequence - 10) / 5 + 1` becomes.

use std::collections::BTreeMap;
use std::fmt;

use crate::Dim;

/// Terms of one expression; more than any network needs.
const TERMS_MAX: usize = 64;
/// Characters of a symbol that stands for an expression.
const CHARS_MAX: usize = 1024;

/// A sum of products of symbols with whole coefficients.  A symbol is a name (`batch`) or a function of other expressions
/// (`floor(sequence - 10, 5)`, `max(a, b)`, `min(a, b)`, `mod(a, b)`), written out.
///
/// Sums and products are kept in one order, so that equal expressions are the same text.  Arithmetic that overflows or
/// grows beyond what a network needs is `None`.
///
/// ```
/// use headstart_graph::{Dim, Expr};
/// let s = Expr::from(&Dim::sequence());
/// let frames = s.sub(&Expr::number(10)).and_then(|e| e.floor_div(&Expr::number(5))).expect("small");
/// let frames = frames.add(&Expr::number(1)).expect("small");
/// assert_eq!(frames.to_string(), "floor(sequence, 5) - 1");
/// assert_eq!(frames.evaluate(&|_| Some(16000)), Some(3199));
/// let dim = frames.to_dim().expect("a dimension");
/// assert_eq!(Expr::from(&dim), frames);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expr {
    /// Coefficient by sorted symbols; no symbols is the constant.  No coefficient is 0.
    terms: BTreeMap<Vec<String>, i64>,
}

impl Expr {
    /// A number.
    pub fn number(n: i64) -> Self {
        let mut e = Expr { terms: BTreeMap::new() };
        if n != 0 {
            e.terms.insert(Vec::new(), n);
        }
        e
    }

    fn symbol(name: impl Into<String>) -> Self {
        Expr { terms: BTreeMap::from([(vec![name.into()], 1)]) }
    }

    /// The number, if no symbol is in it.
    pub fn as_number(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// Sum.
    pub fn add(&self, other: &Self) -> Option<Self> {
        let mut sum = self.clone();
        for (symbols, n) in &other.terms {
            let at = sum.terms.entry(symbols.clone()).or_default();
            *at = at.checked_add(*n)?;
        }
        sum.tidy()
    }

    /// Difference.
    pub fn sub(&self, other: &Self) -> Option<Self> {
        self.add(&other.mul(&Expr::number(-1))?)
    }

    /// Product.
    pub fn mul(&self, other: &Self) -> Option<Self> {
        let mut product = Expr::number(0);
        for (a, n) in &self.terms {
            for (b, m) in &other.terms {
                let mut symbols = [a.as_slice(), b].concat();
                symbols.sort();
                let at = product.terms.entry(symbols).or_default();
                *at = at.checked_add(n.checked_mul(*m)?)?;
            }
            if product.terms.len() > TERMS_MAX {
                return None;
            }
        }
        product.tidy()
    }

    /// Quotient, rounded down.
    pub fn floor_div(&self, by: &Self) -> Option<Self> {
        if by.as_number() == Some(0) {
            return None;
        }
        if let (Some(a), Some(b)) = (self.as_number(), by.as_number()) {
            return Some(Expr::number(a.checked_div_euclid(b).filter(|_| b > 0)?));
        }
        if let Some(exact) = self.divided(by) {
            return Some(exact);
        }
        let Some(b) = by.as_number().filter(|b| *b > 0) else {
            return Expr::function("floor", self, by);
        };
        // What divides comes out: floor((b·q + r)/b) = q + floor(r/b).
        let (mut whole, mut rest) = (Expr::number(0), Expr::number(0));
        for (symbols, n) in &self.terms {
            let (q, r) = (n.div_euclid(b), n.rem_euclid(b));
            // A term that does not divide stays as it is, so that it reads as it was written.
            let (q, r) = if symbols.is_empty() || r == 0 { (q, r) } else { (0, *n) };
            whole = whole.add(&Expr { terms: BTreeMap::from([(symbols.clone(), q)]) })?;
            rest = rest.add(&Expr { terms: BTreeMap::from([(symbols.clone(), r)]) })?;
        }
        if let Some(r) = rest.as_number() {
            return whole.add(&Expr::number(r.div_euclid(b)));
        }
        // floor((floor(x/a) + c)/b) = floor((x + a·c)/(a·b)).
        let constant = rest.terms.get(&Vec::new()).copied().unwrap_or(0);
        let inner = rest.sub(&Expr::number(constant))?;
        if let Some((x, a)) = inner.single("floor")
            && let Some(a) = a.as_number().filter(|a| *a > 0)
        {
            let x = x.add(&Expr::number(a.checked_mul(constant)?))?;
            return whole.add(&x.floor_div(&Expr::number(a.checked_mul(b)?))?);
        }
        whole.add(&Expr::function("floor", &rest, by)?)
    }

    /// Remainder of [`Expr::floor_div`].
    pub fn modulo(&self, by: &Self) -> Option<Self> {
        match (self.as_number(), by.as_number()) {
            (_, Some(0)) => None,
            (Some(a), Some(b)) => Some(Expr::number(a.checked_sub(b.checked_mul(a.div_euclid(b))?)?)),
            _ if self.divided(by).is_some() => Some(Expr::number(0)),
            _ => Expr::function("mod", self, by),
        }
    }

    /// The larger of two.
    pub fn maximum(&self, other: &Self) -> Option<Self> {
        self.either("max", other, true)
    }

    /// The smaller of two.
    pub fn minimum(&self, other: &Self) -> Option<Self> {
        self.either("min", other, false)
    }

    fn either(&self, name: &str, other: &Self, larger: bool) -> Option<Self> {
        let difference = self.sub(other)?;
        if difference.least().is_some_and(|n| n >= 0) {
            return Some(if larger { self.clone() } else { other.clone() });
        }
        if difference.mul(&Expr::number(-1))?.least().is_some_and(|n| n >= 0) {
            return Some(if larger { other.clone() } else { self.clone() });
        }
        // max(a, max(a, b)) is max(a, b).
        for (whole, part) in [(self, other), (other, self)] {
            if whole.single(name).is_some_and(|(a, b)| a == *part || b == *part) {
                return Some(whole.clone());
            }
        }
        // max(a, min(a, b)) is a, and so is min(a, max(a, b)).
        let opposite = if larger { "min" } else { "max" };
        for (whole, part) in [(self, other), (other, self)] {
            if whole.single(opposite).is_some_and(|(a, b)| a == *part || b == *part) {
                return Some(part.clone());
            }
        }
        let (a, b) = if self < other { (self, other) } else { (other, self) };
        Expr::function(name, a, b)
    }

    /// A number that the expression is never less than, if one is known: named symbols are at least 1, functions at least 0.
    pub fn least(&self) -> Option<i64> {
        self.terms.iter().try_fold(0i64, |sum, (symbols, n)| {
            let least = if symbols.iter().any(|s| s.contains('(')) { 0 } else { 1 };
            if symbols.is_empty() {
                sum.checked_add(*n)
            } else if *n > 0 {
                sum.checked_add(n.checked_mul(least)?)
            } else {
                None
            }
        })
    }

    /// The number it becomes when symbols are known; `None` if one is not, or at overflow or division by 0.
    pub fn evaluate(&self, symbol: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        self.terms.iter().try_fold(0i64, |sum, (symbols, n)| {
            let product = symbols.iter().try_fold(*n, |product, s| {
                let value = match arguments(s) {
                    Some((name, a, b)) => {
                        let (a, b) = (a.evaluate(symbol)?, b.evaluate(symbol)?);
                        match name {
                            "floor" => floor(a, b)?,
                            "mod" => a.checked_sub(b.checked_mul(floor(a, b)?)?)?,
                            "max" => a.max(b),
                            _ => a.min(b),
                        }
                    }
                    None => symbol(s)?,
                };
                product.checked_mul(value)
            })?;
            sum.checked_add(product)
        })
    }

    /// As a dimension; `None` for a negative number or a text that is too long.
    pub fn to_dim(&self) -> Option<Dim> {
        match self.as_number() {
            Some(n) => usize::try_from(n).ok().map(Dim::Fixed),
            None => Some(self.to_string()).filter(|s| s.len() <= CHARS_MAX).map(Dim::Symbol),
        }
    }

    /// The exact quotient by a single term, if there is one.
    fn divided(&self, by: &Self) -> Option<Self> {
        let (divisor, m) = by.terms.first_key_value().filter(|_| by.terms.len() == 1)?;
        let mut quotient = Expr::number(0);
        for (symbols, n) in &self.terms {
            let mut left = symbols.clone();
            for s in divisor {
                let at = left.iter().position(|l| l == s)?;
                left.remove(at);
            }
            if n.checked_rem(*m)? != 0 {
                return None;
            }
            quotient.terms.insert(left, n / m);
        }
        Some(quotient)
    }

    fn function(name: &str, a: &Self, b: &Self) -> Option<Self> {
        let text = format!("{name}({a}, {b})");
        (text.len() <= CHARS_MAX).then(|| Expr::symbol(text))
    }

    /// The arguments, if it is nothing but this function.
    fn single(&self, name: &str) -> Option<(Expr, Expr)> {
        let (symbols, n) = self.terms.first_key_value().filter(|_| self.terms.len() == 1)?;
        match (symbols.as_slice(), n) {
            ([s], 1) => arguments(s).filter(|(n, ..)| *n == name).map(|(_, a, b)| (a, b)),
            _ => None,
        }
    }

    fn tidy(mut self) -> Option<Self> {
        self.terms.retain(|_, n| *n != 0);
        (self.terms.len() <= TERMS_MAX).then_some(self)
    }
}

impl From<&Dim> for Expr {
    fn from(dim: &Dim) -> Self {
        match dim {
            // A dimension beyond 2⁶³ is refused where tensors are made.
            Dim::Fixed(n) => Expr::number(i64::try_from(*n).unwrap_or(i64::MAX)),
            Dim::Symbol(s) if s.len() <= CHARS_MAX => parse(s).unwrap_or_else(|| Expr::symbol(s.as_str())),
            Dim::Symbol(s) => Expr::symbol(s.as_str()),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // Products first, the constant last, as people write them.
        let constant = self.terms.get(&Vec::new()).map(|n| (&[][..], n));
        let terms = self.terms.iter().filter(|(s, _)| !s.is_empty()).map(|(s, n)| (s.as_slice(), n));
        for (i, (symbols, n)) in terms.chain(constant).enumerate() {
            match (i, *n < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let n = n.unsigned_abs();
            if symbols.is_empty() {
                write!(f, "{n}")?;
            } else {
                if n != 1 {
                    write!(f, "{n}*")?;
                }
                f.write_str(&symbols.join("*"))?;
            }
        }
        Ok(())
    }
}

fn floor(a: i64, b: i64) -> Option<i64> {
    if b == 0 { None } else { Some(a.checked_div_euclid(b)?).filter(|_| b > 0) }
}

/// Name and arguments of a symbol that is a function.
fn arguments(symbol: &str) -> Option<(&str, Expr, Expr)> {
    let (name, rest) = symbol.split_once('(')?;
    if !["floor", "mod", "max", "min"].contains(&name) {
        return None;
    }
    let inner = rest.strip_suffix(')')?;
    let mut depth = 0usize;
    for (i, c) in inner.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                return Some((name, parse(&inner[..i])?, parse(inner[i + 1..].trim_start())?));
            }
            _ => {}
        }
    }
    None
}

/// Reads what `Display` writes.  The length of a text bounds how deep it can nest.
fn parse(text: &str) -> Option<Expr> {
    let mut sum = Expr::number(0);
    for (is_negative, term) in split_terms(text)? {
        let mut product = Expr::number(if is_negative { -1 } else { 1 });
        for factor in split_at_depth_0(term, '*') {
            let factor = factor.trim();
            let value = match factor.parse::<i64>() {
                Ok(n) => Expr::number(n),
                Err(_) if is_name(factor) || arguments(factor).is_some() => Expr::symbol(factor),
                Err(_) => return None,
            };
            product = product.mul(&value)?;
        }
        sum = sum.add(&product)?;
    }
    Some(sum)
}

/// Terms with their signs: ` + ` and ` - ` outside parentheses, and a leading `-`.
fn split_terms(text: &str) -> Option<Vec<(bool, &str)>> {
    let text = text.trim();
    let (mut is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mut terms, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            '+' | '-' if depth == 0 => {
                terms.push((is_negative, &text[start..i]));
                (is_negative, start) = (c == '-', i + 1);
            }
            _ => {}
        }
    }
    terms.push((is_negative, &text[start..]));
    Some(terms)
}

fn split_at_depth_0(text: &str, by: char) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            c if c == by && depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '#' | '?');
    !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(text: &str) -> Expr {
        parse(text).expect(text)
    }

    #[test]
    fn sums_and_products_have_one_form() {
        assert_eq!(e("batch*sequence + 2*sequence*batch - 3"), e("-3 + 3*batch*sequence"));
        assert_eq!(e("3*batch*sequence - 3").to_string(), "3*batch*sequence - 3");
        assert_eq!(e("s - s").as_number(), Some(0));
    }

    #[test]
    fn division_takes_out_what_divides() {
        let d = |a: &str, b: &str| e(a).floor_div(&e(b)).expect("small").to_string();
        assert_eq!(d("49*batch*768", "batch*768"), "49");
        assert_eq!(d("4*s + 7", "4"), "s + 1");
        assert_eq!(d("floor(s, 5) - 1", "2"), "floor(s + 5, 10) - 1");
        assert_eq!(d("batch + 1", "batch"), "floor(batch + 1, batch)");
        assert!(e("batch").floor_div(&e("0")).is_none());
    }

    /// The seven convolutions of wav2vec2 make 49 frames of one second.
    #[test]
    fn nested_windows_evaluate_as_numbers_do() {
        let mut frames = Expr::from(&Dim::sequence());
        for (kernel, stride) in [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)] {
            let room = frames.sub(&Expr::number(kernel)).expect("small");
            frames =
                room.floor_div(&Expr::number(stride)).and_then(|e| e.add(&Expr::number(1))).expect("small");
        }
        assert_eq!(frames.evaluate(&|_| Some(16000)), Some(49));
        assert_eq!(e(&frames.to_string()), frames);
    }

    #[test]
    fn the_larger_of_two_is_told_where_it_can_be() {
        let max = |a: &str, b: &str| e(a).maximum(&e(b)).expect("small").to_string();
        assert_eq!(max("s + 1", "s"), "s + 1");
        assert_eq!(max("s", "1"), "s");
        assert_eq!(max("s", "t"), "max(s, t)");
        assert_eq!(max("s", "max(s, t)"), "max(s, t)");
        assert_eq!(max("s", "min(512, s)"), "s");
        assert_eq!(e("min(s, 512)").evaluate(&|_| Some(600)), Some(512));
    }

    #[test]
    fn hostile_texts_stay_names_and_arithmetic_stays_bounded() {
        for text in ["", "a b", "floor(a", "floor(a,)", "((((", "a**b", "9a", "f(x, y)"] {
            assert!(parse(text).is_none(), "{text}");
            assert_eq!(Expr::from(&Dim::Symbol(text.into())).evaluate(&|_| Some(2)), Some(2));
        }
        assert!(Expr::number(i64::MAX).add(&Expr::number(1)).is_none());
        assert!(Expr::number(i64::MAX).mul(&e("2*s")).is_none());
        let deep = "floor(".repeat(150) + "a" + &", 2)".repeat(150);
        assert!(Expr::from(&Dim::Symbol(deep)).evaluate(&|_| Some(1)).is_some());
    }
}
