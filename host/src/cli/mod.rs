//! The command line (only `run CONFIG` so far).

use std::process::ExitCode;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let path =
        std::path::PathBuf::from(std::env::args().nth(2).unwrap_or("anubis.toml".to_owned()));
    let settings = match crate::config::load(&path) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = crate::telemetry::log::start(&settings.log) {
        eprintln!("{error:#}");
        return ExitCode::from(1);
    }
    match crate::server::run(settings, crate::server::Source::File(path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(match error {
                crate::server::StartError::Configuration(_) => 2,
                crate::server::StartError::Plugin(_) => 3,
                crate::server::StartError::Bind(_) => 4,
                crate::server::StartError::Other(_) => 1,
            })
        }
    }
}
