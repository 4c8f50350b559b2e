//! `tests/MATRIX.md` says what is shown by which test: whether that is so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The rows: a letter and how many there are.
const ROWS: [(char, usize); 4] = [('B', 21), ('C', 12), ('S', 17), ('X', 11)];
/// What is said to be not offered, and so has no test.
const NOT_OFFERED: [&str; 3] = ["B18", "S12", "S16"];

/// Each row with the tests that it names.
fn matrix() -> BTreeMap<String, Vec<String>> {
    let text = include_str!("../MATRIX.md");
    let rows = text.lines().filter_map(|line| {
        let row = line.strip_prefix("| ")?.split(' ').next()?;
        let is_row = row.len() > 1 && row[1..].bytes().all(|byte| byte.is_ascii_digit());
        let code = line.split('`').skip(1).step_by(2);
        let tests = code.filter(|code| code.contains("::"));
        is_row.then(|| (row.to_owned(), tests.map(str::to_owned).collect()))
    });
    rows.collect()
}

/// `module::name` of every test in these folders' sources that always runs.
fn tests_in(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources are here") {
        let path = entry.expect("the sources can be read").path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("");
        if path.is_dir() {
            tests_in(&path, &format!("{prefix}{stem}::"), found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source is text");
            let mut is_test = false;
            let names = source.lines().filter_map(|line| {
                let line = line.trim_start();
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if line.starts_with("#[ignore") {
                    is_test = false;
                }
                let (_, name) = line.split_once("fn ")?;
                let name = name.split(['(', '<']).next().map(str::to_owned);
                name.filter(|_| std::mem::take(&mut is_test))
            });
            found.extend(names.map(|name| format!("{prefix}{stem}::{name}")));
        }
    }
}

#[test]
fn every_row_is_there_and_has_a_test_that_exists() {
    let matrix = matrix();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    tests_in(&here.join("e2e"), "", &mut known);
    let mut in_host = BTreeSet::new();
    tests_in(&here.join("../host/src"), "", &mut in_host);
    let unit_tests = in_host.iter().filter_map(|name| {
        let (module, name) = name.rsplit_once("::")?;
        Some(format!("{module}::tests::{name}"))
    });
    known.extend(unit_tests);
    for (letter, count) in ROWS {
        for number in 1..=count {
            let row = format!("{letter}{number}");
            let tests = matrix
                .get(&row)
                .unwrap_or_else(|| panic!("{row} is missing"));
            let offered = !NOT_OFFERED.contains(&row.as_str());
            assert_eq!(!tests.is_empty(), offered, "tests of {row}");
            for test in tests {
                assert!(
                    known.contains(test),
                    "{row} names {test}, which is not there"
                );
            }
        }
    }
    let rows = ROWS.iter().map(|(_, count)| count).sum::<usize>();
    assert_eq!(matrix.len(), rows, "rows that nobody knows");
}
