//! What `[pools.NAME.sticky]` means.

use std::path::Path;

use toml::Spanned;

use super::{set, time};
use crate::config::file;
use crate::config::read::Report;
use crate::config::secret::Secret;
use crate::config::values::Text;
use crate::config::{Carrier, CookieSettings, OnLost, SameSite, StickySettings};

/// How a pool's sessions stay with their backend; nothing when that is wrong.
pub fn sticky(
    written: Spanned<file::Sticky>,
    folder: &Path,
    report: &mut Report<'_>,
) -> Option<StickySettings> {
    let span = written.span();
    let mut written = written.into_inner();
    let carrier = match (written.cookie.take(), written.header.take()) {
        (Some(cookie), None) => {
            let at = cookie.span();
            let cookie = cookie_settings(cookie.into_inner().0.0, &written, report);
            if let Some(what) = broken_promise(&cookie) {
                report.mistake(&at, what);
            }
            Carrier::Cookie(cookie)
        }
        (None, Some(header)) => {
            refuse_attributes(&written, report);
            Carrier::Header(header.into_inner().0)
        }
        (Some(_), Some(header)) => {
            report.mistake(&header.span(), "there is a `cookie` already: one of both");
            return None;
        }
        (None, None) => {
            report.missing(
                &span,
                "cookie",
                "sessions need a `cookie` or a `header` that carries their token",
            );
            return None;
        }
    };
    Some(StickySettings {
        ttl: written.ttl.map(time),
        secret: written
            .secret_file
            .and_then(|path| secret(&path, folder, report)),
        on_lost: match written.on_lost {
            Some(file::OnLost::Reject) => OnLost::Reject,
            Some(file::OnLost::Move) | None => OnLost::Move,
        },
        ..StickySettings::new(carrier)
    })
}

fn cookie_settings(
    name: String,
    written: &file::Sticky,
    report: &mut Report<'_>,
) -> CookieSettings {
    let mut cookie = CookieSettings::new(name);
    let path = written.path.as_ref().map(Spanned::get_ref);
    set(&mut cookie.path, path.map(|Text(path)| path.0.clone()));
    let domain = written.domain.as_ref().map(Spanned::get_ref);
    cookie.domain = domain.map(|Text(domain)| domain.0.clone());
    set(
        &mut cookie.secure,
        written.secure.as_ref().map(|it| *it.get_ref()),
    );
    set(
        &mut cookie.http_only,
        written.http_only.as_ref().map(|it| *it.get_ref()),
    );
    let same_site = written.same_site.as_ref().map(|it| match it.get_ref() {
        file::SameSite::Lax => SameSite::Lax,
        file::SameSite::Strict => SameSite::Strict,
        file::SameSite::None => SameSite::None,
    });
    set(&mut cookie.same_site, same_site);
    if let Some(at) = &written.same_site
        && cookie.same_site == SameSite::None
        && !cookie.secure
    {
        report.mistake(
            &at.span(),
            "browsers take \"none\" only with `secure = true`",
        );
    }
    cookie
}

/// What a name promises to browsers, which they hold it to, and that this cookie does
/// not keep (RFC 6265bis section 4.1.3).
fn broken_promise(cookie: &CookieSettings) -> Option<&'static str> {
    let name = cookie.name.to_ascii_lowercase();
    let whole_host = cookie.path == "/" && cookie.domain.is_none();
    if name.starts_with("__host-") && !(cookie.secure && whole_host) {
        return Some(
            "browsers take `__Host-` only with `secure = true`, path \"/\" and no `domain`",
        );
    }
    if name.starts_with("__secure-") && !cookie.secure {
        return Some("browsers take `__Secure-` only with `secure = true`");
    }
    None
}

/// What belongs to a cookie means nothing of a header.
fn refuse_attributes(written: &file::Sticky, report: &mut Report<'_>) {
    let spans = [
        written.path.as_ref().map(Spanned::span),
        written.domain.as_ref().map(Spanned::span),
        written.secure.as_ref().map(Spanned::span),
        written.http_only.as_ref().map(Spanned::span),
        written.same_site.as_ref().map(Spanned::span),
    ];
    for span in spans.into_iter().flatten() {
        report.mistake(
            &span,
            "is for a `cookie`, and a `header` carries the token here",
        );
    }
}

fn secret(path: &Spanned<String>, folder: &Path, report: &mut Report<'_>) -> Option<Secret> {
    match Secret::read(&folder.join(path.get_ref())) {
        Ok(secret) => Some(secret),
        Err(error) => {
            report.mistake(&path.span(), format!("{error:#}"));
            None
        }
    }
}
