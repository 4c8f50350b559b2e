//! What came of a test, for people, for programs and for CI.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::plugin::Digest;

use super::{Outcome, Verdict};

/// Everything that a report tells.
pub struct Document<'a> {
    /// The path or the shipped name.
    pub plugin: &'a str,
    /// Its version.
    pub digest: Digest,
    /// What it was configured with.
    pub config: &'a str,
    /// What everything random followed from.
    pub seed: u64,
    /// What came of each property; why the proxy would refuse the plugin instead.
    pub verdicts: Result<&'a [Verdict], &'a str>,
}

/// One verdict in a line, or a few where something is wrong.
pub fn as_line(verdict: &Verdict) -> String {
    let (word, told) = match &verdict.outcome {
        Outcome::Passed(measured) => ("passed", measured.clone()),
        Outcome::NotApplicable(why) => ("n/a", why.clone()),
        Outcome::Lacks(why, Some(_)) => ("lacks", why.clone()),
        Outcome::Lacks(why, None) => ("lacks", format!("{why} (but it holds)")),
        Outcome::Failed(against) => (
            "FAILED",
            format!(
                "{}\n{MARGIN}given:  {}\n{MARGIN}answer: {}",
                verdict.sentence, against.input, against.answer
            ),
        ),
    };
    format!("  {word:<7} {:<20} {told}\n", verdict.name)
}

/// Under the third column.
const MARGIN: &str = "                               ";

/// The last line: how many of each, and the seed.
pub fn summary(verdicts: &[Verdict], seed: u64) -> String {
    let count = |is: fn(&Outcome) -> bool| {
        verdicts
            .iter()
            .filter(|verdict| is(&verdict.outcome))
            .count()
    };
    format!(
        "{} passed, {} failed, {} lacking by declaration, {} not applicable; seed {seed}\n",
        count(|outcome| matches!(outcome, Outcome::Passed(_))),
        count(|outcome| matches!(outcome, Outcome::Failed(_))),
        count(|outcome| matches!(outcome, Outcome::Lacks(..))),
        count(|outcome| matches!(outcome, Outcome::NotApplicable(_))),
    )
}

/// One JSON object.
pub fn as_json(document: &Document<'_>) -> Value {
    let verdicts = document.verdicts.ok();
    json!({
        "plugin": document.plugin,
        "sha256": document.digest.to_string(),
        "config": document.config,
        "seed": document.seed,
        "refused": document.verdicts.err(),
        "passed": verdicts.is_some_and(|all| !all.iter().any(Verdict::is_failure)),
        "properties": verdicts.map(|all| all.iter().map(verdict_as_json).collect::<Vec<_>>()),
    })
}

fn verdict_as_json(verdict: &Verdict) -> Value {
    let mut told = json!({
        "name": verdict.name,
        "sentence": verdict.sentence,
        "seconds": verdict.time.as_secs_f64(),
    });
    let (outcome, more) = match &verdict.outcome {
        Outcome::Passed(measured) => ("passed", json!({ "measured": measured })),
        Outcome::NotApplicable(why) => ("not-applicable", json!({ "reason": why })),
        Outcome::Lacks(why, None) => ("lacks", json!({ "reason": why, "holds": true })),
        Outcome::Lacks(why, Some(against)) => (
            "lacks",
            json!({
                "reason": why,
                "holds": false,
                "input": against.input,
                "answer": against.answer,
            }),
        ),
        Outcome::Failed(against) => (
            "failed",
            json!({ "input": against.input, "answer": against.answer }),
        ),
    };
    told["outcome"] = outcome.into();
    for (key, value) in more.as_object().into_iter().flatten() {
        told[key] = value.clone();
    }
    told
}

