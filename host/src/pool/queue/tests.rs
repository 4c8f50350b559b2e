use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Whether somebody was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Somebody in line who is polled by hand.
struct Waiter {
    place: Place,
    woken: Arc<Flag>,
}

impl Waiter {
    fn join(queue: &Arc<Queue>) -> Waiter {
        Waiter {
            place: queue.join(usize::MAX).expect("there is no limit"),
            woken: Arc::default(),
        }
    }

    fn is_turn(&mut self) -> bool {
        self.woken.0.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        self.place
            .poll_turn(&mut Context::from_waker(&waker))
            .is_ready()
    }

    fn was_woken(&self) -> bool {
        self.woken.0.load(SeqCst)
    }

    /// Looks in vain, and says whether it sleeps then.
    fn looks_in_vain(&mut self, held: Held) -> bool {
        assert!(self.is_turn());
        self.place.stay(held);
        !self.is_turn()
    }
}

fn queue() -> Arc<Queue> {
    Arc::default()
}

/// So many, asleep for want of room.
fn asleep<const N: usize>(queue: &Arc<Queue>) -> [Waiter; N] {
    std::array::from_fn(|number| {
        let mut waiter = Waiter::join(queue);
        match number {
            0 => assert!(waiter.looks_in_vain(Held::NoRoom)),
            _ => assert!(!waiter.is_turn()),
        }
        waiter
    })
}

#[test]
fn the_first_looks_at_once_and_who_comes_later_does_not() {
    let queue = queue();
    let mut first = Waiter::join(&queue);
    let mut second = Waiter::join(&queue);
    assert!(first.is_turn());
    assert!(!second.is_turn());
    assert_eq!(queue.len(), 2);
}

#[test]
fn a_full_queue_takes_nobody() {
    let queue = queue();
    let first = queue.join(2);
    let second = queue.join(2);
    assert!(first.is_some() && second.is_some());
    assert!(queue.join(2).is_none());
    drop(first);
    assert!(queue.join(2).is_some());
    assert!(queue.join(0).is_none());
}

#[test]
fn room_goes_to_who_came_first() {
    let queue = queue();
    let mut waiters = Vec::from(asleep::<3>(&queue));
    queue.freed();
    while !waiters.is_empty() {
        let mut told = waiters.remove(0);
        assert!(told.was_woken() && told.is_turn());
        told.place.enter();
        assert!(waiters.iter().all(|waiter| !waiter.was_woken()));
        queue.freed();
    }
    assert!(queue.is_empty() && !queue.has_precedence());
}

#[test]
fn as_many_are_told_as_there_is_room() {
    let queue = queue();
    let waiters = asleep::<3>(&queue);
    queue.freed();
    queue.freed();
    assert_eq!(
        waiters.each_ref().map(Waiter::was_woken),
        [true, true, false]
    );
}

#[test]
fn who_leaves_with_a_word_passes_it_on() {
    let queue = queue();
    let [told, next, last] = asleep(&queue);
    queue.freed();
    assert!(told.was_woken());
    drop(told);
    assert!(next.was_woken() && !last.was_woken());
}

#[test]
fn who_finds_room_where_there_may_be_more_has_the_next_look() {
    let queue = queue();
    let [mut first, mut second, third] = asleep(&queue);
    queue.changed();
    assert!(first.was_woken() && !second.was_woken());
    assert!(first.is_turn());
    first.place.enter();
    assert!(second.was_woken());
    // Only to look: what is freed now is its own, and not the next one's.
    queue.freed();
    assert!(second.is_turn() && !third.was_woken());
    second.place.enter();
    assert!(third.was_woken());
}

#[test]
fn who_leaves_asleep_is_nobodys_business() {
    let queue = queue();
    let [first, second, third] = asleep(&queue);
    drop(second);
    assert_eq!(queue.len(), 2);
    assert!(!first.was_woken() && !third.was_woken());
    queue.freed();
    queue.freed();
    assert!(first.was_woken() && third.was_woken());
}

