//! Options from the operator's configuration: a flat TOML table, which arrives
//! as a JSON object.
//!
//! Small on purpose, as it becomes part of every plugin that uses it: scalars
//! only, and no floating point. For nested configuration use a JSON crate.

mod json;

use std::ops::RangeInclusive;

use json::Value;

/// The options that the operator wrote. Ask for each by its name, then
/// [`finish`](Self::finish), which refuses those that were not asked for.
///
/// ```
/// use anubis_strategy::options::Options;
///
/// let mut options = Options::parse(r#"{"window": "1.5s", "limit": 8}"#)?;
/// assert_eq!(options.microseconds("window", 0..=60_000_000)?, Some(1_500_000));
/// assert_eq!(options.integer("limit", 1..=100)?, Some(8));
/// assert_eq!(options.thousandths("bound", 1000..=10_000)?, None);
/// options.finish()?;
///
/// let mut options = Options::parse(r#"{"windw": "1s"}"#)?;
/// options.microseconds("window", 0..=60_000_000)?;
/// assert_eq!(options.finish().unwrap_err(), "unknown option `windw`; there is: `window`");
/// # Ok::<(), String>(())
/// ```
///
/// Every error is a message for the operator and names the option.
#[derive(Debug)]
pub struct Options {
    given: Vec<(String, Value)>,
    known: Vec<&'static str>,
}

impl Options {
    /// Reads what `configure` was given. Nothing at all is no option.
    ///
    /// # Errors
    ///
    /// Where it is not a JSON object, and where an option is there twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let given = if text.trim().is_empty() {
            Vec::new()
        } else {
            json::object(text)?
        };
        for (position, (name, _)) in given.iter().enumerate() {
            if given[..position].iter().any(|(earlier, _)| earlier == name) {
                return Err(["option `", name, "` is there twice"].concat());
            }
        }
        Ok(Self {
            given,
            known: Vec::new(),
        })
    }

    /// A whole number.
    ///
    /// # Errors
    ///
    /// Where it is something else, or out of `range`.
    pub fn integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, String> {
        self.number(name, 0, range, "a whole number")
    }

    /// A decimal number, in thousandths: 1.25 is 1250. What is finer is cut off.
    ///
    /// # Errors
    ///
    /// Where it is something else, or out of `range` (in thousandths).
    pub fn thousandths(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, String> {
        self.number(name, 3, range, "a number")
    }

    /// A duration such as `"250ms"` (units: `us`, `ms`, `s`, `m`, `h`), in
    /// microseconds.
    ///
    /// # Errors
    ///
    /// Where it is something else, or out of `range` (in microseconds).
    pub fn microseconds(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, String> {
        const WHAT: &str = "a duration such as \"250ms\"";
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let Value::Text(text) = value else {
            return Err(must_be(name, WHAT));
        };
        let value = duration(&text).ok_or_else(|| must_be(name, WHAT))?;
        in_range(name, value, range, &scaled_duration).map(Some)
    }

    /// Text.
    ///
    /// # Errors
    ///
    /// Where it is something else.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(must_be(name, "text")),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// Where it is something else.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Boolean(boolean)) => Ok(Some(boolean)),
            Some(_) => Err(must_be(name, "true or false")),
        }
    }

    /// To be called last.
    ///
    /// # Errors
    ///
    /// Where the operator wrote an option that was never asked for; the message
    /// names it and those that there are.
    pub fn finish(self) -> Result<(), String> {
        let Some((name, _)) = self.given.first() else {
            return Ok(());
        };
        let known: Vec<String> = self
            .known
            .iter()
            .map(|name| ["`", name, "`"].concat())
            .collect();
        let known = if known.is_empty() {
            "none".to_string()
        } else {
            known.join(", ")
        };
        Err(["unknown option `", name, "`; there is: ", &known].concat())
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        let position = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.swap_remove(position).1)
    }

    fn number(
        &mut self,
        name: &'static str,
        decimals: usize,
        range: RangeInclusive<u64>,
        what: &str,
    ) -> Result<Option<u64>, String> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let Value::Number(text) = value else {
            return Err(must_be(name, what));
        };
        let value = fixed(&text, decimals).ok_or_else(|| must_be(name, what))?;
        in_range(name, value, range, &|value| scaled(value, decimals)).map(Some)
    }
}

fn must_be(name: &str, what: &str) -> String {
    ["option `", name, "` must be ", what].concat()
}

fn in_range(
    name: &str,
    value: u64,
    range: RangeInclusive<u64>,
    written: &dyn Fn(u64) -> String,
) -> Result<u64, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (start, end) = (written(*range.start()), written(*range.end()));
    Err([
        "option `",
        name,
        "` must be between ",
        &start,
        " and ",
        &end,
    ]
    .concat())
}

