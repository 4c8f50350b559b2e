//! A TOML document as a tree that remembers where everything stands, so that
//! a span alone names a key and a place.

use std::fmt::Write;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The parsed text.
#[derive(Debug, Clone)]
pub struct Document<'t> {
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    /// Parses as much as can be parsed; the errors are those of syntax, in
    /// order.
    pub fn parse(text: &'t str) -> (Self, Vec<toml::de::Error>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        (Self { text, root }, errors)
    }

    /// What serde reads.
    pub fn root(&self) -> Spanned<DeTable<'t>> {
        self.root.clone()
    }

    /// Line and column of a byte offset, both from 1.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        let lines = before.bytes().filter(|byte| *byte == b'\n').count();
        (lines + 1, before[line..].chars().count() + 1)
    }

    /// The entry whose key or value stands at `span`.
    pub fn entry(&self, span: &Range<usize>, depth: Depth) -> Option<Entry> {
        let mut path = Vec::new();
        in_table(self.root.get_ref(), span, depth, &mut path).then_some(Entry(path))
    }

    /// Takes an entry out, as if it had not been written.
    pub fn remove(&mut self, entry: &Entry) {
        remove_from_table(self.root.get_mut(), &entry.0);
    }
}

/// Which entry is meant where several stand at one place: the header of the
/// first `[[array]]` table is the place of the array and of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Outermost,
    Innermost,
}

/// The way from the root to one key or element. Displayed as the key's full
/// path: `pools.web.backends[1].weight`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Entry {
    /// The full path of this entry.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.0 {
            match step {
                Step::Index(index) => {
                    let _ = write!(path, "[{index}]");
                }
                Step::Key(key) => append_key(&mut path, key),
            }
        }
        path
    }
}

/// `path.key`, quoted as TOML wants it.
pub fn append_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        path.push_str(key);
    } else {
        let _ = write!(path, "{key:?}");
    }
}

fn in_table(table: &DeTable<'_>, span: &Range<usize>, depth: Depth, path: &mut Vec<Step>) -> bool {
    table.iter().any(|(key, value)| {
        path.push(Step::Key(key.get_ref().to_string()));
        let here = key.span() == *span || value.span() == *span;
        let found = found(value.get_ref(), here, span, depth, path);
        if !found {
            path.pop();
        }
        found
    })
}

fn found(
    value: &DeValue<'_>,
    here: bool,
    span: &Range<usize>,
    depth: Depth,
    path: &mut Vec<Step>,
) -> bool {
    if here && depth == Depth::Outermost {
        return true;
    }
    let deeper = match value {
        DeValue::Table(table) => in_table(table, span, depth, path),
        DeValue::Array(elements) => elements.iter().enumerate().any(|(index, element)| {
            path.push(Step::Index(index));
            let here = element.span() == *span;
            let found = found(element.get_ref(), here, span, depth, path);
            if !found {
                path.pop();
            }
            found
        }),
        _ => false,
    };
    deeper || here
}

fn remove_from_table(table: &mut DeTable<'_>, path: &[Step]) {
    let Some((Step::Key(wanted), rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.remove(wanted.as_str());
    } else if let Some(value) = table.get_mut(wanted.as_str()) {
        remove_from_value(value.get_mut(), rest);
    }
}

fn remove_from_value(value: &mut DeValue<'_>, path: &[Step]) {
    match (value, path) {
        (DeValue::Table(table), path) => remove_from_table(table, path),
        (DeValue::Array(elements), [Step::Index(index), rest @ ..]) => {
            if rest.is_empty() {
                let others = elements.iter().enumerate().filter(|(i, _)| i != index);
                *elements = others.map(|(_, element)| element.clone()).collect();
            } else if let Some(element) = elements.get_mut(*index) {
                remove_from_value(element.get_mut(), rest);
            }
        }
        _ => {}
    }
}
