//! Text to [`File`], with every mistake that serde can see.
//!
//! serde stops at the first. So the entry at fault is noted and taken out of
//! the tree, and the rest is read again, until nothing is left to complain
//! about; what then is missing was either noted or never written.

use std::ops::Range;

use serde::Deserialize;

use super::document::{Depth, Document, append_key};
use super::file::File;
use super::mistakes::{Mistake, suggestion};

/// Collects what is wrong with one document.
#[derive(Debug)]
pub struct Report<'t> {
    origin: String,
    document: Document<'t>,
    /// To be fatal.
    pub mistakes: Vec<Mistake>,
    /// To be said.
    pub warnings: Vec<Mistake>,
}

/// Reads `text`, which came from `origin`. Without a file the syntax was too
/// broken to tell what was meant; with one, mistakes may still be in the report.
pub fn read<'t>(text: &'t str, origin: &str) -> (Option<File>, Report<'t>) {
    let (document, errors) = Document::parse(text);
    let mut report = Report {
        origin: origin.to_owned(),
        document,
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    for error in &errors {
        report.syntax(error);
    }
    if !errors.is_empty() {
        return (None, report);
    }
    let file = report.deserialize();
    (file, report)
}

impl Report<'_> {
    /// A mistake about the key or value that stands at `span`.
    pub fn mistake(&mut self, span: &Range<usize>, what: impl Into<String>) {
        let mistake = self.at(span, Depth::Innermost, None, what.into());
        self.mistakes.push(mistake);
    }

    /// As [`Report::mistake`], but the proxy can run with it.
    pub fn warning(&mut self, span: &Range<usize>, what: impl Into<String>) {
        let warning = self.at(span, Depth::Innermost, None, what.into());
        self.warnings.push(warning);
    }

    /// The table at `span` lacks `key`. Silent when the key is there and was
    /// found wrong.
    pub fn missing(&mut self, span: &Range<usize>, key: &str, what: &str) {
        let mistake = self.at(span, Depth::Innermost, Some(key), what.to_owned());
        if !self.blamed(&mistake.key) {
            self.mistakes.push(mistake);
        }
    }

    /// As [`Report::missing`], where `other` would do in its place.
    pub fn missing_either(&mut self, span: &Range<usize>, key: &str, other: &str, what: &str) {
        let instead = self.at(span, Depth::Innermost, Some(other), String::new());
        if !self.blamed(&instead.key) {
            self.missing(span, key, what);
        }
    }

    /// The array at `span` is empty. Silent when it only became so because
    /// what was in it was found wrong.
    pub fn empty(&mut self, span: &Range<usize>, what: &str) {
        let mistake = self.at(span, Depth::Innermost, None, what.to_owned());
        if !self.blamed(&mistake.key) {
            self.mistakes.push(mistake);
        }
    }

    /// The document lacks `key` at its top. Silent as [`Report::missing`] is.
    pub fn missing_at_top(&mut self, key: &str, what: &str) {
        if !self.blamed(key) {
            self.mistakes.push(Mistake {
                origin: self.origin.clone(),
                place: None,
                key: key.to_owned(),
                what: what.to_owned(),
            });
        }
    }

    /// Whether a mistake is known of `path` or of something in it.
    pub fn blamed(&self, path: &str) -> bool {
        self.mistakes.iter().any(|mistake| {
            mistake
                .key
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    fn syntax(&mut self, error: &toml::de::Error) {
        let mistake = Mistake {
            origin: self.origin.clone(),
            place: error.span().map(|span| self.document.place(span.start)),
            key: String::new(),
            what: format!("not TOML: {}", error.message()),
        };
        self.mistakes.push(mistake);
    }

    fn deserialize(&mut self) -> Option<File> {
        let mut rest = self.document.clone();
        loop {
            let root = toml::de::Deserializer::from(rest.root());
            let error = match File::deserialize(root) {
                Ok(file) => return Some(file),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_default();
            let depth = depth_of(&error);
            let mistake = self.at(&span, depth, None, explain(&error));
            self.mistakes.push(mistake);
            // Without an entry to take out, reading again would say the same.
            rest.remove(&rest.entry(&span, depth)?);
        }
    }

    fn at(&self, span: &Range<usize>, depth: Depth, below: Option<&str>, what: String) -> Mistake {
        let entry = self.document.entry(span, depth);
        let mut key = entry.map(|entry| entry.path()).unwrap_or_default();
        if let Some(below) = below {
            append_key(&mut key, below);
        }
        Mistake {
            origin: self.origin.clone(),
            place: Some(self.document.place(span.start)),
            key,
            what,
        }
    }
}

/// An array of tables stands where its first table stands; only when an array
/// came unexpectedly is the array meant.
fn depth_of(error: &toml::de::Error) -> Depth {
    if error.message().starts_with("invalid type: sequence") {
        Depth::Outermost
    } else {
        Depth::Innermost
    }
}

/// serde's message in the words of a configuration. What is known instead of
/// an unknown name serde says only in its message.
fn explain(error: &toml::de::Error) -> String {
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(key) if message.starts_with("unknown field") => {
            format!("unknown key{}", suggestion(key, quoted))
        }
        Some(value) if message.starts_with("unknown variant") => {
            format!("unknown value `{value}`{}", suggestion(value, quoted))
        }
        _ => message
            .replace("invalid type: sequence", "an array is wrong here")
            .replace("invalid type: map", "a table is wrong here")
            .replace("invalid type: ", "wrong type: ")
            .replace(
                "expected a sequence",
                "expected an array ([...] or [[...]])",
            ),
    }
}