/// A decimal number in units of 10^-`decimals`; `None` where it has another
/// form (a sign, an exponent), and, for whole numbers, where it has a fraction.
fn fixed(text: &str, decimals: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    if decimals == 0 && fraction.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let padding = std::iter::repeat(b'0');
    let digits = whole
        .bytes()
        .chain(fraction.bytes().chain(padding).take(decimals));
    let mut value = 0u64;
    for digit in digits {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

/// [`fixed`] the other way round.
fn scaled(value: u64, decimals: usize) -> String {
    let divisor = 10u64.pow(decimals as u32);
    let mut text = (value / divisor).to_string();
    if !value.is_multiple_of(divisor) {
        let fraction = (divisor + value % divisor).to_string();
        text.push('.');
        text.push_str(fraction[1..].trim_end_matches('0'));
    }
    text
}

const UNITS: [(&str, u64); 5] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
];

/// `1.5s` as 1,500,000 microseconds.
fn duration(text: &str) -> Option<u64> {
    let unit_at = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let thousandths = fixed(number.trim_end(), 3)?;
    Some(thousandths.checked_mul(*unit)? / 1_000)
}

/// A duration in the largest unit that divides it.
fn scaled_duration(value: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| value.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().rev().find(fits).copied().unwrap_or(("us", 1));
    let mut text = (value / unit).to_string();
    text.push_str(if value == 0 { "s" } else { name });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(text: &str) -> Options {
        Options::parse(text).expect(text)
    }

    #[test]
    fn nothing_is_no_option() {
        for text in ["", " \n", "{}", " { } "] {
            assert_eq!(options(text).finish(), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn reads_every_kind() {
        let mut options = options(
            r#" {"a": 7, "b" : 1.25, "c":"20ms","d":true , "e":"caf\u00e9 \"\\\/\n\ud83d\ude00"} "#,
        );
        assert_eq!(options.integer("a", 0..=10), Ok(Some(7)));
        assert_eq!(options.thousandths("b", 0..=10_000), Ok(Some(1250)));
        assert_eq!(options.microseconds("c", 0..=1_000_000), Ok(Some(20_000)));
        assert_eq!(options.boolean("d"), Ok(Some(true)));
        assert_eq!(options.text("e"), Ok(Some("café \"\\/\n😀".to_string())));
        assert_eq!(options.text("f"), Ok(None));
        assert_eq!(options.finish(), Ok(()));
    }

    #[test]
    fn what_was_not_asked_for_is_refused_whatever_it_is() {
        for value in ["1", "null", "[1, {\"a\": \"]}\"}]", "{\"a\": [2]}", "\"x\""] {
            let mut options = options(&format!("{{\"tua\": {value}}}"));
            options.text("tau").unwrap();
            assert_eq!(
                options.finish().unwrap_err(),
                "unknown option `tua`; there is: `tau`"
            );
        }
        assert_eq!(
            options(r#"{"x":1}"#).finish().unwrap_err(),
            "unknown option `x`; there is: none"
        );
    }

    #[test]
    fn the_wrong_kind_names_the_option() {
        let text = r#"{"a": [], "b": -1, "c": 5, "d": "x", "e": 1.5, "f": 1e3, "g": "5 parsecs"}"#;
        let mut options = options(text);
        let error = |result: Result<Option<u64>, String>| result.unwrap_err();
        assert_eq!(
            error(options.integer("a", 0..=9)),
            "option `a` must be a whole number"
        );
        assert_eq!(
            error(options.integer("b", 0..=9)),
            "option `b` must be a whole number"
        );
        let duration = "must be a duration such as \"250ms\"";
        assert_eq!(
            error(options.microseconds("c", 0..=9)),
            format!("option `c` {duration}")
        );
        assert_eq!(
            options.boolean("d").unwrap_err(),
            "option `d` must be true or false"
        );
        assert_eq!(
            error(options.integer("e", 0..=9)),
            "option `e` must be a whole number"
        );
        assert_eq!(
            error(options.thousandths("f", 0..=9)),
            "option `f` must be a number"
        );
        assert_eq!(
            error(options.microseconds("g", 0..=9)),
            format!("option `g` {duration}")
        );
    }

    #[test]
    fn a_value_out_of_range_is_told_the_range() {
        let mut options = options(r#"{"a": 11, "b": 0.5, "c": "2h", "d": 99999999999999999999}"#);
        let error = |result: Result<Option<u64>, String>| result.unwrap_err();
        assert_eq!(
            error(options.integer("a", 1..=10)),
            "option `a` must be between 1 and 10"
        );
        assert_eq!(
            error(options.thousandths("b", 1000..=10_500)),
            "option `b` must be between 1 and 10.5"
        );
        assert_eq!(
            error(options.microseconds("c", 0..=90_000_000)),
            "option `c` must be between 0s and 90s"
        );
        assert_eq!(
            error(options.integer("d", 1..=10)),
            "option `d` must be a whole number"
        );
    }

    #[test]
    fn durations() {
        let expected = [
            ("7us", 7),
            ("1.5ms", 1500),
            ("2s", 2_000_000),
            ("3m", 180_000_000),
            ("1 h", 3_600_000_000),
        ];
        for (text, microseconds) in expected {
            assert_eq!(duration(text), Some(microseconds), "{text}");
        }
        for text in ["", "s", "5", "-1s", "1.2.3s", "1d", "9999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let wrong = [
            "7",
            "[]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1}x",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"",
            "{\"a\":tru}",
            "{\"a\":[1,2}",
            "{a:1}",
            "{\"a\":\"\n\"}",
            "tau = 5",
        ];
        for text in wrong {
            assert!(Options::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Options::parse(r#"{"a":1,"a":2}"#).unwrap_err(),
            "option `a` is there twice"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\u0-9a-f. \u{e9}-]{0,40}") {
            let _ = Options::parse(&text);
        }

        #[test]
        fn every_text_comes_back(text: String) {
            let escaped: String = text
                .chars()
                .map(|c| match c {
                    '"' | '\\' => format!("\\{c}"),
                    c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
                    c => c.to_string(),
                })
                .collect();
            let mut options = options(&format!("{{\"a\":\"{escaped}\"}}"));
            prop_assert_eq!(options.text("a"), Ok(Some(text)));
        }
    }
}
