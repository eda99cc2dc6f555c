//! Patterns over tensor names: `fc` means `fc` and all below it; `*` stands for any run of characters.

/// The first of the patterns that a name matches.
pub(crate) fn first_match<'a>(patterns: &'a [String], name: &str) -> Option<&'a str> {
    patterns.iter().map(String::as_str).find(|p| matches(p, name))
}

fn matches(pattern: &str, name: &str) -> bool {
    if !pattern.contains('*') {
        return name.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn prefixes_stop_at_dots_and_stars_do_not() {
        assert!(matches("fc", "fc.weight") && matches("fc", "fc") && !matches("fc", "fc2.weight"));
        assert!(matches("*.num_batches_tracked", "layer1.0.bn1.num_batches_tracked"));
        assert!(
            matches("layer*.bn*.bias", "layer1.0.bn1.bias")
                && !matches("layer*.bn*.bias", "layer1.0.bn1.weight")
        );
        assert!(matches("*", "anything") && !matches("aa*aa", "aaa"));
    }
}
