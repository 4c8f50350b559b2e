//! The proxy as an operator meets it: a process with a configuration file,
//! signals, log lines on standard error, and an exit code.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::within;

/// The program, which Cargo builds before the tests of this package and puts
/// beside the folder that holds them.
pub fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("the system knows what runs");
    let folder = tests
        .parent()
        .and_then(Path::parent)
        .expect("test binaries are in deps/");
    folder.join("anubis-under-test")
}

/// The program with these arguments, its output caught.
pub fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    command_at(&program(), arguments)
}

/// The same where the program lies at `path`.
pub fn command_at<'a>(path: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(path);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Nothing that it compiles is left behind in the user's cache.
    for variable in ["CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"] {
        command.env_remove(variable);
    }
    command
}

/// How a program that ends by itself ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs the program to its end.
pub async fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Ended {
    let running = Running::start(command(arguments));
    let code = running.ended().await;
    Ended {
        code,
        stdout: running.stdout(),
        stderr: running.stderr(),
    }
}

/// A proxy that is serving.
pub struct Proxy {
    folder: TempDir,
    running: Running,
    address: SocketAddr,
}

/// A folder with a configuration, and whatever else the proxy is to find there.
pub struct Folder(TempDir);

impl Folder {
    /// A folder with this `anubis.toml`.
    pub fn with(config: impl ToString) -> Self {
        let folder = Self(tempfile::tempdir().expect("the temporary folder is writable"));
        folder.file("anubis.toml", config.to_string())
    }

    /// Adds a file.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(name), content).expect("the temporary folder is writable");
        self
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts the proxy; the folder is left to whoever has it.
    pub fn running(&self) -> Running {
        Running::start(command([
            "run",
            &self.path("anubis.toml").to_string_lossy(),
        ]))
    }

    /// Starts the proxy by a link in the folder, `anubis`, which may lead elsewhere
    /// later, and waits until it listens.
    pub async fn start_by_link(self) -> Proxy {
        let link = self.path("anubis");
        std::os::unix::fs::symlink(program(), &link).expect("the temporary folder is writable");
        let configuration = self.path("anubis.toml");
        let command = command_at(&link, ["run", &configuration.to_string_lossy()]);
        self.started(Running::start(command)).await
    }

    /// Starts the proxy and waits until it listens.
    pub async fn start(self) -> Proxy {
        let running = self.running();
        self.started(running).await
    }

    async fn started(self, running: Running) -> Proxy {
        let address = running.address().await;
        Proxy {
            folder: self.0,
            running,
            address,
        }
    }

    /// Runs the proxy, which is expected to end by itself.
    pub async fn run(&self) -> Ended {
        run(["run", &*self.path("anubis.toml").to_string_lossy()]).await
    }

    /// Runs `anubis check` on the configuration.
    pub async fn check(&self) -> Ended {
        run(["check", &*self.path("anubis.toml").to_string_lossy()]).await
    }
}

impl Proxy {
    /// Starts the proxy with this configuration and waits until it listens.
    pub async fn start(config: impl ToString) -> Self {
        Folder::with(config).start().await
    }

