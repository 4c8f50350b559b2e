//! Noticing that a watched file changed: written in place, renamed over, or
//! put back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use anyhow::Context;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Changes this close together are one: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(20);
/// How often [`next`] calls its `meanwhile` when nothing happens.
const IDLE: Duration = Duration::from_secs(1);

/// Why settings should be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Somebody asked.
    Reload,
    /// A watched file changed.
    Changed,
}

/// The next wish, after changes have settled; `None` when nobody can wish any
/// more. Calls `meanwhile` about once a second.
pub fn next(wishes: &mpsc::Receiver<Wish>, mut meanwhile: impl FnMut()) -> Option<Wish> {
    let mut wish = loop {
        match wishes.recv_timeout(IDLE) {
            Ok(wish) => break wish,
            Err(mpsc::RecvTimeoutError::Timeout) => meanwhile(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
        }
    };
    while let Ok(another) = wishes.recv_timeout(SETTLE) {
        if another == Wish::Reload {
            wish = another;
        }
    }
    Some(wish)
}

/// Watches files by their folders, so that a file that is renamed over, or
/// removed and written again, stays watched.
pub struct Watcher {
    notify: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    /// Read by notify's own thread for every event, written at a reload.
    names: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Watcher {
    /// Sends [`Wish::Changed`] to `wishes`.
    ///
    /// # Errors
    ///
    /// When the system has no watches left.
    pub fn new(wishes: mpsc::Sender<Wish>) -> anyhow::Result<Watcher> {
        let names: Arc<Mutex<BTreeSet<PathBuf>>> = Arc::default();
        let watched = Arc::clone(&names);
        let notify = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let names = watched
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if completes_a_change(event.kind) && event.paths.iter().any(|path| names.contains(path))
            {
                // Nobody listens any more: the process is ending.
                let _ = wishes.send(Wish::Changed);
            }
        })
        .context("watching files")?;
        Ok(Watcher {
            notify,
            folders: BTreeSet::new(),
            names,
        })
    }

    /// Watches `files` and no others.
    pub fn follow(&mut self, files: &[PathBuf]) {
        let files: BTreeSet<PathBuf> = files.iter().flat_map(|file| places(file)).collect();
        let folders: BTreeSet<PathBuf> = files
            .iter()
            .filter_map(|file| file.parent())
            .map(Path::to_path_buf)
            .collect();
        for gone in self.folders.difference(&folders) {
            let _ = self.notify.unwatch(gone);
        }
        for new in folders.difference(&self.folders) {
            if let Err(error) = self.notify.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), %error, "cannot watch, reload with SIGHUP");
            }
        }
        self.folders = folders;
        *self
            .names
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = files;
    }
}

/// Where a change of `file` can be seen: the file itself; where it is a
/// symbolic link, its target too; and the link `..data` through which
/// Kubernetes swaps a mounted folder.
fn places(file: &Path) -> Vec<PathBuf> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder
        .canonicalize()
        .unwrap_or_else(|_| folder.to_path_buf());
    let Some(name) = file.file_name() else {
        return Vec::new();
    };
    let mut places = vec![folder.join(name), folder.join("..data")];
    places.extend(file.canonicalize());
    places
}

/// A half-written file is not worth reading: wait for whoever writes to close it.
fn completes_a_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => true,
        // Only Linux says when a file was closed; elsewhere any write must do.
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => {
            !cfg!(target_os = "linux")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(files: &[PathBuf]) -> (Watcher, mpsc::Receiver<Wish>) {
        let (sender, wishes) = mpsc::channel();
        let mut watcher = Watcher::new(sender).expect("a watcher");
        watcher.follow(files);
        (watcher, wishes)
    }

    #[test]
    fn sees_writes_in_place_and_files_renamed_over_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("anubis.toml");
        std::fs::write(&file, "1").expect("written");
        let (_watcher, wishes) = watch(std::slice::from_ref(&file));

        std::fs::write(&file, "2").expect("written");
        assert_eq!(next(&wishes, || ()), Some(Wish::Changed));

        std::fs::write(folder.path().join("other"), "x").expect("written");
        let new = folder.path().join("new");
        std::fs::write(&new, "3").expect("written");
        std::fs::rename(&new, &file).expect("renamed");
        assert_eq!(next(&wishes, || ()), Some(Wish::Changed));
        assert!(wishes.try_recv().is_err(), "one change was seen as two");
    }

    #[test]
    fn sees_a_change_behind_a_symbolic_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "1").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        let (_watcher, wishes) = watch(&[link]);
        std::fs::write(&target, "2").expect("written");
        assert_eq!(next(&wishes, || ()), Some(Wish::Changed));
    }

    #[test]
    fn a_wish_outweighs_a_change() {
        let (sender, wishes) = mpsc::channel();
        sender.send(Wish::Changed).expect("sent");
        sender.send(Wish::Reload).expect("sent");
        assert_eq!(next(&wishes, || ()), Some(Wish::Reload));
        drop(sender);
        assert_eq!(next(&wishes, || ()), None);
    }
}
