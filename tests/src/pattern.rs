//! Bodies of any size that need no memory and betray every lost, doubled or
//! moved byte: one block repeated, its length a prime so that no buffer size
//! lines up with it.

use std::sync::LazyLock;

const LENGTH: usize = 65_521;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_u32;
    (0..LENGTH)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
});

/// The bytes of the pattern from `offset` to the end of its block, at most `limit`.
pub fn slice(offset: u64, limit: u64) -> &'static [u8] {
    let start = (offset % LENGTH as u64) as usize;
    let end = LENGTH.min(start + usize::try_from(limit).unwrap_or(LENGTH));
    &BLOCK[start..end]
}

/// The first `length` bytes of the pattern.
pub fn bytes(length: usize) -> Vec<u8> {
    BLOCK.iter().copied().cycle().take(length).collect()
}

/// Checks a body piece by piece.
#[derive(Debug, Default)]
pub struct Check {
    seen: u64,
    wrong: Option<u64>,
}

impl Check {
    /// Compares the next piece of the body.
    pub fn add(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let expected = slice(self.seen, piece.len() as u64);
            let (now, rest) = piece.split_at(expected.len());
            if now != expected && self.wrong.is_none() {
                self.wrong = Some(self.seen);
            }
            self.seen += now.len() as u64;
            piece = rest;
        }
    }

    /// The body's length, or where it first went wrong.
    pub fn result(&self) -> Result<u64, String> {
        match self.wrong {
            None => Ok(self.seen),
            Some(at) => Err(format!(
                "body differs from the pattern within {at}..{}",
                self.seen
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_pattern_in_any_pieces() {
        let body = bytes(3 * LENGTH + 7);
        for size in [1, 1000, LENGTH, body.len()] {
            let mut check = Check::default();
            body.chunks(size).for_each(|piece| check.add(piece));
            assert_eq!(check.result(), Ok(body.len() as u64));
        }
    }

    #[test]
    fn notices_a_lost_byte() {
        let mut body = bytes(2 * LENGTH);
        body.remove(LENGTH + 3);
        let mut check = Check::default();
        check.add(&body);
        assert!(check.result().is_err());
    }
}