    /// Where its first listener listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub fn process(&self) -> &Running {
        &self.running
    }

    /// The path of a file beside the configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in place.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("the temporary folder is writable");
    }

    /// Writes a file aside and renames it over the old one, as editors and
    /// deployment tools do.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let aside = self.path(&format!("{name}.new"));
        std::fs::write(&aside, content).expect("the temporary folder is writable");
        std::fs::rename(aside, self.path(name)).expect("both are in one folder");
    }

    /// Writes the configuration in place.
    pub fn configure(&self, config: impl ToString) {
        self.write("anubis.toml", config.to_string());
    }

    /// Waits for the next log line whose message contains `text`.
    pub async fn log(&self, text: &str) -> Value {
        self.running.log(text).await
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.running.signal(Signal::HUP);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.running.signal(Signal::TERM);
    }

    /// Waits for the process to end; its exit code.
    pub async fn exit(&self) -> Option<i32> {
        self.running.ended().await
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        self.running.status("VmRSS:") * 1024
    }

    /// Waits until it is below `bytes`.
    pub async fn resident_below(&self, bytes: u64) {
        within(&format!("less than {bytes} bytes of memory"), async {
            // The kernel sends no event for it.
            while self.resident() >= bytes {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

/// A started program; dropping it kills it, and whatever it has started.
pub struct Running {
    child: Mutex<Child>,
    /// Where another process has taken its place.
    successor: Mutex<Option<Pid>>,
    stdout: Arc<Mutex<String>>,
    lines: Arc<Mutex<Lines>>,
    changed: watch::Receiver<Progress>,
}

#[derive(Default)]
struct Lines {
    all: Vec<String>,
    /// Lines before this one have been waited for.
    next: usize,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    lines: usize,
    stdout: usize,
    /// Output streams at their end; both are when the process is over.
    ended: usize,
}

impl Running {
    /// Starts a program.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            // To be ended as a whole.
            .process_group(0)
            .spawn()
            .expect("the program is built and executable");
        let (progress, changed) = watch::channel(Progress::default());
        let progress = Arc::new(progress);
        let lines = Arc::<Mutex<Lines>>::default();
        let stdout = Arc::<Mutex<String>>::default();
        // What is not caught is at its end.
        let uncaught = || progress.send_modify(|progress| progress.ended += 1);
        match child.stderr.take() {
            Some(stderr) => read_lines(stderr, lines.clone(), progress.clone()),
            None => uncaught(),
        }
        match child.stdout.take() {
            Some(text) => read_text(text, stdout.clone(), progress.clone()),
            None => uncaught(),
        }
        Self {
            child: Mutex::new(child),
            successor: Mutex::default(),
            stdout,
            lines,
            changed,
        }
    }

    /// The address of the first listener that says it listens.
    pub async fn address(&self) -> SocketAddr {
        let line = self.log("listening").await;
        let address = line["address"].as_str().unwrap_or_default();
        address
            .parse()
            .unwrap_or_else(|_| panic!("no address in {line}"))
    }

    /// The same, or `None` when the process ends without listening.
    pub async fn address_or_end(&self) -> Option<SocketAddr> {
        let line = self.log_or_end("listening").await?;
        line["address"].as_str()?.parse().ok()
    }

    /// Waits for the next log line whose message contains `text`; it and the
    /// lines before it will not be found again.
    pub async fn log(&self, text: &str) -> Value {
        let line = self.log_or_end(text).await;
        line.unwrap_or_else(|| {
            panic!(
                "the proxy ended without logging {text:?}:\n{}",
                self.stderr()
            )
        })
    }

    async fn log_or_end(&self, text: &str) -> Option<Value> {
        let mut changed = self.changed.clone();
        let line = async {
            loop {
                let ended = changed.borrow_and_update().ended == 2;
                if let Some(line) = self.take_line(text) {
                    return Some(line);
                }
                if ended {
                    return None;
                }
                // The sender lives until the streams end, which `ended` says.
                let _ = changed.changed().await;
            }
        };
        within(&format!("the log line {text:?}"), line).await
    }

    /// Whether a line with this text has been logged so far, waited for or not.
    pub fn logged(&self, text: &str) -> bool {
        self.stderr().contains(text)
    }

    /// Waits until standard output contains `text`; everything written so far.
    pub async fn printed(&self, text: &str) -> String {
        let mut changed = self.changed.clone();
        let printed = async {
            while !self.stdout().contains(text) {
                assert!(
                    changed.borrow_and_update().ended < 2,
                    "the program ended without {text:?}: {}",
                    self.stdout()
                );
                let _ = changed.changed().await;
            }
        };
        within(&format!("{text:?} on standard output"), printed).await;
        self.stdout()
    }

    /// Waits for the process to end; its exit code, `None` if a signal ended it.
    pub async fn ended(&self) -> Option<i32> {
        let mut changed = self.changed.clone();
        let over = changed.wait_for(|progress| progress.ended == 2);
        within("the process to end", over).await.ok();
        let ended = async {
            // Where nothing was caught the streams say nothing.
            loop {
                let status = self.child.lock().expect("no holder panics").try_wait();
                if let Some(status) = status.expect("it is our child") {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the process to end", ended).await
    }

    /// Sends SIGUSR2 and waits until another process serves and this one has
    /// ended: from then on that is the process.
    pub async fn upgrade(&self) {
        self.signal(Signal::USR2);
        let old = self.replaced().await;
        gone(old).await;
    }

    /// Waits until another process has taken the place of this one, which may have
    /// something to finish; the number of the old one.
    pub async fn replaced(&self) -> Pid {
        let old = self.pid();
        let line = self.log("replaced by another process").await;
        let number = line["process"]
            .as_i64()
            .and_then(|it| i32::try_from(it).ok());
        let new = number.and_then(Pid::from_raw);
        *self.successor.lock().expect("no holder panics") = new;
        old
    }

    /// The number of the process.
    pub fn pid(&self) -> Pid {
        let successor = *self.successor.lock().expect("no holder panics");
        successor.unwrap_or_else(|| Pid::from_child(&self.child.lock().expect("no holder panics")))
    }

    /// Sends a signal, unless the process is over.
    pub fn signal(&self, signal: Signal) {
        if let Some(successor) = *self.successor.lock().expect("no holder panics") {
            let _ = kill_process(successor, signal);
            return;
        }
        let mut child = self.child.lock().expect("no holder panics");
        if let Ok(None) = child.try_wait() {
            // It may end in this moment; its number stays its own until waited for.
            let _ = kill_process(Pid::from_child(&child), signal);
        }
    }

    /// Everything on standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().expect("no holder panics").clone()
    }

    /// Everything on standard error so far.
    pub fn stderr(&self) -> String {
        self.lines.lock().expect("no holder panics").all.join("\n")
    }

    /// A file of `/proc/PID`.
    pub fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(self.proc(name)).expect("the process runs")
    }

    /// How many entries a folder of `/proc/PID` has.
    pub fn proc_entries(&self, name: &str) -> usize {
        self.proc_names(name).len()
    }

    /// What they are called.
    pub fn proc_names(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.proc(name)).expect("the process runs");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    }

    fn proc(&self, name: &str) -> PathBuf {
        let pid = self.pid().as_raw_pid();
        Path::new("/proc").join(pid.to_string()).join(name)
    }

    /// A number from `/proc/PID/status`.
    fn status(&self, key: &str) -> u64 {
        let text = self.proc_file("status");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect("the kernel writes this line");
        line.split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .expect("it is a number")
    }

    fn take_line(&self, text: &str) -> Option<Value> {
        let mut lines = self.lines.lock().expect("no holder panics");
        for at in lines.next..lines.all.len() {
            let Ok(line) = serde_json::from_str::<Value>(&lines.all[at]) else {
                continue;
            };
            if line["message"]
                .as_str()
                .is_some_and(|message| message.contains(text))
            {
                lines.next = at + 1;
                return Some(line);
            }
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(child) = self.child.lock() {
            // Nobody may be left of it.
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        }
        // Killed or over already: either way this reaps it.
        let _ = self.child.lock().map(|mut child| child.wait());
        if std::thread::panicking() {
            eprintln!(
                "--- the proxy's log:\n{}\n--- its output:\n{}",
                self.stderr(),
                self.stdout()
            );
        }
    }
}

/// Waits until a process has ended.
pub async fn gone(process: Pid) {
    let ended = async {
        // The kernel sends no event for it.
        while is_running(process) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the old process to end", ended).await;
}

/// There is such a process, and it is not only waiting to be waited for.
fn is_running(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid()));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        !matches!(state, Some(b'Z' | b'X') | None)
    })
}

fn read_lines(
    stderr: impl Read + Send + 'static,
    lines: Arc<Mutex<Lines>>,
    progress: Arc<watch::Sender<Progress>>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines.lock().expect("no holder panics").all.push(line);
            progress.send_modify(|progress| progress.lines += 1);
        }
        progress.send_modify(|progress| progress.ended += 1);
    });
}

fn read_text(
    mut stdout: ChildStdout,
    text: Arc<Mutex<String>>,
    progress: Arc<watch::Sender<Progress>>,
) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut piece) {
            text.lock()
                .expect("no holder panics")
                .push_str(&String::from_utf8_lossy(&piece[..length]));
            progress.send_modify(|progress| progress.stdout += length);
        }
        progress.send_modify(|progress| progress.ended += 1);
    });
}
