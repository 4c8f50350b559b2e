//! Which member a session belongs to, in a token that a client keeps for us.
//!
//! A token is the hexadecimal text of
//!
//! ```text
//! identity  8 bytes  keyed hash of the member's name and address
//! began     4 bytes  Unix time in seconds; only where sessions have a ttl
//! tag      16 bytes  HMAC-SHA256 of what is before, its first half
//! ```
//!
//! so it names a backend without telling which address that is, means the same
//! in every process with the same secret, whatever the order or number of the
//! backends, and cannot be made by anybody else.

use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;
use std::time::Duration;

use hmac::{Hmac, Mac};
use rustc_hash::FxHashMap;
use sha2::Sha256;

use super::Membership;
use crate::config::StickySettings;

const IDENTITY: usize = 8;
const BEGAN: usize = 4;
/// 128 bits, the least that nobody can guess.
const TAG: usize = 16;
const SHORT: usize = IDENTITY + TAG;
const LONG: usize = IDENTITY + BEGAN + TAG;

/// What goes in front of whatever is hashed: no text of one kind is one of the other.
const FOR_IDENTITY: &[u8] = b"anubis backend\0";
const FOR_TOKEN: &[u8] = b"anubis session\0";

type Identity = [u8; IDENTITY];

/// How one pool's sessions are told from its tokens, and the other way round.
pub struct Sessions {
    /// The one to sign with, then those that were signed with before.
    keys: Vec<Key>,
    ttl: Option<Duration>,
}

/// A secret, and what its tokens call the members.
struct Key {
    mac: Hmac<Sha256>,
    /// By member, in the pool's order.
    identities: Vec<Identity>,
    member_of: FxHashMap<Identity, usize>,
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The session of this member (its index).
    Member(usize),
    /// A session of a backend that is no member (any more).
    Gone,
    /// It was one of ours, too long ago.
    Expired,
    /// We did not make it.
    Invalid,
}

impl Sessions {
    /// The sessions of `members`.
    ///
    /// # Errors
    ///
    /// When there is no secret and the system has no random bits.
    pub fn new(settings: &StickySettings, members: &Membership) -> io::Result<Sessions> {
        let keys = match &settings.secret {
            Some(secret) => secret.all().map(|it| Key::new(it, members)).collect(),
            None => vec![Key::new(own_secret()?, members)],
        };
        let ttl = settings.ttl;
        Ok(Sessions { keys, ttl })
    }

    /// The token of a session that begins at `now_s` (Unix time, in seconds) at
    /// this member.
    pub fn issue(&self, member: usize, now_s: u64) -> String {
        let mut bytes = Vec::with_capacity(LONG);
        let key = self.keys.first().expect("a secret has at least one");
        bytes.extend_from_slice(&key.identities[member]);
        if self.ttl.is_some() {
            bytes.extend_from_slice(&seconds(now_s).to_be_bytes());
        }
        let tag: [u8; TAG] = first(&key.signed(&bytes).finalize().into_bytes());
        bytes.extend_from_slice(&tag);
        hex(&bytes)
    }

    /// What `token` says at `now_s`.
    pub fn read(&self, token: &[u8], now_s: u64) -> Token {
        if token.len() != SHORT * 2 && token.len() != LONG * 2 {
            return Token::Invalid;
        }
        let mut room = [0; LONG];
        let bytes = &mut room[..token.len() / 2];
        if !unhex(token, bytes) {
            return Token::Invalid;
        }
        let Some((said, tag)) = bytes.split_last_chunk::<TAG>() else {
            return Token::Invalid;
        };
        // In constant time: how long it takes says nothing of the right one.
        let is_signed = |key: &&Key| key.signed(said).verify_truncated_left(tag).is_ok();
        let Some(key) = self.keys.iter().find(is_signed) else {
            return Token::Invalid;
        };
        let Some((identity, began)) = said.split_first_chunk::<IDENTITY>() else {
            return Token::Invalid;
        };
        if self.ttl.is_some_and(|ttl| is_over(began, ttl, now_s)) {
            return Token::Expired;
        }
        match key.member_of.get(identity) {
            Some(&member) => Token::Member(member),
            None => Token::Gone,
        }
    }
}

