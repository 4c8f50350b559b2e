//! What a plugin may import: `log`, `inbound`, `members` and `shared`. This
//! list is all that a plugin can reach.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use http::header::{HOST, HeaderName};
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, WasmStr};
use wasmtime::{Result, StoreContextMut, bail};

use crate::strategy::Inbound;

use super::bindings::{IMPORTS, Level, interface};
use super::instance::{Guest, Label};

/// Longest log message taken from a plugin, in bytes.
const LOG_MESSAGE: usize = 1024;
/// Log lines of one instance: this many at once, and this many a second.
const LOG_BURST: f64 = 20.0;
const LOG_RATE: f64 = 10.0;

/// The counters of `shared`: all instances of a pool's plugin add to the same
/// ones, and they outlive a swap.
#[derive(Debug)]
pub struct SharedSlots([AtomicI64; Self::COUNT]);

impl SharedSlots {
    /// How many there are.
    pub const COUNT: usize = 1024;

    fn slot(&self, slot: u32) -> Result<&AtomicI64> {
        match usize::try_from(slot).ok().and_then(|slot| self.0.get(slot)) {
            Some(value) => Ok(value),
            None => bail!("slot {slot} of `shared` does not exist: there are 0 to 1023"),
        }
    }
}

impl Default for SharedSlots {
    fn default() -> Self {
        Self([const { AtomicI64::new(0) }; Self::COUNT])
    }
}

pub(super) fn linker(engine: &wasmtime::Engine) -> Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    for name in IMPORTS {
        let mut instance = linker.instance(&interface(name))?;
        match name {
            "log" => log(&mut instance)?,
            "inbound" => inbound(&mut instance)?,
            "members" => members(&mut instance)?,
            "shared" => shared(&mut instance)?,
            _types_only => {}
        }
    }
    Ok(linker)
}

type Store<'a> = StoreContextMut<'a, Guest>;

/// Every import is defined here: its calls are counted.
fn define<Params, Return>(
    instance: &mut LinkerInstance<'_, Guest>,
    name: &str,
    import: impl Fn(Store<'_>, Params) -> Result<Return> + Send + Sync + 'static,
) -> Result<()>
where
    Params: ComponentNamedList + Lift + 'static,
    Return: ComponentNamedList + Lower + 'static,
{
    instance.func_wrap(name, move |mut store: Store<'_>, params: Params| {
        store.data_mut().limits.admit_import()?;
        import(store, params)
    })
}

fn log(instance: &mut LinkerInstance<'_, Guest>) -> Result<()> {
    define(
        instance,
        "write",
        |mut store: Store<'_>, (level, message): (Level, WasmStr)| {
            let Some(dropped) = store.data_mut().log.admit(Instant::now()) else {
                return Ok(());
            };
            let message = escape(&message.to_str(&store)?, LOG_MESSAGE);
            store.data().log.write(level, &message, dropped);
            Ok(())
        },
    )
}

fn inbound(instance: &mut LinkerInstance<'_, Guest>) -> Result<()> {
    define(instance, "method", |store: Store<'_>, (): ()| {
        Ok((text(&store, |inbound| inbound.method.to_string()),))
    })?;
    define(instance, "path", |store: Store<'_>, (): ()| {
        Ok((text(&store, |inbound| inbound.uri.path().to_owned()),))
    })?;
    define(instance, "authority", |store: Store<'_>, (): ()| {
        Ok((text(&store, authority),))
    })?;
    define(instance, "client-address", |store: Store<'_>, (): ()| {
        let address = |inbound: &Inbound| inbound.client.map(|client| client.to_string());
        Ok((text(&store, |inbound| address(inbound).unwrap_or_default()),))
    })?;
    define(
        instance,
        "header",
        |store: Store<'_>, (name,): (WasmStr,)| {
            let name = name.to_str(&store)?;
            Ok((header(&store.data().inbound, &name),))
        },
    )?;
    define(instance, "tag", |mut store: Store<'_>, (value,): (u64,)| {
        store.data_mut().tag = value;
        Ok(())
    })
}

/// A text of the request being picked for; empty outside a pick.
fn text(store: &Store<'_>, get: impl FnOnce(&Inbound) -> String) -> String {
    let guest = store.data();
    if guest.picking {
        get(&guest.inbound)
    } else {
        String::new()
    }
}

/// The target's authority if it has one, else `Host` (RFC 9112, 3.2.2).
fn authority(inbound: &Inbound) -> String {
    match inbound.uri.authority() {
        Some(authority) => authority.as_str().to_owned(),
        None => header(inbound, HOST.as_str()).unwrap_or_default(),
    }
}

/// All values of a header, joined as RFC 9110, 5.3 allows.
fn header(inbound: &Inbound, name: &str) -> Option<String> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut values = inbound.values(&name);
    let mut joined = String::from_utf8_lossy(values.next()?.as_bytes()).into_owned();
    for value in values {
        joined.push_str(", ");
        joined.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Some(joined)
}

