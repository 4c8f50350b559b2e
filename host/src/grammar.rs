//! What both sides read of HTTP/1's framing, and read alike: a client's bytes in front
//! of hyper, and a backend's answers.

/// Hexadecimal digits of a chunk's size: 2^60 is more than anybody sends.
const SIZE_DIGITS: usize = 15;

/// Without the optional space around (RFC 9110, section 5.6.3): no other.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A `Content-Length` (RFC 9110, section 8.6): digits, with optional space around.
pub fn length(value: &[u8]) -> Option<u64> {
    let value = trim(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The size that a chunk begins with (RFC 9112, section 7.1), from its line without the
/// line's end; extensions may follow. `cut`: the line goes on beyond what is given, and
/// there may be anything.
pub fn chunk_size(line: &[u8], cut: bool) -> Option<u64> {
    let count = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, rest) = line.split_at(count);
    let well_formed = match trim(rest).first() {
        None => !cut,
        Some(first) => *first == b';',
    };
    if count == 0 || count > SIZE_DIGITS || !well_formed {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(u64::from);
    digits
        .iter()
        .map(digit)
        .try_fold(0, |size, digit| Some(size << 4 | digit?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(length(b" 42\t"), Some(42));
        for wrong in [
            "",
            " ",
            "+1",
            "-1",
            "1 2",
            "0x1",
            "1,1",
            "99999999999999999999",
        ] {
            assert_eq!(length(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_chunk_size_is_hexadecimal_and_may_have_extensions() {
        assert_eq!(chunk_size(b"0", false), Some(0));
        assert_eq!(chunk_size(b"1aF", false), Some(0x1af));
        assert_eq!(chunk_size(b"10 ;name=value", false), Some(16));
        assert_eq!(chunk_size(b"10;", true), Some(16));
        for wrong in ["", ";", " 1", "1 2", "g", "-1", "0x1", "1000000000000000"] {
            assert_eq!(chunk_size(wrong.as_bytes(), false), None, "{wrong}");
        }
        assert_eq!(chunk_size(b"10", true), None, "more digits may follow");
    }
}
