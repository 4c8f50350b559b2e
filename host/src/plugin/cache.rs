//! Compiled plugins on disk, so that a restart does not compile them again.
//!
//! What is loaded from here is run. So the folder is ours alone, an entry
//! carries a code that only a holder of the folder's key can make, and it is
//! read whole before it is believed: whatever does not fit is compiled again and
//! written over.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use wasmtime::Engine;

use super::binary::Digest;
use super::code::Code;

/// Most bytes of all entries together; the ones not used for longest go first.
const MAX_BYTES: u64 = 512 << 20;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
const OURS_ONLY: u32 = 0o600;

type Authenticator = Hmac<Sha256>;

/// A folder of compiled plugins.
pub struct Cache {
    folder: PathBuf,
    authenticator: Authenticator,
    max_bytes: u64,
}

/// The name of an entry: a digest of everything that the code depends on.
pub(super) struct Name(String);

impl Name {
    /// The name of what `engine` makes of `component`.
    pub(super) fn of(engine: &Engine, component: &[u8]) -> Self {
        let mut parts = Collector(Digest::of(component).to_string().into_bytes());
        engine.precompile_compatibility_hash().hash(&mut parts);
        parts.write(env!("CARGO_PKG_VERSION").as_bytes());
        Self(Digest::of(&parts.0).to_string())
    }
}

/// wasmtime gives what code depends on only to a hasher: this one keeps it.
struct Collector(Vec<u8>);

impl Hasher for Collector {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Nobody asks.
    fn finish(&self) -> u64 {
        0
    }
}

impl Cache {
    /// Uses `folder`, which is made if need be: readable by this user alone, with
    /// a random key in it.
    ///
    /// # Errors
    /// When it cannot be used, belongs to somebody else, or others may write to it.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .context("cannot be made")?;
        let found = fs::metadata(folder).context("cannot be looked at")?;
        ensure!(
            found.uid() == rustix::process::geteuid().as_raw(),
            "belongs to another user"
        );
        ensure!(found.mode() & 0o022 == 0, "others may write to it");
        let key = key(&folder.join(KEY_FILE)).context("its key")?;
        Ok(Self {
            folder: folder.to_owned(),
            authenticator: Authenticator::new_from_slice(&key).context("its key")?,
            max_bytes: MAX_BYTES,
        })
    }

    /// The entry, if it is there and whole.
    pub(super) fn get(&self, name: &Name) -> Option<Code> {
        let path = self.folder.join(&name.0);
        let file = File::open(&path).ok()?;
        // For the order in which entries go; without it this one goes early.
        let _ = file.set_modified(SystemTime::now());
        let mut entry = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut entry).ok()?;
        let (authentic, code) = entry.split_at_checked(TAG_BYTES)?;
        if self.tag(name, code).verify_slice(authentic).is_err() {
            tracing::warn!(entry = %path.display(), "a compiled plugin in the cache is damaged");
            return None;
        }
        Some(Code::ours(code.to_vec()))
    }

    /// Keeps `code`, or says in the log why it could not.
    pub(super) fn put(&self, name: &Name, code: &Code) {
        if let Err(error) = self.write(name, code).and_then(|()| self.clean_up()) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "a compiled plugin is not kept");
        }
    }

    fn write(&self, name: &Name, code: &Code) -> io::Result<()> {
        let tag = self.tag(name, code.bytes()).finalize().into_bytes();
        let aside = self.folder.join(aside());
        let mut file = create(&aside)?;
        file.write_all(&tag)?;
        file.write_all(code.bytes())?;
        // Not synced: what a crash leaves half written fails its authentication.
        fs::rename(aside, self.folder.join(&name.0))
    }

    fn tag(&self, name: &Name, code: &[u8]) -> Authenticator {
        self.authenticator
            .clone()
            .chain_update(&name.0)
            .chain_update(code)
    }

    /// Removes what has not been used for longest until the rest fits.
    fn clean_up(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another process may have removed it.
            if entry.file_name() != KEY_FILE
                && let Ok(found) = entry.metadata()
            {
                entries.push((found.modified()?, found.len(), entry.path()));
            }
        }
        entries.sort();
        let mut sum: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if sum <= self.max_bytes {
                break;
            }
            fs::remove_file(path)?;
            sum -= bytes;
        }
        Ok(())
    }
}

/// Where a cache belongs when nobody says: what systemd made for the service
/// (`CACHE_DIRECTORY`), or `anubis` in the user's own (`XDG_CACHE_HOME`, else
/// `~/.cache`). `None` for a user without any of them.
pub fn default_folder() -> Option<PathBuf> {
    default_folder_in(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn default_folder_in(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| environment(name).map(PathBuf::from);
    if let Some(all) = environment("CACHE_DIRECTORY") {
        return std::env::split_paths(&all).next();
    }
    let users = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Some(users?.join("anubis"))
}

/// The folder's key; a new one where there is none. Of two processes that make
/// one at once, one wins and both use that.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if let Err(error) = File::open(path) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        let aside = path.with_file_name(aside());
        create(&aside)?.write_all(&random_key()?)?;
        // Only the first link of this name is made; the loser reads the winner's.
        let _ = fs::hard_link(&aside, path);
        fs::remove_file(&aside)?;
    }
    let mut key = [0; KEY_BYTES];
    File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

fn random_key() -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OURS_ONLY)
        .open(path)
}

