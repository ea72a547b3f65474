//! What reading a configuration brought to light, and how it is told to the operator.

use std::fmt;

/// One finding: where it is, as a path of keys (`resources[2].remote`), and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the key; empty for the file as a whole.
    pub path: String,
    /// What is wrong and, where known, what to write instead. Never holds a secret.
    pub text: String,
}

/// The findings of one file. Errors stop the start; warnings are logged; notes are for `--check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What must be mended before the program starts.
    pub errors: Vec<Problem>,
    /// What is ignored or will probably not do what was meant.
    pub warnings: Vec<Problem>,
    /// What is legal, and worth knowing when one looks for a mistake.
    pub notes: Vec<Problem>,
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem { path: path.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.path, self.text) }
    }
}

/// The word among `known` that a person who wrote `word` probably meant.
///
/// Transposed neighbours count as one slip; short words must be closer than long ones.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    let slips_max = 1 + word.chars().count() / 4;
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, candidate), candidate))
        .filter(|(slips, candidate)| *slips <= slips_max && *slips < candidate.len())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_the_word_that_was_meant() {
        let known = ["remote", "remotes", "serve", "cache", "mru", "loop", "authentication"];
        let table = [
            ("remotee", Some("remote")),
            ("REMOTE_S", Some("remotes")),
            ("sevre", Some("serve")),
            ("autentification", Some("authentication")),
            ("mur", Some("mru")),
            ("comment", None),
            ("x", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
