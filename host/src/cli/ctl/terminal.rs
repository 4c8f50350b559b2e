//! The terminal while it shows something live: a screen of its own, keys as
//! they are pressed, and everything as it was afterwards.

use std::io::{self, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// Another screen, no cursor (xterm's private modes 1049 and 25).
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Where there is no telling how large it is.
const USUAL: (usize, usize) = (80, 24);

/// A terminal that is taken over until this is dropped.
pub struct Terminal {
    /// As it was before; none where standard input is no terminal.
    before: Option<Termios>,
}

impl Terminal {
    /// Takes over standard output, which is a terminal.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        }
        let terminal = Self { before };
        write!(io::stdout(), "{ENTER}")?;
        Ok(terminal)
    }

    /// Replaces what is shown by as much of `text` as fits.
    pub fn show(&self, text: &str) -> io::Result<()> {
        let (columns, rows) = size();
        let mut screen = String::from("\x1b[H");
        for line in text.lines().take(rows.saturating_sub(1)) {
            screen.extend(line.chars().take(columns));
            screen += "\x1b[K\n";
        }
        screen += "\x1b[J";
        let mut stdout = io::stdout().lock();
        stdout.write_all(screen.as_bytes())?;
        stdout.flush()
    }

    /// The keys that are pressed from now on.
    pub fn keys() -> mpsc::Receiver<u8> {
        let (sender, keys) = mpsc::channel(1);
        // Ends with the process: a read of the terminal cannot be called off.
        std::thread::spawn(move || {
            for key in io::BufReader::new(io::stdin())
                .bytes()
                .map_while(Result::ok)
            {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        keys
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody left to tell that it failed.
        let _ = write!(io::stdout(), "{LEAVE}");
        let _ = io::stdout().flush();
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Columns and rows.
fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL,
    }
}
