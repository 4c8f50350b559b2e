//! The contract's types (`wit/lb.wit`) as wasmtime sees them, and their
//! conversions. Written by hand, not generated: they are few, and linking and
//! loading compare every one of them with the plugin's own types.

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::strategy::{Outcome, PickRequest, Routing};

use super::instance::Answer;

/// Package and version that plugins are written for; any `0.1.x` matches.
pub(super) const PACKAGE: &str = "anubis:lb";
pub(super) const VERSION: &str = "0.1.0";

/// Interfaces that a plugin may import.
pub(super) const IMPORTS: [&str; 5] = ["types", "log", "inbound", "members", "shared"];

/// `anubis:lb/NAME@0.1.0`
pub(super) fn interface(name: &str) -> String {
    format!("{PACKAGE}/{name}@{VERSION}")
}

/// `types.request`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Request {
    key: u64,
    random: u64,
    sequence: u64,
    #[component(name = "now-us")]
    now_us: u64,
    generation: u32,
    attempt: u32,
}

impl From<&PickRequest> for Request {
    #[inline]
    fn from(request: &PickRequest) -> Self {
        Self {
            key: request.key,
            random: request.random,
            sequence: request.sequence,
            now_us: request.now_us,
            generation: request.generation,
            attempt: request.attempt,
        }
    }
}

/// `types.refusal`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Refusal {
    #[component(name = "fallback")]
    Fallback,
    #[component(name = "wait")]
    Wait,
    #[component(name = "reject")]
    Reject(u16),
}

/// What `strategy.pick` returns.
pub(super) type PickResult = Result<u32, Refusal>;

#[inline]
pub(super) fn answer(result: PickResult) -> Answer {
    match result {
        Ok(index) => Answer::Index(index),
        Err(Refusal::Fallback) => Answer::Fallback,
        Err(Refusal::Wait) => Answer::Wait,
        Err(Refusal::Reject(status)) => Answer::Reject(status),
    }
}

/// `types.outcome`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct GuestOutcome {
    tag: u64,
    id: u32,
    #[component(name = "latency-us")]
    latency_us: u32,
    status: u32,
    failure: u32,
    attempt: u32,
}

impl From<&Outcome> for GuestOutcome {
    fn from(outcome: &Outcome) -> Self {
        Self {
            tag: outcome.tag,
            id: outcome.id,
            latency_us: outcome.latency_us,
            status: outcome.status,
            failure: outcome.failure as u32,
            attempt: outcome.attempt,
        }
    }
}

/// `types.routing`
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum GuestRouting {
    #[component(name = "weights")]
    Weights(Vec<u32>),
    #[component(name = "two-choices")]
    TwoChoices(Vec<u32>),
    #[component(name = "table")]
    Table(Vec<u32>),
    #[component(name = "order")]
    Order(Vec<u32>),
}

impl From<GuestRouting> for Routing {
    fn from(routing: GuestRouting) -> Self {
        match routing {
            GuestRouting::Weights(weights) => Self::Weights(weights),
            GuestRouting::TwoChoices(weights) => Self::TwoChoices(weights),
            GuestRouting::Table(entries) => Self::Table(entries),
            GuestRouting::Order(order) => Self::Order(order),
        }
    }
}

/// `types.level`
#[expect(dead_code, reason = "lifting makes them without naming them")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}
