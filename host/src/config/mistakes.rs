//! What is wrong with a configuration, said so that it can be put right: the
//! file, the line, the key, and the nearest thing that would have been right.

use std::fmt;

/// One mistake (or warning) and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The configuration file, or `command line`.
    pub origin: String,
    /// Line and column, both from 1; columns count characters.
    pub place: Option<(usize, usize)>,
    /// The key's full path, `pools.web.backends[1].weight`; empty when it is
    /// about no key, as a syntax error is.
    pub key: String,
    /// What is wrong, and what was probably meant.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Every mistake of a configuration, in the order of their places; one a line
/// when displayed. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// One mistake that is about the whole of `origin`.
    pub fn whole(origin: impl Into<String>, what: impl Into<String>) -> Self {
        Self(vec![Mistake {
            origin: origin.into(),
            place: None,
            key: String::new(),
            what: what.into(),
        }])
    }

    /// Nothing when there are none.
    pub(super) fn of(mut mistakes: Vec<Mistake>) -> Option<Self> {
        mistakes.sort_by_key(|mistake| mistake.place);
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    /// In the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The end of a message about `word`, which is none of `known`: the nearest of
/// them, or all when none is near; nothing when there are none.
pub(super) fn suggestion<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.collect();
    if let Some(nearest) = nearest(word, &known) {
        return format!("; did you mean `{nearest}`?");
    }
    match known.as_slice() {
        [] => String::new(),
        known => format!("; known: {}", known.join(", ")),
    }
}

/// The likeliest meaning of a mistyped `word`: a slip or two away, or much
/// alike from the start (0.85 is above what pairs names that share little more
/// than letters).
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    let slips = (word.len() / 3).max(1);
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&word, candidate), *candidate))
        .filter(|(alike, candidate)| {
            *alike > 0.85 || strsim::osa_distance(&word, candidate) <= slips
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["weight", "address", "name"];
        assert_eq!(nearest("wieght", &known), Some("weight"));
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("Name", &known), Some("name"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("wbe", &["api", "web"]), Some("web"));
        assert_eq!(nearest("a", &["bcd", "web"]), None);
    }

    #[test]
    fn all_names_are_listed_when_none_is_near() {
        let text = suggestion("colour", ["weight", "name"].into_iter());
        assert_eq!(text, "; known: weight, name");
    }
}
