//! What `[admin]` means.

use std::path::Path;

use toml::Spanned;

use super::set;
use crate::config::file;
use crate::config::read::Report;
use crate::config::token::Token;
use crate::config::values::Text;
use crate::config::{AdminSettings, ListenerSettings};

/// The longest upload that may be allowed, in bytes: no larger component is
/// read from a file either.
const MAX_UPLOAD: usize = 64 << 20;

/// What may be asked of the proxy while it runs, and by whom.
pub fn admin(
    written: Option<Spanned<file::Admin>>,
    listeners: &[ListenerSettings],
    folder: &Path,
    report: &mut Report<'_>,
) -> AdminSettings {
    let mut admin = AdminSettings::default();
    let Some(written) = written else {
        return admin;
    };
    let span = written.span();
    let written = written.into_inner();
    let has_token = written.token_file.is_some();
    admin.token = written
        .token_file
        .and_then(|path| token(&path, folder, report));
    admin.address = written.address.map(|address| {
        let at = address.span();
        let address = address.into_inner().0;
        if !address.ip().is_loopback() && !has_token {
            let what = "an address that others can reach needs a `token-file`";
            report.mistake(&at, what);
        }
        let same = |listener: &ListenerSettings| listener.address == address;
        if address.port() != 0 && listeners.iter().any(same) {
            report.mistake(&at, "a listener has this address");
        }
        address
    });
    admin.socket = written.socket.map(|path| folder.join(path));
    admin.state_file = written.state_file.map(|path| folder.join(path));
    let limit = written.upload_limit.map(|limit| {
        let at = limit.span();
        let Text(size) = limit.into_inner();
        if size.0 > MAX_UPLOAD {
            report.mistake(&at, "is out of range: 64KiB to 64MiB");
        }
        size.0
    });
    set(&mut admin.upload_limit, limit);
    if !admin.listens() && !report.blamed("admin") {
        let what = "neither `address` nor `socket` is set, so nobody can reach the admin API";
        report.warning(&span, what);
    }
    admin
}

fn token(path: &Spanned<String>, folder: &Path, report: &mut Report<'_>) -> Option<Token> {
    match Token::read(&folder.join(path.get_ref())) {
        Ok(token) => Some(token),
        Err(error) => {
            report.mistake(&path.span(), format!("{error:#}"));
            None
        }
    }
}