/// A file that is being written; another process writes another one.
fn aside() -> String {
    format!("{}.new", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        cache: Cache,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        Fixture { folder, cache }
    }

    impl Fixture {
        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join("cache").join(name)
        }

        fn get(&self, name: &str) -> Option<Vec<u8>> {
            let code = self.cache.get(&Name(name.to_owned()))?;
            Some(code.bytes().to_vec())
        }

        fn put(&self, name: &str, code: &[u8]) {
            let name = Name(name.to_owned());
            self.cache.put(&name, &Code::ours(code.to_vec()));
        }
    }

    #[test]
    fn what_was_kept_is_found_again_also_by_the_next_process() {
        let fixture = fixture();
        assert_eq!(fixture.get("a"), None);
        fixture.put("a", b"code");
        assert_eq!(fixture.get("a").unwrap(), b"code");
        let again = Cache::open(&fixture.path("")).unwrap();
        assert_eq!(again.get(&Name("a".into())).unwrap().bytes(), b"code");
    }

    #[test]
    fn a_flipped_bit_is_never_given_out() {
        let fixture = fixture();
        fixture.put("a", b"code");
        let whole = fs::read(fixture.path("a")).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(fixture.path("a"), damaged).unwrap();
            assert_eq!(fixture.get("a"), None, "byte {at}");
        }
        for length in [0, TAG_BYTES - 1, TAG_BYTES, whole.len() - 1] {
            fs::write(fixture.path("a"), &whole[..length]).unwrap();
            assert_eq!(fixture.get("a"), None, "{length} bytes");
        }
    }

    #[test]
    fn an_entry_is_no_other_entry() {
        let fixture = fixture();
        fixture.put("a", b"code");
        fs::rename(fixture.path("a"), fixture.path("b")).unwrap();
        assert_eq!(fixture.get("b"), None);
    }

    #[test]
    fn another_folders_entry_is_not_believed() {
        let (ours, theirs) = (fixture(), fixture());
        theirs.put("a", b"code");
        fs::copy(theirs.path("a"), ours.path("a")).unwrap();
        assert_eq!(ours.get("a"), None);
    }

    #[test]
    fn the_folder_is_for_nobody_else() {
        let fixture = fixture();
        let mode = |name| fs::metadata(fixture.path(name)).unwrap().mode() & 0o777;
        fixture.put("a", b"code");
        assert_eq!((mode(""), mode("a"), mode(KEY_FILE)), (0o700, 0o600, 0o600));
        for open in [0o770, 0o707, 0o702] {
            let others = fs::Permissions::from_mode(open);
            fs::set_permissions(fixture.path(""), others).unwrap();
            let why = Cache::open(&fixture.path("")).err().unwrap();
            assert_eq!(why.to_string(), "others may write to it", "{open:o}");
        }
    }

    #[test]
    fn what_cannot_be_a_folder_is_refused() {
        let fixture = fixture();
        let why = Cache::open(&fixture.path(KEY_FILE)).err().unwrap();
        assert_eq!(why.to_string(), "cannot be made");
        fs::write(fixture.path(KEY_FILE), "short").unwrap();
        let why = Cache::open(&fixture.path("")).err().unwrap();
        assert_eq!(why.to_string(), "its key");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut fixture = fixture();
        fixture.cache.max_bytes = 3 * (TAG_BYTES as u64 + 4);
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        for (name, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
            fixture.put(name, b"code");
            let file = File::open(fixture.path(name)).unwrap();
            file.set_modified(long_ago + Duration::from_secs(seconds))
                .unwrap();
        }
        // Using it makes it the youngest.
        fixture.get("a").unwrap();
        fixture.put("d", b"code");
        for (name, there) in [("a", true), ("b", false), ("c", true), ("d", true)] {
            assert_eq!(fixture.get(name).is_some(), there, "{name}");
        }
    }

    #[test]
    fn the_default_is_systemds_or_the_users() {
        let folder = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            default_folder_in(|name| find(name).map(|(_, value)| value.into()))
        };
        let (systemd, xdg, home) = (
            ("CACHE_DIRECTORY", "/var/cache/a:/var/cache/b"),
            ("XDG_CACHE_HOME", "/xdg"),
            ("HOME", "/home/me"),
        );
        assert_eq!(folder(&[systemd, xdg, home]), Some("/var/cache/a".into()));
        assert_eq!(folder(&[xdg, home]), Some("/xdg/anubis".into()));
        assert_eq!(folder(&[home]), Some("/home/me/.cache/anubis".into()));
        assert_eq!(folder(&[]), None);
    }

    #[test]
    fn a_name_depends_on_component_and_engine() {
        let name = |config: &wasmtime::Config, component: &[u8]| {
            Name::of(&Engine::new(config).unwrap(), component).0
        };
        let plain = wasmtime::Config::new();
        let mut other = wasmtime::Config::new();
        other.epoch_interruption(true);
        assert_eq!(name(&plain, b"x"), name(&plain, b"x"));
        assert_ne!(name(&plain, b"x"), name(&plain, b"y"));
        assert_ne!(name(&plain, b"x"), name(&other, b"x"));
        assert_eq!(name(&plain, b"x").len(), 64);
    }
}
