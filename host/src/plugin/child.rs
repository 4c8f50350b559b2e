//! Compiling in a process of its own: nobody knows what a hostile plugin can
//! make a compiler do, so it gets little to do it with.
//!
//! The proxy runs its own program again ([`COMMAND`]). The child limits itself,
//! takes the plugin from standard input, and gives machine code to standard
//! output or a sentence to standard error. All three are files in memory: nobody
//! waits for a reader, and what was written is still there after the end.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};

use super::code::Code;
use super::engine;
use super::imports::escape;
use super::translate::{MAX_COMPONENT_BYTES, translate};

/// The subcommand that runs [`serve`] with the CPU time in seconds.
pub const COMMAND: &str = "compile-plugin";
/// What the child ends with when the plugin is refused; its last words say why.
pub const REFUSED: u8 = 3;

/// The very program that runs, also when its file has been replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";
/// Address space of the child. Compiling Python's runtime takes 430 MiB of memory;
/// an allocator reserves more than it uses.
const MEMORY: u64 = 2 << 30;
/// Most machine code taken. Python's runtime has 31 MiB.
const MAX_CODE: u64 = 256 << 20;
/// Most of the child's last words, in bytes.
const MAX_WORDS: usize = 4096;
/// Its standard streams, and what the runtime opens for a moment.
const FILES: u64 = 16;
/// How many times its CPU time the child may take: it yields to everything else.
const PATIENCE: u32 = 3;
/// Between two looks whether the child has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Compiles `bytes` in a child that may use `time` of CPU time.
///
/// # Errors
/// When the plugin is refused, or a limit of the child is reached; says which.
pub(super) fn compile(bytes: &[u8], time: Duration) -> Result<Code> {
    let streams = Streams::with(bytes).context("no memory for the compiler's files")?;
    let mut child = streams
        .attach(Command::new(OURSELVES).args([COMMAND, &seconds(time).to_string()]))
        .and_then(|command| command.env_clear().current_dir("/").spawn())
        .context("the compiler cannot be started")?;
    let ended = wait(&mut child, time * PATIENCE).context("waiting for the compiler")?;
    let (code, words) = streams.read().context("what the compiler wrote")?;
    ended.verdict(time, &words)?;
    Ok(Code::ours(code))
}

/// What a child reads and writes.
struct Streams {
    plugin: File,
    code: File,
    words: File,
}

impl Streams {
    fn with(bytes: &[u8]) -> io::Result<Self> {
        let file = |name| memfd_create(name, MemfdFlags::CLOEXEC).map(File::from);
        let mut plugin = file("plugin")?;
        plugin.write_all(bytes)?;
        plugin.rewind()?;
        Ok(Self {
            plugin,
            code: file("code")?,
            words: file("words")?,
        })
    }

    fn attach<'a>(&self, command: &'a mut Command) -> io::Result<&'a mut Command> {
        Ok(command
            .stdin(Stdio::from(self.plugin.try_clone()?))
            .stdout(Stdio::from(self.code.try_clone()?))
            .stderr(Stdio::from(self.words.try_clone()?)))
    }

    fn read(mut self) -> io::Result<(Vec<u8>, String)> {
        let (mut code, mut words) = (Vec::new(), Vec::new());
        self.code.rewind()?;
        self.code.take(MAX_CODE).read_to_end(&mut code)?;
        self.words.rewind()?;
        self.words.take(MAX_WORDS as u64).read_to_end(&mut words)?;
        Ok((code, String::from_utf8_lossy(&words).into_owned()))
    }
}

/// How a child ended.
struct Ended {
    status: ExitStatus,
    /// Because it was killed here.
    too_slow: bool,
}

/// Waits for the end, or brings it about. There is no waiting for a process with
/// a limit, so this looks now and then.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Ended> {
    let start = Instant::now();
    let mut too_slow = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended { status, too_slow });
        }
        if start.elapsed() > patience && !too_slow {
            child.kill()?;
            too_slow = true;
        }
        thread::sleep(LOOK);
    }
}