fn members(instance: &mut LinkerInstance<'_, Guest>) -> Result<()> {
    define(instance, "name", |store: Store<'_>, (id,): (u32,)| {
        Ok((store.data().members.name(id).map(str::to_owned),))
    })?;
    define(instance, "address", |store: Store<'_>, (id,): (u32,)| {
        Ok((store.data().members.address(id).map(str::to_owned),))
    })?;
    define(instance, "zone", |store: Store<'_>, (id,): (u32,)| {
        Ok((store.data().members.zone(id).map(str::to_owned),))
    })?;
    define(
        instance,
        "label",
        |store: Store<'_>, (id, key): (u32, WasmStr)| {
            let key = key.to_str(&store)?;
            Ok((store.data().members.label(id, &key).map(str::to_owned),))
        },
    )
}

fn shared(instance: &mut LinkerInstance<'_, Guest>) -> Result<()> {
    define(
        instance,
        "add",
        |store: Store<'_>, (slot, delta): (u32, i64)| {
            let before = store
                .data()
                .shared
                .slot(slot)?
                .fetch_add(delta, Ordering::Relaxed);
            Ok((before.wrapping_add(delta),))
        },
    )?;
    define(instance, "load", |store: Store<'_>, (slot,): (u32,)| {
        Ok((store.data().shared.slot(slot)?.load(Ordering::Relaxed),))
    })
}

/// A token bucket in front of the log, so that a plugin cannot flood it.
pub(super) struct LogGate {
    label: Label,
    tokens: f64,
    refilled: Option<Instant>,
    dropped: u64,
}

impl LogGate {
    pub(super) fn new(label: Label) -> Self {
        Self {
            label,
            tokens: LOG_BURST,
            refilled: None,
            dropped: 0,
        }
    }

    /// `None`: no line now. Else how many were dropped since the last one.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let since = now.saturating_duration_since(*self.refilled.get_or_insert(now));
        self.refilled = Some(now);
        self.tokens = (self.tokens + since.as_secs_f64() * LOG_RATE).min(LOG_BURST);
        if self.tokens < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }

    fn write(&self, level: Level, said: &str, dropped: u64) {
        let (pool, plugin) = (&*self.label.pool, &*self.label.plugin);
        match level {
            Level::Trace => tracing::trace!(pool, plugin, said, dropped, "plugin says"),
            Level::Debug => tracing::debug!(pool, plugin, said, dropped, "plugin says"),
            Level::Info => tracing::info!(pool, plugin, said, dropped, "plugin says"),
            Level::Warn => tracing::warn!(pool, plugin, said, dropped, "plugin says"),
            Level::Error => tracing::error!(pool, plugin, said, dropped, "plugin says"),
        }
    }
}

/// Text from a guest, made safe for a log line: cut at `limit` bytes, without
/// control characters and without marks that reorder what is shown.
pub(super) fn escape(text: &str, limit: usize) -> String {
    let cut = text.floor_char_boundary(limit);
    let mut safe = String::with_capacity(cut);
    for character in text[..cut].chars() {
        if character.is_control() || reorders(character) {
            // Writing to a string cannot fail.
            let _ = write!(safe, "{}", character.escape_default());
        } else {
            safe.push(character);
        }
    }
    if cut < text.len() {
        safe.push('…');
    }
    safe
}

fn reorders(character: char) -> bool {
    matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_cannot_be_forged() {
        assert_eq!(escape("a\nb\u{1b}[31m", 100), "a\\nb\\u{1b}[31m");
        assert_eq!(escape("\u{202e}x", 100), "\\u{202e}x");
        assert_eq!(escape("äöü", 3), "ä…");
        assert_eq!(escape("tänk", 100), "tänk");
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let label = Label {
            pool: Arc::from("web"),
            plugin: Arc::from("noisy"),
        };
        let mut gate = LogGate::new(label);
        let start = Instant::now();
        let admitted = (0..1000).filter(|_| gate.admit(start).is_some()).count();
        assert_eq!(admitted, 20);
        assert_eq!(gate.admit(start + Duration::from_millis(500)), Some(980));
        assert_eq!(gate.admit(start + Duration::from_millis(500)), Some(0));
    }

    #[test]
    fn headers_are_joined_and_their_names_ignore_case() {
        let mut inbound = Inbound::default();
        inbound.headers.append("accept", "a".parse().unwrap());
        inbound.headers.append("accept", "b".parse().unwrap());
        assert_eq!(header(&inbound, "Accept").as_deref(), Some("a, b"));
        assert_eq!(header(&inbound, "absent"), None);
        assert_eq!(header(&inbound, "not a name"), None);
    }

    #[test]
    fn the_authority_comes_from_the_target_or_from_host() {
        let mut inbound = Inbound::default();
        assert_eq!(authority(&inbound), "");
        inbound.headers.append("host", "a.example".parse().unwrap());
        assert_eq!(authority(&inbound), "a.example");
        inbound.uri = "http://b.example/x".parse().unwrap();
        assert_eq!(authority(&inbound), "b.example");
    }
}
