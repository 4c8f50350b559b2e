//! As much JSON as a flat object of options needs.

/// A value as far as [`Options`](super::Options) look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// As it was written.
    Number(String),
    Boolean(bool),
    /// `null`, an array or an object: no option is one of these.
    Other,
}

/// Reads an object, and nothing after it.
pub fn object(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut reader = Reader { text, at: 0 };
    let members = reader.members()?;
    match reader.peek() {
        None => Ok(members),
        Some(_) => Err(reader.expected("the end")),
    }
}

/// How deep arrays and objects may lie in one another.
const DEPTH: u32 = 32;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn members(&mut self) -> Result<Vec<(String, Value)>, String> {
        let mut members = Vec::new();
        self.expect(b'{', "an object of options: `{`")?;
        if self.take(b'}') {
            return Ok(members);
        }
        loop {
            self.expect(b'"', "an option's name in quotes")?;
            let name = self.string()?;
            self.expect(b':', "`:`")?;
            members.push((name, self.value(DEPTH)?));
            if self.take(b'}') {
                return Ok(members);
            }
            self.expect(b',', "`,` or `}`")?;
        }
    }

    fn value(&mut self, depth: u32) -> Result<Value, String> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string().map(Value::Text)
            }
            Some(b'[' | b'{') if depth > 0 => self.nested(depth - 1),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(self.word().to_string())),
            _ => match self.word() {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                "null" => Ok(Value::Other),
                _ => Err(self.expected("a value")),
            },
        }
    }

    /// An array or an object: only passed over.
    fn nested(&mut self, depth: u32) -> Result<Value, String> {
        let named = self.take(b'{');
        let end = if named { b'}' } else { b']' };
        if !named {
            self.at += 1;
        }
        if self.take(end) {
            return Ok(Value::Other);
        }
        loop {
            if named {
                self.expect(b'"', "a name in quotes")?;
                self.string()?;
                self.expect(b':', "`:`")?;
            }
            self.value(depth)?;
            if self.take(end) {
                return Ok(Value::Other);
            }
            self.expect(b',', "`,`")?;
        }
    }

    /// The rest of a string whose opening quote was taken.
    fn string(&mut self) -> Result<String, String> {
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .find(|c| c == '"' || c == '\\' || c < ' ')
                .unwrap_or(rest.len());
            string.push_str(&rest[..plain]);
            self.at += plain + 1;
            match rest.as_bytes().get(plain) {
                Some(b'"') => return Ok(string),
                Some(b'\\') => string.push(self.escaped()?),
                _ => return Err(self.expected("the closing quote")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let escape = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match escape {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => return self.escaped_unicode(),
            _ => return Err(self.expected("an escape")),
        })
    }

    fn escaped_unicode(&mut self) -> Result<char, String> {
        let first = self.four_digits()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        if self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let pair = [first as u16, self.four_digits()? as u16];
            if let Some(Ok(character)) = char::decode_utf16(pair).next() {
                return Ok(character);
            }
        }
        Err(self.expected("the second half of a surrogate pair"))
    }

    fn four_digits(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        number.ok_or_else(|| self.expected("four hexadecimal digits"))
    }

    /// Everything up to the next separator.
    fn word(&mut self) -> &str {
        self.skip_space();
        let rest = &self.text[self.at..];
        let end = |c: char| c.is_ascii_whitespace() || matches!(c, ',' | '}' | ']' | ':' | '"');
        let length = rest.find(end).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), String> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.expected(what))
        }
    }

    fn skip_space(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
    }

    fn expected(&self, what: &str) -> String {
        let at = self.at.min(self.text.len()).to_string();
        [
            "the options are not JSON: expected ",
            what,
            " at byte ",
            &at,
        ]
        .concat()
    }
}
