//! The configuration of the demo, as a file that can be edited.

use std::fmt::Write;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::backends::Hello;
use crate::config::StrategySource;

/// `anubis-demo.toml` in a temporary folder of its own; both are removed when
/// this is dropped.
#[derive(Debug)]
pub struct DemoFile {
    folder: PathBuf,
    file: PathBuf,
}

impl DemoFile {
    /// Writes the configuration of a proxy on `proxy` in front of `backends`.
    pub fn write(
        proxy: SocketAddr,
        strategy: &StrategySource,
        backends: &[Hello],
    ) -> io::Result<Self> {
        let strategy = match strategy {
            // The file is not where the command was typed.
            StrategySource::File(path) => std::path::absolute(path)?.display().to_string(),
            named => named.to_string(),
        };
        let name = format!(
            "anubis-demo-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        );
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let file = folder.join("anubis-demo.toml");
        let written = Self { folder, file };
        std::fs::write(&written.file, text(proxy, &strategy, backends))?;
        Ok(written)
    }

    pub fn path(&self) -> &Path {
        &self.file
    }
}

impl Drop for DemoFile {
    /// Removes no more than was made here: a folder with other files stays.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_dir(&self.folder);
    }
}

fn text(proxy: SocketAddr, strategy: &str, backends: &[Hello]) -> String {
    let strategy = toml::Value::from(strategy);
    let mut text = format!(
        "# Read again whenever it is saved. Try another strategy, a weight, or take a\n\
         # backend out while the demo runs.\n\n\
         shutdown-grace = \"2s\"\n\n\
         [[listeners]]\naddress = \"{proxy}\"\n\n\
         [pools.hello]\nstrategy = {strategy}\nhash-key = \"query:user\"\n",
    );
    for Hello { name, address, .. } in backends {
        let _ = write!(
            text,
            "\n[[pools.hello.backends]]\nname = \"{name}\"\naddress = \"http://{address}\"\nweight = 1\n"
        );
    }
    text
}