impl Ended {
    fn verdict(&self, time: Duration, words: &str) -> Result<()> {
        if self.status.success() {
            return Ok(());
        }
        let words = escape(words.trim(), MAX_WORDS);
        let signal = self.status.signal().and_then(Signal::from_named_raw);
        Err(match (self.status.code(), signal) {
            (Some(code), _) if code == i32::from(REFUSED) => anyhow!("{words}"),
            _ if self.too_slow => {
                let patience = humantime::format_duration(time * PATIENCE);
                anyhow!("compiling it was not done after {patience}")
            }
            (_, Some(Signal::XCPU)) => {
                let time = humantime::format_duration(time);
                anyhow!("compiling it takes more than {time} of CPU time (`compile-time`)")
            }
            (_, Some(Signal::XFSZ)) => anyhow!("it has more than {} MiB of code", MAX_CODE >> 20),
            _ if words.contains("memory allocation") => {
                anyhow!(
                    "compiling it takes more than {} MiB of memory",
                    MEMORY >> 20
                )
            }
            _ => anyhow!("the compiler failed on it ({}): {words}", self.status),
        })
    }
}

/// The child's part: compiles standard input to standard output, with what the
/// limits leave.
///
/// # Errors
/// When the plugin is refused; the caller ends with [`REFUSED`].
pub fn serve(seconds: u64) -> Result<()> {
    confine(seconds).context("the compiler cannot be limited")?;
    let mut bytes = Vec::new();
    io::stdin()
        .take(MAX_COMPONENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .context("the plugin cannot be read")?;
    let engine = wasmtime::Engine::new(&engine::config()).map_err(|error| anyhow!("{error:#}"))?;
    let code = translate(&engine, &bytes)?;
    let mut stdout = io::stdout();
    stdout.write_all(code.bytes())?;
    stdout.flush().context("its code cannot be written")
}

/// Gives up what compiling does not need.
fn confine(seconds: u64) -> io::Result<()> {
    // Nobody would read what it makes.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Should memory run out, the proxy is not the one to go. Where it is not
    // allowed, the limit of address space remains.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // The second one later kills, where the first one has a name of its own.
    limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    for (resource, most) in [
        (Resource::As, MEMORY),
        (Resource::Fsize, MAX_CODE),
        (Resource::Nofile, FILES),
        (Resource::Core, 0),
    ] {
        limit(resource, most, most)?;
    }
    Ok(())
}

/// Lowers a limit; one that is lower already stays.
fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let before = getrlimit(resource);
    let lower = |most: u64, before: Option<u64>| Some(before.map_or(most, |old| old.min(most)));
    let limits = Rlimit {
        current: lower(current, before.current),
        maximum: lower(maximum, before.maximum),
    };
    Ok(setrlimit(resource, limits)?)
}

/// Whole seconds, as the kernel counts them.
fn seconds(time: Duration) -> u64 {
    time.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(raw: i32, too_slow: bool, words: &str) -> String {
        let status = ExitStatus::from_raw(raw);
        let ended = Ended { status, too_slow };
        match ended.verdict(Duration::from_secs(60), words) {
            Ok(()) => "well".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_end_has_its_words() {
        let code = |code: u8| i32::from(code) << 8;
        for (raw, words, says) in [
            (code(0), "", "well"),
            (code(REFUSED), "too many of them\n", "too many of them"),
            (code(REFUSED), "a\nb\u{1b}", "a\\nb\\u{1b}"),
            (Signal::XCPU.as_raw(), "", "more than 1m of CPU time"),
            (Signal::XFSZ.as_raw(), "", "more than 256 MiB of code"),
            (
                Signal::ABORT.as_raw(),
                "memory allocation of 8 bytes failed",
                "more than 2048 MiB of memory",
            ),
            (Signal::SEGV.as_raw(), "", "signal: 11"),
            (code(101), "thread panicked", "thread panicked"),
        ] {
            let said = verdict(raw, false, words);
            assert!(said.contains(says), "{said}");
        }
        let said = verdict(Signal::KILL.as_raw(), true, "");
        assert!(said.contains("not done after 3m"), "{said}");
    }

    #[test]
    fn a_process_that_does_not_end_is_ended() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let ended = wait(&mut child, Duration::ZERO).unwrap();
        assert!(ended.too_slow && ended.status.signal() == Some(9));
    }

    #[test]
    fn a_second_that_has_begun_counts() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(60)), 60);
    }
}
