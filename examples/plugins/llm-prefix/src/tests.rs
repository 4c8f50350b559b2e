//! Native: `cargo test` needs no WebAssembly.

use super::*;
use anubis_strategy::testing::{Simulation, pool, request, survives_anything};
use std::collections::HashMap;

fn configured(text: &str) -> LlmPrefix {
    let mut strategy = LlmPrefix::default();
    strategy.configure(text).expect("these are options");
    strategy
}

fn pick(strategy: &mut LlmPrefix, key: u64, second: u64, backends: &[Backend]) -> usize {
    let request = Request {
        key,
        now_us: second * 1_000_000,
        ..Request::default()
    };
    strategy.pick(&request, backends).expect("it picks one")
}

/// Requests of some conversations, turn by turn, and who was asked for each last.
struct Chats<S> {
    strategy: S,
    /// The next request is of one of so many conversations.
    conversations: u64,
    last: HashMap<u64, u32>,
    turns: u64,
    /// Turns at a backend that had the turn before.
    warm: u64,
}

impl<S: Strategy> Chats<S> {
    fn of(conversations: u64, strategy: S) -> Self {
        Self {
            strategy,
            conversations,
            last: HashMap::new(),
            turns: 0,
            warm: 0,
        }
    }

    /// The share of the turns after a first one that found their prefix.
    fn warm(&self) -> f64 {
        self.warm as f64 / self.turns as f64
    }
}

impl<S: Strategy> Default for Chats<S> {
    fn default() -> Self {
        Self::of(100, S::default())
    }
}

impl<S: Strategy> Strategy for Chats<S> {
    fn pick(&mut self, asked: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        let key = request(asked.random % self.conversations).key;
        let index = self.strategy.pick(&Request { key, ..*asked }, backends)?;
        let id = backends[index].id;
        if let Some(last) = self.last.insert(key, id) {
            self.turns += 1;
            self.warm += u64::from(last == id);
        }
        Ok(index)
    }
}

/// What has no regard for caches: the fewest in flight.
#[derive(Default)]
struct Fewest;

impl Strategy for Fewest {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        Ok(anubis_strategy::load::least(backends, request.sequence))
    }
}

fn simulation() -> Simulation {
    Simulation::new(pool(&[1; 4]), &[50_000; 4])
}

#[test]
fn conversations_stay_where_their_prefix_is_and_all_backends_have_some() {
    let mut chats = Chats::of(400, LlmPrefix::default());
    let counts = simulation().run(&mut chats, 20_000, 16);
    assert!(chats.warm() > 0.85, "{}", chats.warm());
    assert!(
        counts.iter().all(|count| (3_000..=7_000).contains(count)),
        "{counts:?}"
    );
    let mut chats = Chats::of(400, Fewest);
    simulation().run(&mut chats, 20_000, 16);
    assert!(chats.warm() < 0.35, "{}", chats.warm());
}

#[test]
fn nobody_is_overrun_even_if_all_is_one_conversation() {
    /// Holds every choice against the bound.
    #[derive(Default)]
    struct Bounded(LlmPrefix);
    impl Strategy for Bounded {
        fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
            let index = self.0.pick(request, backends)?;
            let all: u32 = backends.iter().map(|backend| backend.in_flight).sum();
            let most = 1.5 * f64::from(all + 1) / backends.len() as f64;
            let before = f64::from(backends[index].in_flight);
            assert!(before < most.max(2.0), "{before} {most}");
            Ok(index)
        }
    }
    let counts = simulation().run(&mut Chats::of(1, Bounded::default()), 20_000, 32);
    // One may have 1.5 times the mean of eight, so twelve of the 32 at once.
    assert!(
        counts.iter().all(|count| *count <= 20_000 * 12 / 32),
        "{counts:?}"
    );
}

