//! Noticing that a watched file changed: written in place, renamed over, or
//! put back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Watches files by their folders, so that a file that is renamed over, or
/// removed and written again, stays watched.
pub struct Watcher {
    notify: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    /// Read by notify's own thread for every event, written at a reload.
    names: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Watcher {
    /// Calls `changed`, on a thread of its own, after a watched file was written.
    ///
    /// # Errors
    ///
    /// When the system has no watches left.
    pub fn new(changed: impl Fn() + Send + 'static) -> anyhow::Result<Watcher> {
        let names: Arc<Mutex<BTreeSet<PathBuf>>> = Arc::default();
        let watched = Arc::clone(&names);
        let notify = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let names = watched
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if completes_a_change(event.kind) && event.paths.iter().any(|path| names.contains(path))
            {
                changed();
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
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn watch(files: &[PathBuf]) -> (Watcher, mpsc::Receiver<()>) {
        let (sender, changes) = mpsc::channel();
        let mut watcher =
            Watcher::new(move || sender.send(()).unwrap_or_default()).expect("a watcher");
        watcher.follow(files);
        (watcher, changes)
    }

    /// Waits for a change and for what belongs to it.
    fn change(changes: &mpsc::Receiver<()>) {
        changes.recv_timeout(Duration::from_secs(20)).expect("seen");
        while changes.recv_timeout(Duration::from_millis(50)).is_ok() {}
    }

    #[test]
    fn sees_writes_in_place_and_files_renamed_over_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("anubis.toml");
        std::fs::write(&file, "1").expect("written");
        let (_watcher, changes) = watch(std::slice::from_ref(&file));

        std::fs::write(&file, "2").expect("written");
        change(&changes);

        std::fs::write(folder.path().join("other"), "x").expect("written");
        let new = folder.path().join("new");
        std::fs::write(&new, "3").expect("written");
        std::fs::rename(&new, &file).expect("renamed");
        change(&changes);
    }

    #[test]
    fn sees_a_change_behind_a_symbolic_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "1").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        let (_watcher, changes) = watch(&[link]);
        std::fs::write(&target, "2").expect("written");
        change(&changes);
    }
}
