//! How many connections there are: in all, and of each client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Open connections, and the acceptors that wait for one to end.
#[derive(Default)]
pub struct Crowd {
    open: AtomicUsize,
    ended: Notify,
}

/// A connection that is counted until it is dropped.
pub struct Counted(Arc<Crowd>);

impl Crowd {
    /// Fewer than `most` are open.
    pub fn has_room(&self, most: usize) -> bool {
        self.open.load(SeqCst) < most
    }

    /// Waits until fewer than `most()` are open. Acceptors look before they
    /// accept: each may be one connection late.
    pub async fn room(&self, most: impl Fn() -> usize) {
        loop {
            let mut ended = pin!(self.ended.notified());
            // From here on none ends unnoticed.
            ended.as_mut().enable();
            if self.has_room(most()) {
                return;
            }
            ended.await;
        }
    }

    /// Counts a connection.
    pub fn enter(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, SeqCst);
        Counted(Arc::clone(self))
    }

    /// The limit may be another now.
    pub fn look_again(&self) {
        self.ended.notify_waiters();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        self.0.look_again();
    }
}

/// The connections of each client of one listener, where they are limited.
#[derive(Default)]
pub struct Clients(Mutex<HashMap<IpAddr, usize>>);

/// A connection that is counted for its client until it is dropped.
pub struct OfClient {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// Counts a connection of the client at `address`, unless it has `most`.
    pub fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<OfClient> {
        let client = client_at(address);
        let mut clients = self.lock();
        let open = clients.entry(client).or_default();
        if *open >= most {
            return None;
        }
        *open += 1;
        Some(OfClient {
            clients: Arc::clone(self),
            client,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        let mut clients = self.clients.lock();
        if let Some(open) = clients.get_mut(&self.client) {
            *open -= 1;
            if *open == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// Who an address belongs to. Of IPv6 a client has a whole /64 (RFC 6177), so
/// that it could use another address for each connection.
fn client_at(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            Ipv6Addr::from(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn who_waits_for_room_hears_of_it() {
        let crowd = Arc::new(Crowd::default());
        let first = crowd.enter();
        let mut waits = pin!(crowd.room(|| 1));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        drop(first);
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn a_raised_limit_is_room() {
        let crowd = Arc::new(Crowd::default());
        let _first = crowd.enter();
        let most = AtomicUsize::new(1);
        let mut waits = pin!(crowd.room(|| most.load(SeqCst)));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        most.store(2, SeqCst);
        crowd.look_again();
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn each_client_has_its_own_count_and_none_leaves_a_trace() {
        let clients = Arc::new(Clients::default());
        let first = clients.enter(ip("10.0.0.1"), 1);
        assert!(first.is_some());
        assert!(clients.enter(ip("10.0.0.1"), 1).is_none());
        assert!(clients.enter(ip("::ffff:10.0.0.1"), 1).is_none());
        assert!(clients.enter(ip("10.0.0.2"), 1).is_some());
        drop(first);
        assert!(clients.enter(ip("10.0.0.1"), 1).is_some());
        assert!(clients.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = Arc::new(Clients::default());
        let _first = clients.enter(ip("2001:db8::1"), 1).expect("room");
        assert!(clients.enter(ip("2001:db8::2"), 1).is_none());
        assert!(clients.enter(ip("2001:db8:0:1::1"), 1).is_some());
    }
}
