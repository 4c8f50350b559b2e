//! A report as a protocol buffer, `xds.data.orca.v3.OrcaLoadReport`, in Base64.
//!
//! Of the encoding only what it takes to find doubles and maps of doubles is here:
//! <https://protobuf.dev/programming-guides/encoding/>.

use super::Unusable;
use crate::config::Metric;

/// The bytes that Base64 stands for (RFC 4648, 4); the padding may be left out, as
/// gRPC leaves it out.
pub fn decode(text: &str) -> Result<Vec<u8>, Unusable> {
    let text = text.trim().trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        if group.len() == 1 {
            return Err(Unusable);
        }
        let mut bits = 0_u32;
        for &letter in group {
            bits = bits << 6 | u32::from(sextet(letter)?);
        }
        bits <<= 6 * (4 - group.len());
        let [_, whole @ ..] = bits.to_be_bytes();
        bytes.extend_from_slice(&whole[..group.len() - 1]);
    }
    Ok(bytes)
}

fn sextet(letter: u8) -> Result<u8, Unusable> {
    Ok(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return Err(Unusable),
    })
}

/// The value of `metric` in `message`; the last one, where there are several.
///
/// # Errors
/// When this is no message.
pub fn value(message: &[u8], metric: &Metric) -> Result<Option<f64>, Unusable> {
    let wanted = match metric {
        Metric::Cpu => 1,
        Metric::Memory => 2,
        Metric::Utilization(_) => 5,
        Metric::Named(_) => 8,
        Metric::Application => 9,
    };
    let (_, name) = metric.field();
    let mut found = None;
    let mut rest = message;
    while let Some((number, content)) = next(&mut rest)? {
        if number != wanted {
            continue;
        }
        match content {
            Content::Fixed64(bits) => found = Some(f64::from_bits(bits)),
            Content::Bytes(entry) => found = value_of_entry(entry, name)?.or(found),
            Content::Other => {}
        }
    }
    Ok(found)
}

/// The value of a map's entry, if its key is `name`.
fn value_of_entry(entry: &[u8], name: &str) -> Result<Option<f64>, Unusable> {
    let (mut is_it, mut value) = (false, 0.0);
    let mut rest = entry;
    while let Some((number, content)) = next(&mut rest)? {
        match (number, content) {
            (1, Content::Bytes(key)) => is_it = key == name.as_bytes(),
            (2, Content::Fixed64(bits)) => value = f64::from_bits(bits),
            _ => {}
        }
    }
    Ok(is_it.then_some(value))
}

/// What a field holds.
enum Content<'m> {
    Fixed64(u64),
    Bytes(&'m [u8]),
    Other,
}

/// Takes the next field from `rest`: its number and its content.
fn next<'m>(rest: &mut &'m [u8]) -> Result<Option<(u64, Content<'m>)>, Unusable> {
    if rest.is_empty() {
        return Ok(None);
    }
    let tag = varint(rest)?;
    let content = match tag & 7 {
        0 => {
            varint(rest)?;
            Content::Other
        }
        1 => {
            let (bytes, after) = rest.split_first_chunk().ok_or(Unusable)?;
            *rest = after;
            Content::Fixed64(u64::from_le_bytes(*bytes))
        }
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Unusable)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(Unusable)?;
            *rest = after;
            Content::Bytes(bytes)
        }
        5 => {
            *rest = rest.get(4..).ok_or(Unusable)?;
            Content::Other
        }
        _ => return Err(Unusable),
    };
    Ok(Some((tag >> 3, content)))
}

/// Takes a number of at most ten bytes from `rest`.
fn varint(rest: &mut &[u8]) -> Result<u64, Unusable> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(Unusable)?;
        *rest = after;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_as_rfc_4648_has_it() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text), Ok(bytes.as_bytes().to_vec()), "{text}");
        }
        assert_eq!(decode("+/+/"), Ok(vec![0xfb, 0xff, 0xbf]));
        for wrong in ["Z", "Zm9vY", "Zm9v!", "Zm 9", "Zg==Zg"] {
            assert_eq!(decode(wrong), Err(Unusable), "{wrong}");
        }
    }

    #[test]
    fn the_last_one_of_a_field_counts_and_others_are_passed_over() {
        let mut message = vec![0x18, 0x96, 0x01]; // field 3: 150
        message.extend([0x15, 1, 2, 3, 4]); // field 2, 32 bits wide, is none of ours
        for value in [0.25_f64, 0.5] {
            message.push(0x09);
            message.extend(value.to_le_bytes());
        }
        assert_eq!(value(&message, &Metric::Cpu), Ok(Some(0.5)));
        assert_eq!(value(&message, &Metric::Memory), Ok(None));
        message.truncate(message.len() - 1);
        assert_eq!(value(&message, &Metric::Cpu), Err(Unusable), "cut off");
    }

    #[test]
    fn a_map_is_looked_up_by_its_key() {
        let entry = |key: &str, number: f64| {
            let mut entry = vec![0x0a, key.len() as u8];
            entry.extend(key.as_bytes());
            entry.push(0x11);
            entry.extend(number.to_le_bytes());
            [vec![0x2a, entry.len() as u8], entry].concat()
        };
        let message = [entry("disk", 0.75), entry("net", 0.125)].concat();
        let found = |name: &str| value(&message, &Metric::Utilization(name.to_owned()));
        assert_eq!(found("disk"), Ok(Some(0.75)));
        assert_eq!(found("net"), Ok(Some(0.125)));
        assert_eq!(found("gpu"), Ok(None));
        assert_eq!(value(&message, &Metric::Named("disk".to_owned())), Ok(None));
    }

    #[test]
    fn lengths_and_numbers_that_are_not_there_are_refused() {
        for message in [
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f][..], // 4 GiB
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            &[0xff; 11],
            &[0x0b], // a group, which ended long ago
            &[0x09, 0, 0],
            &[0x08],
        ] {
            assert_eq!(value(message, &Metric::Cpu), Err(Unusable), "{message:x?}");
        }
    }
}