#[test]
fn a_conversation_gives_way_to_a_queue_and_stays_where_it_went() {
    let mut strategy = LlmPrefix::default();
    for key in (0..100).map(|number| request(number).key) {
        let mut backends = pool(&[1; 4]);
        let first = pick(&mut strategy, key, 0, &backends);
        assert_eq!(pick(&mut strategy, key, 1, &backends), first);
        // By what the backend says of itself: 9 of 20 requests; nothing is in flight.
        backends[first].utilization = 4_500;
        let second = pick(&mut strategy, key, 2, &backends);
        assert_ne!(second, first);
        // The longest prefix is there now.
        backends[first].utilization = 0;
        assert_eq!(pick(&mut strategy, key, 3, &backends), second);
        // By what is in flight; the first is warm as well.
        backends[second].in_flight = 9;
        assert_eq!(pick(&mut strategy, key, 4, &backends), first);
    }
}

#[test]
fn who_reports_a_queue_gets_no_new_conversations() {
    let mut chats = Chats::of(u64::MAX, LlmPrefix::default());
    let mut pool = simulation();
    pool.backends[0].utilization = 10_000;
    let counts = pool.run(&mut chats, 5_000, 8);
    assert_eq!(counts[0], 0, "{counts:?}");
}

#[test]
fn what_a_full_load_means_can_be_configured() {
    let mut backends = pool(&[1; 2]);
    let first = pick(&mut LlmPrefix::default(), 7, 0, &backends);
    backends[first].utilization = 2_000;
    for (text, gives_way) in [
        ("", true),
        (r#"{"full": 4}"#, false),
        (r#"{"idle": 5}"#, false),
        (r#"{"bound": 4}"#, false),
        (r#"{"full": 400, "idle": 5, "bound": 1.9}"#, true),
    ] {
        let picked = pick(&mut configured(text), 7, 0, &backends);
        assert_eq!(picked != first, gives_way, "{text}");
    }
}

#[test]
fn a_cold_conversation_is_at_home_again() {
    let mut strategy = configured(r#"{"warm": "60s"}"#);
    let mut backends = pool(&[1; 4]);
    let home = pick(&mut strategy, 7, 0, &backends);
    backends[home].in_flight = 50;
    let away = pick(&mut strategy, 7, 1, &backends);
    backends[home].in_flight = 0;
    assert_eq!(pick(&mut strategy, 7, 30, &backends), away);
    assert_eq!(pick(&mut strategy, 7, 100, &backends), home);
}

#[test]
fn workers_agree_without_a_word() {
    let backends = pool(&[1, 2, 3]);
    let (mut one, mut other) = (LlmPrefix::default(), LlmPrefix::default());
    for key in (0..100).map(|number| request(number).key) {
        let [a, b] = [&mut one, &mut other].map(|worker| pick(worker, key, 0, &backends));
        assert_eq!(a, b);
    }
}

#[test]
fn who_has_left_is_replaced_and_only_its_conversations_move() {
    let mut strategy = LlmPrefix::default();
    let all = pool(&[1; 3]);
    let keys: Vec<u64> = (0..300).map(|number| request(number).key).collect();
    let mut owners = |second: u64, backends: &[Backend]| -> Vec<u32> {
        let owner = |key: &u64| backends[pick(&mut strategy, *key, second, backends)].id;
        keys.iter().map(owner).collect()
    };
    let before = owners(0, &all);
    let after = owners(1, &all[1..]);
    for (before, after) in before.iter().zip(&after) {
        assert!(*before == 0 || before == after);
    }
    // Who is back has an old cache, if it has any.
    assert_eq!(owners(2, &all), after);
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    for (text, said) in [
        (r#"{"bound": 1}"#, "bound"),
        (r#"{"full": 0}"#, "full"),
        (r#"{"warm": "1ms"}"#, "warm"),
        (r#"{"remember": 1}"#, "remember"),
        (r#"{"ful": 1}"#, "ful"),
    ] {
        let error = LlmPrefix::default().configure(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn no_input_makes_it_panic() {
    survives_anything(LlmPrefix::default());
}
