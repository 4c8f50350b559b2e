//! Where a guest was when it failed: the names of its functions, made readable, and
//! harmless, because a plugin chooses them.

use std::fmt::{self, Write};

use wasmtime::WasmBacktrace;

use super::imports::escape;

/// Most functions that are told, innermost first. A panic in Rust has seven of its own
/// before the one that it happened in.
pub(super) const FRAMES: usize = 16;
/// Most bytes of one name, before what a terminal must not see is written out.
const NAME: usize = 128;
/// Most bytes of all of them: a backtrace is one line of the log.
const ALL: usize = 1024;
/// Longest name that is taken apart to be made readable, in bytes.
const MANGLED: usize = 1024;

/// The functions that a call was in, innermost first: `in a, called by b, called by c`.
/// `None` where the component has no names.
pub(super) fn of(error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let frames = backtrace.frames().iter();
    told(frames.map(|frame| (frame.func_name(), frame.func_index())))
}

fn told<'a>(frames: impl Iterator<Item = (Option<&'a str>, u32)> + Clone) -> Option<String> {
    if frames.clone().all(|(name, _)| name.is_none()) {
        return None;
    }
    let mut text = String::new();
    for (name, index) in frames.take(FRAMES) {
        let name = match name {
            Some(name) => escape(&readable(name), NAME),
            None => format!("function {index}"),
        };
        let link = if text.is_empty() {
            "in "
        } else {
            ", called by "
        };
        if text.len() + link.len() + name.len() > ALL {
            text.push_str(" ...");
            break;
        }
        text += link;
        text += &name;
    }
    Some(text)
}

/// As its author wrote it, where the name is that of a Rust or C++ compiler.
fn readable(name: &str) -> String {
    if name.len() > MANGLED {
        return name.to_owned();
    }
    let mut text = Short::default();
    // What does not fit is cut off: a short name can stand for a very long one.
    let written = if let Ok(symbol) = rustc_demangle::try_demangle(name) {
        // Without the hash.
        write!(text, "{symbol:#}")
    } else if let Ok(symbol) = cpp_demangle::Symbol::new(name) {
        symbol.structured_demangle(&mut text, &cpp_demangle::DemangleOptions::default())
    } else {
        return name.to_owned();
    };
    match (written, text.0.is_empty()) {
        (Err(_), true) => name.to_owned(),
        (Ok(()) | Err(_), _) => text.0,
    }
}

/// Takes somewhat more than is told of a name, and no more.
#[derive(Default)]
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = (2 * NAME).saturating_sub(self.0.len());
        self.0 += &piece[..piece.floor_char_boundary(room)];
        match piece.len() <= room {
            true => Ok(()),
            false => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn of(names: &[Option<&str>]) -> Option<String> {
        told(names.iter().copied().zip(10..))
    }

    #[test]
    fn names_are_as_their_authors_wrote_them() {
        let names = [
            Some("_ZN11my_strategy4cost17h0123456789abcdefE"),
            Some("_RNvNtCs1234_7mycrate3foo3bar"),
            Some("_ZN6anubis4pickEjj"),
            Some("pick"),
            None,
        ];
        assert_eq!(
            of(&names).unwrap(),
            "in my_strategy::cost, called by mycrate::foo::bar, called by anubis::pick(unsigned \
             int, unsigned int), called by pick, called by function 14"
        );
    }

    #[test]
    fn who_has_no_names_has_no_backtrace() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[None, None]), None);
    }

    #[test]
    fn nothing_in_a_name_reaches_a_terminal_or_another_line() {
        let text = of(&[
            Some("a\nERROR forged"),
            Some("\u{1b}[2J"),
            Some("\u{202e}txt"),
        ])
        .unwrap();
        assert_eq!(
            text,
            "in a\\nERROR forged, called by \\u{1b}[2J, called by \\u{202e}txt"
        );
    }

    #[test]
    fn neither_a_name_nor_all_of_them_are_longer_than_a_line_bears() {
        let long = "x".repeat(1 << 20);
        let text = of(&[Some(&*long)]).unwrap();
        assert!(text.len() < NAME + 10, "{}", text.len());
        let text = of(&[Some(&*long); 100]).unwrap();
        assert!(text.len() <= ALL + 4 && text.ends_with(" ..."), "{text}");
        let text = of(&[Some("a"); 100]).unwrap();
        assert_eq!(text.matches(", called by").count(), FRAMES - 1);
    }

    /// Each level of such a name stands for two of the one before.
    #[test]
    fn a_name_that_stands_for_an_enormous_one_takes_no_time() {
        let mut name = "_Z1fI1A".to_owned();
        for substitution in "_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".chars().skip(1) {
            name += &format!("S{substitution}_IS{substitution}_S{substitution}_E");
        }
        name += "Evv";
        let nested = format!("_Z1f{}1A{}v", "P1BI".repeat(200), "E".repeat(200));
        let begin = Instant::now();
        for name in [name, nested, format!("_R{}", "INvB_".repeat(180))] {
            assert!(readable(&name).len() <= MANGLED, "{name}");
        }
        // Written out, they would be more text than there is memory: no machine is so slow
        // that this could be mistaken for it.
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    proptest! {
        #[test]
        fn any_name_is_harmless(name in "(_Z|_R)?[ -~\\PC]{0,200}", index: u32) {
            let text = told([(Some(&*name), index)].into_iter()).unwrap();
            prop_assert!(text.chars().all(|character| !character.is_control()));
            prop_assert!(text.len() <= 16 * NAME);
        }
    }
}