#[test]
fn room_that_comes_while_somebody_looks_is_looked_at() {
    let queue = queue();
    let mut waiter = Waiter::join(&queue);
    assert!(waiter.is_turn());
    queue.freed();
    waiter.place.stay(Held::NoRoom);
    assert!(waiter.is_turn(), "it looks again");
    waiter.place.stay(Held::NoRoom);
    assert!(!waiter.is_turn());
}

#[test]
fn a_second_word_goes_to_the_next_when_the_first_is_about_to_look() {
    let queue = queue();
    let [mut first, second] = asleep(&queue);
    queue.freed();
    queue.freed();
    assert!(first.was_woken() && second.was_woken());
    assert!(first.looks_in_vain(Held::NoRoom), "one word, one look");
}

#[test]
fn what_is_not_for_one_is_for_the_next() {
    let queue = queue();
    let [mut choosy, next, last] = asleep(&queue);
    queue.freed();
    assert!(choosy.looks_in_vain(Held::NotForIt));
    assert!(next.was_woken() && !last.was_woken());
}

#[test]
fn choosy_ones_are_in_nobodys_way() {
    let queue = queue();
    let mut choosy = Waiter::join(&queue);
    assert!(queue.has_precedence());
    assert!(choosy.looks_in_vain(Held::NotForIt));
    assert!(!queue.has_precedence());
    let mut newcomer = Waiter::join(&queue);
    assert!(newcomer.is_turn(), "nobody is ahead of it");
    queue.freed();
    assert!(choosy.was_woken(), "but it came sooner");
    assert!(queue.has_precedence());
}

#[test]
fn one_word_asks_a_few_choosy_ones_and_then_whoever_takes_anything() {
    let queue = queue();
    let mut choosy: Vec<Waiter> = (0..40).map(|_| Waiter::join(&queue)).collect();
    for waiter in &mut choosy {
        assert!(waiter.looks_in_vain(Held::NotForIt));
    }
    let mut plain = Waiter::join(&queue);
    assert!(plain.looks_in_vain(Held::NoRoom));
    let asked = |choosy: &mut Vec<Waiter>| {
        let mut asked = 0;
        while let Some(waiter) = choosy.iter_mut().find(|waiter| waiter.was_woken()) {
            assert!(waiter.looks_in_vain(Held::NotForIt));
            asked += 1;
        }
        asked
    };
    queue.freed();
    assert_eq!(asked(&mut choosy), 1 + OFFERS as usize);
    assert!(plain.was_woken());
    assert!(plain.looks_in_vain(Held::NoRoom));
    queue.changed();
    assert_eq!(asked(&mut choosy), 40, "a sweep asks everybody");
    assert!(plain.was_woken());
}

#[test]
fn a_sweep_is_made_once_for_all_workers() {
    let queue = queue();
    let [mut waiter] = asleep(&queue);
    queue.keep_house(1_000_000);
    assert!(waiter.was_woken());
    assert!(waiter.looks_in_vain(Held::NoRoom));
    queue.keep_house(1_000_000);
    queue.keep_house(1_000_000 + SWEEP_EVERY_US - 1);
    assert!(!waiter.was_woken());
    queue.keep_house(1_000_000 + SWEEP_EVERY_US);
    assert!(waiter.was_woken());
}

#[test]
fn a_change_of_standing_is_told_to_who_waits() {
    let queue = queue();
    let eligibility = crate::pool::Eligibility::waking(&queue);
    let [first] = asleep(&queue);
    eligibility.changed();
    assert!(first.was_woken());
}

/// What somebody wants: anything, or one of two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Any,
    Only(usize),
}