/// A JUnit report: a suite for the plugin, a case for each property. What is lacking
/// or not applicable is skipped; a refused plugin is one case with an error.
pub fn as_junit(document: &Document<'_>) -> String {
    let verdicts = document.verdicts.unwrap_or_default();
    let failures = verdicts.iter().filter(|one| one.is_failure()).count();
    let skipped = verdicts
        .iter()
        .filter(|one| matches!(one.outcome, Outcome::Lacks(..) | Outcome::NotApplicable(_)))
        .count();
    let refused = document.verdicts.err();
    let time: f64 = verdicts.iter().map(|one| one.time.as_secs_f64()).sum();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\" \
         skipped=\"{skipped}\" time=\"{time:.3}\">\n<properties>\n\
         <property name=\"sha256\" value=\"{}\"/>\n<property name=\"seed\" value=\"{}\"/>\n\
         <property name=\"config\" value=\"{}\"/>\n</properties>\n",
        escaped(document.plugin),
        verdicts.len() + usize::from(refused.is_some()),
        usize::from(refused.is_some()),
        document.digest,
        document.seed,
        escaped(document.config),
    );
    if let Some(why) = refused {
        let _ = writeln!(
            text,
            "<testcase classname=\"anubis\" name=\"starts\"><error message=\"{}\"/></testcase>",
            escaped(why)
        );
    }
    for verdict in verdicts {
        let _ = writeln!(
            text,
            "<testcase classname=\"anubis\" name=\"{}\" time=\"{:.3}\">{}</testcase>",
            verdict.name,
            verdict.time.as_secs_f64(),
            case(verdict)
        );
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

fn case(verdict: &Verdict) -> String {
    match &verdict.outcome {
        Outcome::Passed(measured) => {
            format!("<system-out>{}</system-out>", escaped(measured))
        }
        Outcome::NotApplicable(why) => {
            format!("<skipped message=\"not applicable: {}\"/>", escaped(why))
        }
        Outcome::Lacks(why, _) => format!("<skipped message=\"lacks it: {}\"/>", escaped(why)),
        Outcome::Failed(against) => format!(
            "<failure message=\"{}\">given: {}\nanswer: {}</failure>",
            escaped(verdict.sentence),
            escaped(&against.input),
            escaped(&against.answer)
        ),
    }
}

/// Text as XML 1.0 takes it, in an attribute too: what it cannot hold at all becomes
/// a question mark (most control characters, U+FFFE and U+FFFF).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Counterexample;
    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict {
            name: "in-range",
            sentence: "an answer is one of the backends",
            outcome,
            time: Duration::from_millis(1500),
        }
    }

    fn verdicts() -> [Verdict; 5] {
        let against = Counterexample {
            input: "3 < 4 \"backends\"".to_owned(),
            answer: "picked\u{1} & <gone>".to_owned(),
        };
        [
            Outcome::Passed("20 pools".to_owned()),
            Outcome::NotApplicable("it has none".to_owned()),
            Outcome::Lacks("its nature".to_owned(), Some(against.clone())),
            Outcome::Lacks("its nature".to_owned(), None),
            Outcome::Failed(against),
        ]
        .map(verdict)
    }

    fn document<'a>(verdicts: Result<&'a [Verdict], &'a str>) -> Document<'a> {
        Document {
            plugin: "./a&b.wasm",
            digest: Digest::of(b"x"),
            config: "",
            seed: 7,
            verdicts,
        }
    }

    #[test]
    fn people_read_a_line_for_each_and_the_counterexample() {
        let lines: String = verdicts().iter().map(as_line).collect();
        for part in [
            "passed  in-range",
            "20 pools",
            "n/a",
            "its nature (but it holds)",
            "FAILED  in-range",
            "given:  3 < 4",
            "answer: picked",
        ] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
        assert_eq!(
            summary(&verdicts(), 7),
            "1 passed, 1 failed, 2 lacking by declaration, 1 not applicable; seed 7\n"
        );
    }

    #[test]
    fn programs_read_everything() {
        let verdicts = verdicts();
        let told = as_json(&document(Ok(&verdicts)));
        assert_eq!(told["passed"], false);
        assert_eq!(told["seed"], 7);
        assert_eq!(told["properties"][0]["outcome"], "passed");
        assert_eq!(told["properties"][2]["holds"], false);
        assert_eq!(told["properties"][3]["holds"], true);
        assert_eq!(told["properties"][4]["input"], "3 < 4 \"backends\"");
        let told = as_json(&document(Err("no")));
        assert_eq!(
            (&told["refused"], &told["passed"]),
            (&json!("no"), &json!(false))
        );
    }

    #[test]
    fn junit_counts_and_escapes() {
        let verdicts = verdicts();
        let text = as_junit(&document(Ok(&verdicts)));
        for part in [
            "name=\"./a&amp;b.wasm\" tests=\"5\" failures=\"1\" errors=\"0\" skipped=\"3\" time=\"7.500\"",
            "given: 3 &lt; 4 &quot;backends&quot;\nanswer: picked? &amp; &lt;gone&gt;</failure>",
            "<skipped message=\"lacks it: its nature\"/>",
            "<property name=\"seed\" value=\"7\"/>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let refused = as_junit(&document(Err("no <way>")));
        assert!(refused.contains("tests=\"1\" failures=\"0\" errors=\"1\""));
        assert!(refused.contains("<error message=\"no &lt;way&gt;\"/>"));
    }
}
