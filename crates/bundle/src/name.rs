//! Which names a file in a bundle may have.

use crate::{BundleError, MANIFEST_NAME};

const LENGTH_MAX: usize = 200;

/// Accepts a relative name that every file system can hold and that stays inside the folder:
/// `[A-Za-z0-9_-.]` between slashes, no part that begins or ends with a dot.
pub(crate) fn check_name(name: &str) -> Result<(), BundleError> {
    let refuse = |why| Err(BundleError::Name { name: name.escape_default().to_string(), why });
    if name.is_empty() || name.len() > LENGTH_MAX {
        return refuse("names have 1 to 200 characters");
    }
    if name.eq_ignore_ascii_case(MANIFEST_NAME) {
        return refuse("that is the manifest itself");
    }
    if name.starts_with('/') {
        return refuse("names are relative");
    }
    for part in name.split('/') {
        if part.is_empty() || part.starts_with('.') || part.ends_with('.') {
            return refuse("no part may be empty, begin with a dot or end with one");
        }
        if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return refuse("only the letters A to Z, digits, `.`, `_`, `-` and `/` are allowed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stay_inside_pass() {
        for good in ["model.safetensors", "golden/noise-37x53.png", "a/b/c", "README.md"] {
            check_name(good).expect(good);
        }
        let long = "x".repeat(201);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            "/etc/passwd",
            "a//b",
            "a/",
            "C:\\x",
            "a\\b",
            "c:x",
            ".git/config",
            "a\0b",
            "naïve",
            "a b",
            "x.",
            "headstart.json",
            "Headstart.JSON",
            &long,
        ] {
            assert!(matches!(check_name(bad), Err(BundleError::Name { .. })), "{bad:?}");
        }
    }
}
