//! [`FunctionName`]: selects functions by name.

use std::fmt;
use std::str::FromStr;

/// A function as named by a user: `load`, `Thing.load`, `app.py:load`, `pkg/mod.py:*`.
///
/// The name is the end of the qualified name, the file the end of its path. `*` matches any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionName {
    file: Option<String>,
    name: String,
}

impl FromStr for FunctionName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<FunctionName, &'static str> {
        let (file, name) = match text.rsplit_once(':') {
            Some((file, name)) => (Some(file.to_owned()), name),
            None => (None, text),
        };
        if name.is_empty() || file.as_ref().is_some_and(String::is_empty) {
            return Err("give a function, such as load, Thing.load or app.py:load");
        }
        Ok(FunctionName {
            file,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}:{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FunctionName {
    /// Whether a function with this qualified name in this file matches.
    pub fn matches(&self, function: &str, file: &str) -> bool {
        let ends = |text: &str, pattern: &str, before: char| {
            matches_pattern(text, pattern) || matches_pattern(text, &format!("*{before}{pattern}"))
        };
        let in_file = self.file.as_deref();
        in_file.is_none_or(|pattern| ends(file, pattern, '/')) && ends(function, &self.name, '.')
    }
}

/// Whether the text matches the pattern, in which `*` matches any text. The time is at most proportional to
/// the product of both lengths: after each `*` the first match is used, without backtracking.
fn matches_pattern(text: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = text.split_once(part) else {
            return false;
        };
        text = after;
    }
    text.ends_with(end)
}
