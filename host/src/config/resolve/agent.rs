//! What `[pools.NAME.agent-check]` means.

use std::num::NonZeroU16;

use toml::Spanned;

use super::{set, time};
use crate::config::AgentSettings;
use crate::config::file;
use crate::config::read::Report;

/// The agents of a pool's backends; none where it is not said where they listen.
pub fn agent(written: Spanned<file::AgentCheck>, report: &mut Report<'_>) -> Option<AgentSettings> {
    let span = written.span();
    let written = written.into_inner();
    let port = written.port.and_then(|port| u16::try_from(port.0).ok());
    let Some(port) = port.and_then(NonZeroU16::new) else {
        report.missing(&span, "port", "where the agents listen has to be said");
        return None;
    };
    let mut agent = AgentSettings::new(port);
    set(&mut agent.send, written.send);
    set(&mut agent.interval, written.interval.map(time));
    agent.expiry = AgentSettings::expiry_for(agent.interval);
    set(&mut agent.timeout, written.timeout.map(time));
    set(&mut agent.expiry, written.expiry.map(time));
    Some(agent)
}