#[derive(Debug, Clone)]
enum Step {
    Arrives(Wish),
    /// One that runs frees room of this kind.
    Frees(usize),
    /// Whoever this number falls on among those that may go on does so.
    GoesOn(usize),
    /// Whoever this number falls on has left.
    Leaves(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let wish = prop_oneof![
        3 => Just(Wish::Any),
        1 => Just(Wish::Only(0)),
        1 => Just(Wish::Only(1)),
    ];
    prop_oneof![
        3 => wish.prop_map(Step::Arrives),
        3 => (0..2_usize).prop_map(Step::Frees),
        6 => any::<usize>().prop_map(Step::GoesOn),
        1 => any::<usize>().prop_map(Step::Leaves),
    ]
}

/// A pool with two kinds of room, whose requests are moved by hand, so that
/// everything may happen between a look and what follows from it.
struct Model {
    queue: Arc<Queue>,
    free: [usize; 2],
    taken: [usize; 2],
    line: BTreeMap<usize, (Waiter, Wish, Next)>,
    arrived: usize,
    served: Vec<usize>,
}

/// What a waiter does when it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Asks,
    Stays(Held),
    Sleeps,
}

impl Model {
    fn new(free: [usize; 2]) -> Model {
        Model {
            queue: queue(),
            free,
            taken: [0; 2],
            line: BTreeMap::new(),
            arrived: 0,
            served: Vec::new(),
        }
    }

    fn take(&mut self, wish: Wish) -> Result<(), Held> {
        let kind = match wish {
            Wish::Any => self.free.iter().position(|&free| free > 0),
            Wish::Only(kind) => Some(kind).filter(|&kind| self.free[kind] > 0),
        };
        let kind = kind.ok_or(match wish {
            Wish::Any => Held::NoRoom,
            Wish::Only(_) => Held::NotForIt,
        })?;
        self.free[kind] -= 1;
        self.taken[kind] += 1;
        Ok(())
    }

    fn arrives(&mut self, wish: Wish) {
        let number = self.arrived;
        self.arrived += 1;
        if !self.queue.has_precedence() && self.take(wish).is_ok() {
            return self.served.push(number);
        }
        let waiter = Waiter::join(&self.queue);
        self.line.insert(number, (waiter, wish, Next::Asks));
    }

    fn frees(&mut self, kind: usize) {
        if self.taken[kind] > 0 {
            self.taken[kind] -= 1;
            self.free[kind] += 1;
            self.queue.freed();
        }
    }

    fn who_may_go_on(&self) -> Vec<usize> {
        let awake = |waiter: &Waiter, next: Next| next != Next::Sleeps || waiter.was_woken();
        let line = self.line.iter();
        line.filter(|(_, (waiter, _, next))| awake(waiter, *next))
            .map(|(&number, _)| number)
            .collect()
    }

    fn goes_on(&mut self, number: usize) {
        let Some((mut waiter, wish, next)) = self.line.remove(&number) else {
            return;
        };
        let next = match next {
            Next::Asks | Next::Sleeps if !waiter.is_turn() => Next::Sleeps,
            Next::Asks | Next::Sleeps => match self.take(wish) {
                Ok(()) => {
                    waiter.place.enter();
                    return self.served.push(number);
                }
                Err(held) => Next::Stays(held),
            },
            Next::Stays(held) => {
                waiter.place.stay(held);
                Next::Asks
            }
        };
        self.line.insert(number, (waiter, wish, next));
    }

    /// Everybody goes on until nobody may.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            match self.who_may_go_on().first() {
                Some(&number) => self.goes_on(number),
                None => return,
            }
        }
        panic!("they never come to rest");
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Arrives(wish) => self.arrives(wish),
            Step::Frees(kind) => self.frees(kind),
            Step::GoesOn(which) => {
                let awake = self.who_may_go_on();
                if let Some(&number) = awake.get(which % awake.len().max(1)) {
                    self.goes_on(number);
                }
            }
            Step::Leaves(which) => {
                let numbers: Vec<usize> = self.line.keys().copied().collect();
                if let Some(number) = numbers.get(which % numbers.len().max(1)) {
                    self.line.remove(number);
                }
            }
        }
    }

    fn waits_for(&self, wish: Wish) -> bool {
        self.line.values().any(|(_, wished, _)| *wished == wish)
    }
}

