//! Header maps that were used before and are used again: making one costs two allocations.
//!
//! hyper reads a client's next request into the map of the answer to the last one. Here an
//! answer is read into the map of some request before, and so no new ones are made.

use std::cell::RefCell;

use http::HeaderMap;

/// Fields that a map has room for at least: the request that it comes to hold next gets
/// some more from the proxy, and would have to grow for them.
pub const ROOM: usize = 12;

/// Maps that a thread keeps; with more room than this, none are.
const MOST: usize = 64;
const LARGEST: usize = 128;

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map.
pub fn take() -> HeaderMap {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// A map that is of no use any more, whatever is in it.
pub fn give(mut map: HeaderMap) {
    // One without room is no use, nor does one that was large once stay for ever.
    if map.capacity() == 0 || map.capacity() > LARGEST {
        return;
    }
    map.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST {
            spare.push(map);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HOST;

    use super::*;

    #[test]
    fn a_map_comes_back_empty_with_its_room() {
        let mut map = HeaderMap::with_capacity(ROOM);
        map.insert(HOST, HeaderValue::from_static("secret"));
        let capacity = map.capacity();
        give(map);
        let map = take();
        assert!(map.is_empty());
        assert_eq!(map.capacity(), capacity);
        assert_eq!(take().capacity(), 0, "there was one");
    }

    #[test]
    fn only_so_many_are_kept_and_none_that_are_large() {
        give(HeaderMap::new());
        give(HeaderMap::with_capacity(LARGEST + 1));
        assert_eq!(take().capacity(), 0);
        for _ in 0..2 * MOST {
            give(HeaderMap::with_capacity(ROOM));
        }
        assert_eq!(SPARE.with_borrow(Vec::len), MOST);
    }
}
