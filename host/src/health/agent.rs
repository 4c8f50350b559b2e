//! What a backend's agent says, and what is known of it: the words of HAProxy's
//! `agent-check`, and one for the load.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::verdict::Fault;
use crate::pool::Advice;
use crate::telemetry::metrics::{Checked, Counter};

/// Most of an agent's line that is told to anybody, in characters.
const TOLD: usize = 120;

/// What one answer of an agent says; what it leaves out stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Says {
    down: Option<bool>,
    administration: Option<Administration>,
    percent: Option<u32>,
    /// 0 to 1.
    load: Option<f64>,
}

/// What is done with the backend until the agent says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Administration {
    Ready,
    Drain,
    Maintenance,
}

impl Says {
    /// Reads an agent's line. Words are separated by spaces, tabs and commas; what
    /// follows a `#` is for people. Of two words about one thing the last counts.
    ///
    /// # Errors
    /// When none of the words means anything.
    pub fn parse(line: &str) -> Result<Says, Fault> {
        let words = line.split('#').next().unwrap_or_default();
        let mut says = Says::default();
        for word in words.split([' ', '\t', ',']) {
            says.hear(&word.to_ascii_lowercase());
        }
        if says == Says::default() {
            return Err(Fault::Protocol(format!(
                "its agent says nothing: `{}`",
                told(line)
            )));
        }
        Ok(says)
    }

    fn hear(&mut self, word: &str) {
        match word {
            "up" => self.down = Some(false),
            "down" | "stopped" | "fail" | "failed" => self.down = Some(true),
            "ready" => self.administration = Some(Administration::Ready),
            "drain" => self.administration = Some(Administration::Drain),
            "maint" => self.administration = Some(Administration::Maintenance),
            _ => {
                if let Some(load) = word.strip_prefix("load:") {
                    self.load = amount(load).or(self.load);
                } else if let Some(percent) = word.strip_suffix('%') {
                    let percent = percent.parse().ok();
                    let percent = percent.map(|percent: u32| percent.min(Advice::MOST_PERCENT));
                    self.percent = percent.or(self.percent);
                }
            }
        }
    }

    /// What is to be done from now on.
    pub fn advise(&self, before: Advice) -> Advice {
        let administration = self.administration.unwrap_or(match before {
            Advice {
                maintenance: true, ..
            } => Administration::Maintenance,
            Advice { drain: true, .. } => Administration::Drain,
            _ => Administration::Ready,
        });
        Advice {
            down: self.down.unwrap_or(before.down),
            drain: administration == Administration::Drain,
            maintenance: administration == Administration::Maintenance,
            percent: self.percent.unwrap_or(before.percent),
        }
    }

    /// The load, 0 to 1: what the agent calls so, else what is missing of the whole
    /// weight. Agents written for HAProxy say only the latter, and mean the former.
    pub fn load(&self) -> Option<f64> {
        let missing = |percent: u32| f64::from(100 - percent.min(100)) / 100.0;
        self.load.or_else(|| self.percent.map(missing))
    }
}

/// `42%` or `0.42`, at most 1.
fn amount(text: &str) -> Option<f64> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let amount = number.parse::<f64>().ok()? / whole;
    let is_one = amount.is_finite() && amount >= 0.0;
    is_one.then(|| amount.min(1.0))
}

/// An agent's line as logs and answers may have it.
pub fn told(line: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    line.trim().chars().take(TOLD).map(printable).collect()
}

/// What is known of one backend's agent. Goes with the backend from generation to
/// generation. Written by the health thread, read by whoever asks.
#[derive(Debug, Default)]
pub struct Record {
    /// Locked for a moment after a check and when somebody looks; never by a worker.
    status: Mutex<Report>,
    checks: [Counter; Checked::COUNT],
}

/// What is known at a moment.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Its last answer that could be read; none before the first.
    pub said: Option<String>,
    /// When that came.
    pub at: Option<SystemTime>,
    /// How long it took.
    pub took: Option<Duration>,
    /// What was wrong at the last check, if something was.
    pub error: Option<String>,
}

impl Record {
    /// It answered. True if it did not before.
    pub fn said(&self, line: &str, took: Duration, now: SystemTime) -> bool {
        self.count(Checked::Passed);
        let report = Report {
            said: Some(told(line)),
            at: Some(now),
            took: Some(took),
            error: None,
        };
        std::mem::replace(&mut *self.lock(), report).error.is_some()
    }

    /// It did not, or not in a way that could be read. True if it did before.
    pub fn failed(&self, fault: &Fault) -> bool {
        self.count(fault.label());
        self.lock().error.replace(fault.to_string()).is_none()
    }

    /// Counts a check. Only the health thread may.
    pub fn count(&self, result: Checked) {
        self.checks[result as usize].add(1);
    }

