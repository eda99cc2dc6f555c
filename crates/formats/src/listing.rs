//! Lists of names in messages: the first few, then how many more.

/// Names shown before the rest is only counted.
const N_SHOWN: usize = 8;

/// `a, b, c and 4 more`.
pub fn list<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(N_SHOWN).map(AsRef::as_ref).collect();
    let mut out = shown.join(", ");
    if names.len() > N_SHOWN {
        out += &format!(" and {} more", names.len() - N_SHOWN);
    }
    out
}

/// A name from a hostile file, cut to what a message can hold.
pub fn brief(name: &str) -> String {
    const N_CHARS: usize = 120;
    let mut out: String = name.chars().take(N_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().nth(N_CHARS).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_lists_are_counted() {
        let names: Vec<String> = (0..11).map(|i| format!("w{i}")).collect();
        assert_eq!(super::list(&names[..2]), "w0, w1");
        assert_eq!(super::list(&names), "w0, w1, w2, w3, w4, w5, w6, w7 and 3 more");
    }
}
