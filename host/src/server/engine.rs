//! The plugin engine as a proxy has it: strangers' plugins are compiled in a
//! process of their own, and what was compiled is kept.

use anyhow::Context;

use super::StartError;
use crate::config::{CacheFolder, Mistakes, Settings};
use crate::plugin::{self, Cache, CompilerSettings, Engine};

/// An engine that compiles as `settings` say.
pub fn start(settings: &Settings, cache: Option<Cache>) -> Result<Engine, StartError> {
    let compiler = CompilerSettings {
        child: Some(settings.compile.time),
        cache,
    };
    Engine::with(compiler)
        .context("plugin engine")
        .map_err(StartError::Other)
}

/// Where compiled plugins are kept. The default place may be unusable, one that
/// is asked for may not.
pub fn cache(settings: &Settings) -> Result<Option<Cache>, StartError> {
    let (folder, asked_for) = match &settings.compile.cache {
        CacheFolder::Off => (None, false),
        CacheFolder::Default => (plugin::default_folder(), false),
        CacheFolder::At(folder) => (Some(folder.clone()), true),
    };
    let Some(folder) = folder else {
        return Ok(None);
    };
    match Cache::open(&folder) {
        Ok(cache) => Ok(Some(cache)),
        Err(error) if asked_for => {
            let what = format!("{}: {error:#}", folder.display());
            Err(StartError::Configuration(Mistakes::whole(
                "cache-dir",
                what,
            )))
        }
        Err(error) => {
            let folder = folder.display();
            tracing::info!(%folder, error = format!("{error:#}"), "compiled plugins are not kept");
            Ok(None)
        }
    }
}
