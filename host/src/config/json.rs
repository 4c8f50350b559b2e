//! A pool's `config` as the text that a plugin is given.

use serde_json::{Map, Number, Value as Json};
use toml::Value;

/// A string as it is; a table as JSON (keys sorted, dates as strings).
pub fn plugin_text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        table @ Value::Table(_) => Ok(json(table)?.to_string()),
        other => Err(format!(
            "wrong type: {}, expected a table or a string",
            other.type_str()
        )),
    }
}

fn json(value: Value) -> Result<Json, String> {
    Ok(match value {
        Value::String(text) => Json::String(text),
        Value::Integer(number) => Json::Number(number.into()),
        Value::Float(number) => Number::from_f64(number)
            .map(Json::Number)
            .ok_or_else(|| format!("{number} cannot be written as JSON"))?,
        Value::Boolean(truth) => Json::Bool(truth),
        Value::Datetime(time) => Json::String(time.to_string()),
        Value::Array(elements) => Json::Array(
            elements
                .into_iter()
                .map(json)
                .collect::<Result<Vec<_>, _>>()?,
        ),
        Value::Table(table) => Json::Object(
            table
                .into_iter()
                .map(|(key, value)| Ok((key, json(value)?)))
                .collect::<Result<Map<_, _>, String>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(toml: &str) -> Result<String, String> {
        let table: toml::Table = toml.parse().expect("the test's TOML");
        plugin_text(table["config"].clone())
    }

    #[test]
    fn a_table_becomes_json() {
        let given = text(
            "config = { tau = '10s', n = 3, f = 0.5, on = true, at = 2026-01-02, list = [1, 'b'] }",
        );
        let expected = r#"{"at":"2026-01-02","f":0.5,"list":[1,"b"],"n":3,"on":true,"tau":"10s"}"#;
        assert_eq!(given.as_deref(), Ok(expected));
    }

    #[test]
    fn a_string_stays_as_it_is() {
        assert_eq!(text("config = 'a \"b\"'").as_deref(), Ok("a \"b\""));
    }

    #[test]
    fn what_json_cannot_say_is_a_mistake() {
        assert!(text("config = { f = nan }").is_err());
        assert!(text("config = 3").is_err());
    }
}