    /// Checks that came to this.
    pub fn checks(&self, result: Checked) -> u64 {
        self.checks[result as usize].get()
    }

    /// Nobody asks it any more.
    pub fn forget(&self) {
        *self.lock() = Report::default();
    }

    /// The last check was answered.
    pub fn answers(&self) -> bool {
        let status = self.lock();
        status.said.is_some() && status.error.is_none()
    }

    /// What is known now.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(lines: &[&str]) -> Advice {
        let say = |line: &&str| Says::parse(line).expect("it says something");
        lines
            .iter()
            .map(say)
            .fold(Advice::default(), |advice, says| says.advise(advice))
    }

    #[test]
    fn each_word_is_about_one_thing() {
        let usual = Advice::default();
        for (lines, advice) in [
            (&["up"][..], usual),
            (
                &["down"],
                Advice {
                    down: true,
                    ..usual
                },
            ),
            (
                &["stopped # on purpose"],
                Advice {
                    down: true,
                    ..usual
                },
            ),
            (
                &["fail\tnobody knows why"],
                Advice {
                    down: true,
                    ..usual
                },
            ),
            (&["down", "up"], usual),
            (
                &["drain"],
                Advice {
                    drain: true,
                    ..usual
                },
            ),
            (
                &["drain", "up 100%"],
                Advice {
                    drain: true,
                    ..usual
                },
            ),
            (&["drain", "ready"], usual),
            (
                &["drain", "maint"],
                Advice {
                    maintenance: true,
                    ..usual
                },
            ),
            (
                &["maint", "down", "READY"],
                Advice {
                    down: true,
                    ..usual
                },
            ),
            (
                &["75%"],
                Advice {
                    percent: 75,
                    ..usual
                },
            ),
            (
                &["75%", "up"],
                Advice {
                    percent: 75,
                    ..usual
                },
            ),
            (
                &["up,ready,50%"],
                Advice {
                    percent: 50,
                    ..usual
                },
            ),
            (
                &["0%"],
                Advice {
                    percent: 0,
                    ..usual
                },
            ),
            (
                &["99999%"],
                Advice {
                    percent: 1000,
                    ..usual
                },
            ),
            (
                &["drain ready 10% 20%"],
                Advice {
                    percent: 20,
                    ..usual
                },
            ),
            (&["up maxconn:30 wibble"], usual),
        ] {
            assert_eq!(after(lines), advice, "{lines:?}");
        }
    }

    #[test]
    fn the_load_is_what_is_called_so_or_what_is_missing_of_the_weight() {
        for (line, load) in [
            ("load:42%", Some(0.42)),
            ("load:0.42 75%", Some(0.42)),
            ("75%", Some(0.25)),
            ("100%", Some(0.0)),
            ("250%", Some(0.0)),
            ("load:250%", Some(1.0)),
            ("load:0", Some(0.0)),
            ("up", None),
            ("up load:-1", None),
            ("up load:NaN", None),
            ("up load:inf", None),
            ("up load:", None),
        ] {
            assert_eq!(Says::parse(line).expect(line).load(), load, "{line}");
        }
    }

    #[test]
    fn a_line_without_a_word_says_nothing() {
        for line in [
            "",
            " \t,",
            "# up",
            "%",
            "-5%",
            "7.5%",
            "hello",
            "load:x",
            "4294967296%",
        ] {
            let fault = Says::parse(line).expect_err(line).to_string();
            assert!(fault.contains("says nothing"), "{fault}");
        }
    }

    #[test]
    fn what_is_told_of_a_line_is_short_and_printable() {
        let line = format!("down # \u{1b}[2J{}", "x".repeat(500));
        let told = told(&line);
        assert_eq!(told.chars().count(), TOLD);
        assert!(told.starts_with("down # \u{fffd}[2Jx"), "{told}");
    }

    #[test]
    fn only_the_first_failure_and_the_first_answer_after_one_are_news() {
        let record = Record::default();
        assert!(!record.answers());
        assert!(record.failed(&Fault::Closed));
        assert!(!record.failed(&Fault::Closed));
        let now = SystemTime::UNIX_EPOCH;
        assert!(record.said("up", Duration::ZERO, now));
        assert!(!record.said("up", Duration::ZERO, now));
        assert!(record.answers());
        assert_eq!(
            (
                record.checks(Checked::Passed),
                record.checks(Checked::Reset)
            ),
            (2, 2)
        );
    }

    proptest! {
        #[test]
        fn any_line_is_borne(line in "(up|down|ready|drain|maint|load:|%|#|[0-9.-]|,| |\t|\u{1b}|\\PC){0,30}") {
            if let Ok(says) = Says::parse(&line) {
                prop_assert!(says.load().is_none_or(|load| (0.0..=1.0).contains(&load)));
                prop_assert!(says.advise(Advice::default()).percent <= Advice::MOST_PERCENT);
            }
        }
    }
}
