//! Values as they are written: text and numbers that must mean something.
//!
//! Each type knows what it expects, so that a mistake says both what was found
//! and what belongs there. The command line reads its arguments with the same
//! [`FromText`].

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Longest time that can be written: far beyond use, far below overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Something written as text, in a file or on the command line.
pub trait FromText: Sized {
    /// What belongs there, completing "expected ...".
    const EXPECTED: &'static str;

    /// Reads `text`; the error says what is wrong with it.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// A TOML string that is read by [`FromText`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<T>(PhantomData<T>);

        impl<T: FromText> Visitor<'_> for TextVisitor<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                T::from_text(text).map(Text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

/// A whole number from `MIN` to `MAX`, both allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const MIN: u64, const MAX: u64>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor<const MIN: u64, const MAX: u64>;

        impl<const MIN: u64, const MAX: u64> Visitor<'_> for WholeVisitor<MIN, MAX> {
            type Value = Whole<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(out_of_range(number, MIN, MAX)),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                if (MIN..=MAX).contains(&number) {
                    Ok(Whole(number))
                } else {
                    Err(out_of_range(number, MIN, MAX))
                }
            }
        }

        deserializer.deserialize_u64(WholeVisitor)
    }
}

/// A number from 0 to `MAX`, with or without a fraction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor<const MAX: u64 = 1000>(pub f64);

impl<'de, const MAX: u64> Deserialize<'de> for Factor<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FactorVisitor<const MAX: u64>;

        impl<const MAX: u64> Visitor<'_> for FactorVisitor<MAX> {
            type Value = Factor<MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number from 0 to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                self.visit_f64(number as f64)
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                // What is no number at all is in no range.
                match (0.0..=MAX as f64).contains(&number) {
                    true => Ok(Factor(number)),
                    false => Err(out_of_range(number, 0, MAX)),
                }
            }
        }

        deserializer.deserialize_any(FactorVisitor::<MAX>)
    }
}

fn out_of_range<E: Error>(number: impl fmt::Display, min: u64, max: u64) -> E {
    E::custom(format_args!("{number} is out of range: {min} to {max}"))
}

/// A time such as `"250ms"`, at least `MIN_MS` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time<const MIN_MS: u64>(pub Duration);

impl<const MIN_MS: u64> FromText for Time<MIN_MS> {
    const EXPECTED: &'static str = "a time with its unit such as \"250ms\", \"30s\" or \"1h\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text)
            .map_err(|error| format!("`{text}`: {error}; expected {}", Self::EXPECTED))?;
        if time < Duration::from_millis(MIN_MS) {
            return Err(format!("`{text}` is too short: at least {MIN_MS}ms"));
        }
        if time > LONGEST {
            return Err(format!("`{text}` is too long: at most 365days"));
        }
        Ok(Self(time))
    }
}

/// An amount of memory such as `"64MiB"`, from `MIN` to `MAX` bytes. By default
/// from 64 KiB (one page of a plugin's memory) to 4 GiB (all that 32 bits can
/// address).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size<const MIN: u64 = 0x1_0000, const MAX: u64 = 0x1_0000_0000>(pub usize);

impl<const MIN: u64, const MAX: u64> FromText for Size<MIN, MAX> {
    const EXPECTED: &'static str = "a size with its unit such as \"512KiB\", \"64MiB\" or \"1GiB\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match text[digits.len()..].trim_start() {
            "B" => 1,
            "kB" | "KB" => 1000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return Err(format!("`{text}`: expected {}", Self::EXPECTED)),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("`{text}`: expected {}", Self::EXPECTED))?;
        match number.checked_mul(unit) {
            Some(bytes) if (MIN..=MAX).contains(&bytes) => usize::try_from(bytes)
                .map(Self)
                .map_err(|_| format!("`{text}` is more than this machine can address")),
            _ => Err(format!(
                "`{text}` is out of range: {} to {}",
                readable(MIN),
                readable(MAX)
            )),
        }
    }
}

/// With the largest binary unit that leaves a whole number.
fn readable(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = match bytes {
        0 => 0,
        _ => (bytes.trailing_zeros() / 10).min(units.len() as u32 - 1),
    };
    let number = bytes >> (unit * 10);
    format!("{number}{}", units[unit as usize])
}