impl Key {
    fn new(secret: &[u8], members: &Membership) -> Key {
        let mac = keyed(secret);
        let identity = |name: &str, address: &str| {
            let mut hash = mac.clone();
            for part in [FOR_IDENTITY, name.as_bytes(), b"\0", address.as_bytes()] {
                hash.update(part);
            }
            first(&hash.finalize().into_bytes())
        };
        let members = members.list.iter();
        let identities: Vec<Identity> = members
            .map(|member| identity(&member.settings.name, &member.address))
            .collect();
        let numbered = identities.iter().copied().enumerate();
        Key {
            member_of: numbered
                .map(|(index, identity)| (identity, index))
                .collect(),
            identities,
            mac,
        }
    }

    fn signed(&self, said: &[u8]) -> Hmac<Sha256> {
        let mut tag = self.mac.clone();
        tag.update(FOR_TOKEN);
        tag.update(said);
        tag
    }
}

/// One without a beginning is from before sessions had an end. One from the
/// future was made by a clock that is ahead, and begins now.
fn is_over(began: &[u8], ttl: Duration, now_s: u64) -> bool {
    let Ok(began) = <[u8; BEGAN]>::try_from(began) else {
        return true;
    };
    let age = seconds(now_s).saturating_sub(u32::from_be_bytes(began));
    u64::from(age) >= ttl.as_secs()
}

/// Good until the year 2106.
fn seconds(unix: u64) -> u32 {
    u32::try_from(unix).unwrap_or(u32::MAX)
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes keys of any length")
}

/// The secret of this process, the same for all pools and all generations.
static SECRET: OnceLock<[u8; SECRET_BYTES]> = OnceLock::new();
const SECRET_BYTES: usize = 32;

/// What this process signs with where no secret is configured, for its successor:
/// sessions go on in that.
///
/// # Errors
///
/// When the system has no random bits.
pub fn sessions_secret() -> io::Result<String> {
    Ok(hex(own_secret()?))
}

/// Signs with what the process before signed with. Before the first pool is made.
///
/// # Errors
///
/// When it is none, or comes too late.
pub fn inherit_sessions_secret(digits: &str) -> io::Result<()> {
    let mut secret = [0; SECRET_BYTES];
    let whole = digits.len() == 2 * SECRET_BYTES && unhex(digits.as_bytes(), &mut secret);
    if !whole || SECRET.set(secret).is_err() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(())
}

