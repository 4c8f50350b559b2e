//! A request's way into its pool: how it comes to a backend for each attempt.

use std::rc::Rc;

use super::error::Refusal;
use super::request::Outgoing;
use crate::connection::Client;
use crate::telemetry::metrics::Refused;
use crate::worker::{Choice, Claim, LocalPool};

/// One request at the door of its pool.
pub struct Admission {
    client: Rc<Client>,
    pool: Rc<LocalPool>,
    key: u64,
}

impl Admission {
    /// The way to `pool` of a request with this affinity key.
    pub fn to(pool: &Rc<LocalPool>, client: &Rc<Client>, key: u64) -> Admission {
        Admission {
            client: Rc::clone(client),
            pool: Rc::clone(pool),
            key,
        }
    }

    /// Where it goes.
    pub fn pool(&self) -> &Rc<LocalPool> {
        &self.pool
    }

    /// A backend for the next attempt that is not in `tried`: the one that the
    /// request's session has, otherwise the strategy's choice.
    pub async fn claim(
        &mut self,
        outgoing: &mut Outgoing,
        tried: &[usize],
        now_us: u64,
    ) -> Result<Claim, Refusal> {
        let refused = |why| Err(Refusal::unavailable().because(why));
        match self.choose(outgoing, tried, now_us) {
            Choice::Backend(claim) => Ok(claim),
            Choice::Full => refused(Refused::Full),
            Choice::Nobody => refused(Refused::NoBackend),
            Choice::Wait => refused(Refused::Wait),
            Choice::Lost => refused(Refused::Session),
            Choice::Reject(status) => Err(Refusal::new(status).because(Refused::Reject)),
        }
    }

    fn choose(&self, outgoing: &mut Outgoing, tried: &[usize], now_us: u64) -> Choice {
        let session = outgoing.session.as_ref();
        let bound = session.and_then(|session| session.choose(&self.pool, now_us, tried));
        bound.unwrap_or_else(|| {
            let worker = &self.client.worker;
            let head = &mut outgoing.head;
            self.pool.claim(worker, now_us, head, self.key, tried)
        })
    }
}