proptest! {
    #[test]
    fn nobody_sleeps_beside_free_room(
        free in [0..3_usize, 0..3_usize],
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut model = Model::new(free);
        for step in steps {
            model.take_step(step);
            prop_assert_eq!(model.queue.len(), model.line.len());
        }
        model.settle();
        let is_free = model.free.iter().sum::<usize>() > 0;
        prop_assert!(!is_free || !model.waits_for(Wish::Any), "no sweep was needed");
        model.queue.changed();
        model.settle();
        for kind in 0..2 {
            prop_assert!(model.free[kind] == 0 || !model.waits_for(Wish::Only(kind)));
        }
        model.line.clear();
        prop_assert!(model.queue.is_empty() && !model.queue.has_precedence());
    }

    #[test]
    fn first_come_first_served(
        room in 1..4_usize,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        // All want the same, and none lets another wait while it may go on.
        let mut model = Model::new([room, 0]);
        for step in steps {
            let step = match step {
                Step::Arrives(_) => Step::Arrives(Wish::Any),
                Step::Frees(_) => Step::Frees(0),
                step => step,
            };
            model.take_step(step);
            model.settle();
        }
        prop_assert!(model.served.is_sorted(), "{:?}", model.served);
    }
}

proptest! {
    #[test]
    fn with_room_for_one_nothing_changes_the_order(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        // Whatever happens between a look and what follows from it.
        let mut model = Model::new([1, 0]);
        for step in steps {
            model.take_step(match step {
                Step::Arrives(_) => Step::Arrives(Wish::Any),
                Step::Frees(_) => Step::Frees(0),
                step => step,
            });
        }
        prop_assert!(model.served.is_sorted(), "{:?}", model.served);
    }
}

/// A thread that sleeps until it is woken.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the turn; false if `patience` is over before.
fn turn(place: &mut Place, patience: Duration) -> bool {
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let over = Instant::now() + patience;
    loop {
        if place.poll_turn(&mut Context::from_waker(&waker)).is_ready() {
            return true;
        }
        let left = over.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
    }
}

/// A pool with room for a few, entered as requests enter theirs.
struct Door {
    queue: Arc<Queue>,
    inside: AtomicU32,
}

impl Door {
    const ROOM: u32 = 2;

    fn try_enter(&self) -> bool {
        let one_more = |inside| (inside < Door::ROOM).then_some(inside + 1);
        self.inside.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, SeqCst);
        self.queue.freed();
    }

    /// False if it took too long.
    fn enter(&self, patience: Duration) -> bool {
        if !self.queue.has_precedence() && self.try_enter() {
            return true;
        }
        let mut place = self.queue.join(usize::MAX).expect("there is no limit");
        while turn(&mut place, patience) {
            if self.try_enter() {
                place.enter();
                return true;
            }
            place.stay(Held::NoRoom);
        }
        false
    }
}

#[test]
fn threads_that_come_and_go_lose_no_word() {
    let door = Door {
        queue: queue(),
        inside: AtomicU32::new(0),
    };
    let most = AtomicU32::new(0);
    thread::scope(|scope| {
        for number in 0..8 {
            let (door, most) = (&door, &most);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(number);
                for _ in 0..3_000 {
                    let impatient = random.u8(..4) == 0;
                    // A word that is lost is missed for good: there are no sweeps.
                    let patience = match impatient {
                        true => Duration::from_micros(random.u64(..50)),
                        false => Duration::from_secs(30),
                    };
                    let entered = door.enter(patience);
                    assert!(entered || impatient, "somebody sleeps beside free room");
                    if entered {
                        most.fetch_max(door.inside.load(SeqCst), Relaxed);
                        // So that others come while it is inside, even on one core.
                        thread::yield_now();
                        door.leave();
                    }
                }
            });
        }
    });
    assert!(door.queue.is_empty() && !door.queue.has_precedence());
    assert_eq!(door.inside.into_inner(), 0);
    assert!(most.into_inner() <= Door::ROOM);
}