fn own_secret() -> io::Result<&'static [u8; SECRET_BYTES]> {
    if let Some(secret) = SECRET.get() {
        return Ok(secret);
    }
    let mut secret = [0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(SECRET.get_or_init(|| secret))
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("a hash is longer")
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// Whether `text` has only hexadecimal digits, two for each of `bytes`, which get them.
fn unhex(text: &[u8], bytes: &mut [u8]) -> bool {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    bytes
        .iter_mut()
        .zip(text.chunks_exact(2))
        .all(|(byte, pair)| {
            let both = digit(pair[0]).zip(digit(pair[1]));
            both.is_some_and(|(high, low)| {
                *byte = high << 4 | low;
                true
            })
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{BackendSettings, Carrier, CookieSettings, PoolSettings};

    const NOW: u64 = 1_800_000_000;

    fn members(addresses: &[&str]) -> Membership {
        let backend = |address: &&str| BackendSettings::new(address.parse().expect("an address"));
        let backends = addresses.iter().map(backend).collect();
        Membership::new(&PoolSettings::new("web", backends), None)
    }

    fn sessions_of(ttl: Option<u64>, members: &Membership) -> Sessions {
        let carrier = Carrier::Cookie(CookieSettings::new("b"));
        let settings = StickySettings {
            ttl: ttl.map(Duration::from_secs),
            ..StickySettings::new(carrier)
        };
        Sessions::new(&settings, members).expect("random bits")
    }

    fn sessions(ttl: Option<u64>) -> Sessions {
        sessions_of(ttl, &members(&["a:1", "b:1", "c:1"]))
    }

    #[test]
    fn a_token_names_its_member_wherever_that_stands() {
        let token = sessions(None).issue(1, NOW);
        let moved = members(&["x:1", "c:1", "a:1", "b:1"]);
        let read = sessions_of(None, &moved).read(token.as_bytes(), NOW);
        assert_eq!(read, Token::Member(3));
        let without = members(&["a:1", "c:1"]);
        let read = sessions_of(None, &without).read(token.as_bytes(), NOW);
        assert_eq!(read, Token::Gone);
        let elsewhere = members(&["a:1", "b:2", "c:1"]);
        let read = sessions_of(None, &elsewhere).read(token.as_bytes(), NOW);
        assert_eq!(read, Token::Gone, "another address is another backend");
    }

    #[test]
    fn a_token_does_not_tell_the_address() {
        let token = sessions(None).issue(0, NOW);
        assert_eq!(token.len(), SHORT * 2);
        assert!(!token.contains(&hex(b"a:1")), "{token}");
    }

    #[test]
    fn another_secret_is_not_believed() {
        let members = members(&["a:1"]);
        let ours = sessions_of(None, &members);
        let theirs = Sessions {
            keys: vec![Key::new(b"another secret", &members)],
            ttl: None,
        };
        assert_eq!(
            theirs.read(ours.issue(0, NOW).as_bytes(), NOW),
            Token::Invalid
        );
    }

    #[test]
    fn a_secret_is_replaced_without_a_session_lost() {
        let members = members(&["a:1", "b:1"]);
        let with = |secrets: &[&[u8]]| Sessions {
            keys: secrets.iter().map(|it| Key::new(it, &members)).collect(),
            ttl: None,
        };
        let (old, both, new) = (with(&[b"old"]), with(&[b"new", b"old"]), with(&[b"new"]));
        let token = old.issue(1, NOW);
        assert_eq!(both.read(token.as_bytes(), NOW), Token::Member(1));
        assert_eq!(new.read(token.as_bytes(), NOW), Token::Invalid);
        let token = both.issue(1, NOW);
        assert_eq!(new.read(token.as_bytes(), NOW), Token::Member(1));
        assert_eq!(old.read(token.as_bytes(), NOW), Token::Invalid);
    }

    #[test]
    fn a_session_lasts_for_its_ttl_and_no_longer() {
        let sessions = sessions(Some(60));
        let token = sessions.issue(2, NOW);
        for (at, says) in [
            (NOW, Token::Member(2)),
            (NOW + 59, Token::Member(2)),
            (NOW - 3600, Token::Member(2)),
            (NOW + 60, Token::Expired),
            (u64::MAX, Token::Expired),
        ] {
            assert_eq!(sessions.read(token.as_bytes(), at), says, "{at}");
        }
    }

    #[test]
    fn a_ttl_that_comes_or_goes_is_heeded() {
        let members = members(&["a:1"]);
        let endless = sessions_of(None, &members);
        let limited = sessions_of(Some(60), &members);
        let token = endless.issue(0, NOW);
        assert_eq!(limited.read(token.as_bytes(), NOW), Token::Expired);
        let token = limited.issue(0, NOW);
        assert_eq!(endless.read(token.as_bytes(), NOW + 1000), Token::Member(0));
    }

    proptest! {
        #[test]
        fn what_was_issued_is_read(member in 0_usize..3, ttl in proptest::option::of(1_u64..1 << 20), age in 0_u64..1 << 20) {
            let sessions = sessions(ttl);
            let token = sessions.issue(member, NOW);
            let says = match ttl {
                Some(ttl) if age >= ttl => Token::Expired,
                _ => Token::Member(member),
            };
            prop_assert_eq!(sessions.read(token.as_bytes(), NOW + age), says);
        }

        #[test]
        fn no_changed_byte_is_believed(at in 0_usize..LONG * 2, to: u8, ttl in proptest::option::of(Just(60))) {
            let sessions = sessions(ttl);
            let mut token = sessions.issue(0, NOW).into_bytes();
            let at = at % token.len();
            prop_assume!(token[at] != to);
            token[at] = to;
            prop_assert_eq!(sessions.read(&token, NOW), Token::Invalid);
        }

        #[test]
        fn no_piece_and_no_longer_one_is_believed(length in 0_usize..200, ttl in proptest::option::of(Just(60))) {
            let sessions = sessions(ttl);
            let mut token = sessions.issue(0, NOW).into_bytes();
            prop_assume!(length != token.len());
            token.resize(length, b'0');
            prop_assert_eq!(sessions.read(&token, NOW), Token::Invalid);
        }

        #[test]
        fn nothing_else_is_believed(token: Vec<u8>) {
            prop_assert_eq!(sessions(None).read(&token, NOW), Token::Invalid);
        }
    }
}
