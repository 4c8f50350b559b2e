//! What `[pools.NAME.health-check]` means.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use toml::Spanned;

use super::{set, time};
use crate::config::file::{self, HealthType};
use crate::config::read::Report;
use crate::config::values::Text;
use crate::config::words::Host;
use crate::config::{GrpcProbe, HealthSettings, HealthStart, HttpProbe, Probe};

/// The checks of a pool's backends.
pub fn health(mut written: file::HealthCheck, report: &mut Report<'_>) -> HealthSettings {
    let kind = written.kind.unwrap_or(HealthType::Http);
    refuse_keys_of_other_types(&written, kind, report);
    let mut health = HealthSettings::new(match kind {
        HealthType::Http => Probe::Http(http(&mut written, report)),
        HealthType::Tcp => Probe::Tcp,
        HealthType::Grpc => Probe::Grpc(grpc(&mut written, report)),
    });
    health.port = written.port.and_then(|port| {
        let number = u16::try_from(port.0).ok();
        number.and_then(NonZeroU16::new)
    });
    set(&mut health.interval, written.interval.map(time));
    // The default must not be slower than what was asked for.
    health.interval_down = health.interval_down.min(health.interval);
    set(&mut health.interval_down, written.interval_down.map(time));
    set(&mut health.timeout, written.timeout.map(time));
    let times = |times: Option<file::Times>| {
        let number = times.and_then(|times| u32::try_from(times.0).ok());
        number.and_then(NonZeroU32::new)
    };
    set(&mut health.rise, times(written.rise));
    set(&mut health.fall, times(written.fall));
    set(
        &mut health.start,
        written.start.map(|start| match start {
            file::HealthStart::Healthy => HealthStart::Healthy,
            file::HealthStart::Unhealthy => HealthStart::Unhealthy,
        }),
    );
    health
}

fn http(written: &mut file::HealthCheck, report: &mut Report<'_>) -> HttpProbe {
    let mut probe = HttpProbe::default();
    let body = written.expect_body.take();
    if let Some(method) = written.method.take() {
        probe.method = method.into_inner().0.0;
    }
    if let Some(path) = written.path.take() {
        probe.path = path.into_inner().0.0;
    }
    if let Some(statuses) = written.expect_status.take() {
        let span = statuses.span();
        let ranges = statuses.into_inner().into_iter();
        probe.statuses = ranges.map(|status| status.0).collect();
        if probe.statuses.is_empty() {
            report.empty(&span, "without a status no check could be passed");
        }
    }
    probe.host = host(written.host.take());
    probe.headers = headers(written.headers.take(), report);
    if let Some(text) = body {
        let span = text.span();
        if probe.method == Method::HEAD {
            report.mistake(&span, "the answer to HEAD has no body");
        }
        probe.body = Some(text.into_inner()).filter(|text| !text.is_empty());
    }
    probe
}

fn grpc(written: &mut file::HealthCheck, report: &mut Report<'_>) -> GrpcProbe {
    GrpcProbe {
        service: written
            .service
            .take()
            .map(Spanned::into_inner)
            .unwrap_or_default(),
        host: host(written.host.take()),
        headers: headers(written.headers.take(), report),
    }
}

fn host(written: Option<Spanned<Text<Host>>>) -> Option<HeaderValue> {
    written.map(|host| host.into_inner().0.0)
}

/// Header fields from a table; those that say how a message is framed or where
/// it goes are not for the configuration to say.
fn headers(
    written: Option<Spanned<BTreeMap<String, Spanned<String>>>>,
    report: &mut Report<'_>,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in written.map(Spanned::into_inner).into_iter().flatten() {
        let span = value.span();
        match header(&name, value.get_ref()) {
            // Appended: two spellings of a name are two fields.
            Ok((name, value)) => drop(headers.append(name, value)),
            Err(what) => report.mistake(&span, what),
        }
    }
    headers
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    const OURS: [HeaderName; 6] = [
        HOST,
        CONNECTION,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        TE,
        UPGRADE,
    ];
    let name = HeaderName::try_from(name)
        .map_err(|_| format!("`{name}` cannot be the name of a header"))?;
    if name == HOST {
        return Err("the Host is what `host` says".to_owned());
    }
    if OURS.contains(&name) {
        return Err(format!("`{name}` cannot be set: it is the connection's"));
    }
    let value = HeaderValue::try_from(value)
        .map_err(|_| format!("`{name}`: the value is more than a line of text"))?;
    Ok((name, value))
}

/// A key that says nothing about this type of check was meant for another.
fn refuse_keys_of_other_types(
    written: &file::HealthCheck,
    kind: HealthType,
    report: &mut Report<'_>,
) {
    let (http, grpc) = (kind == HealthType::Http, kind == HealthType::Grpc);
    let span = |span: Option<std::ops::Range<usize>>, fits: bool| span.filter(|_| !fits);
    let only_http = "only for `type = \"http\"`";
    let not_tcp = "only for `type = \"http\"` and `\"grpc\"`";
    for (span, what) in [
        (
            span(written.method.as_ref().map(Spanned::span), http),
            only_http,
        ),
        (
            span(written.path.as_ref().map(Spanned::span), http),
            only_http,
        ),
        (
            span(written.expect_status.as_ref().map(Spanned::span), http),
            only_http,
        ),
        (
            span(written.expect_body.as_ref().map(Spanned::span), http),
            only_http,
        ),
        (
            span(written.host.as_ref().map(Spanned::span), http || grpc),
            not_tcp,
        ),
        (
            span(written.headers.as_ref().map(Spanned::span), http || grpc),
            not_tcp,
        ),
        (
            span(written.service.as_ref().map(Spanned::span), grpc),
            "only for `type = \"grpc\"`",
        ),
    ] {
        if let Some(span) = span {
            report.mistake(&span, what);
        }
    }
}
