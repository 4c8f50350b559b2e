//! How many retries a pool bears: a share of its recent requests.
//!
//! Requests are not counted here but told as a running total, so that a request
//! which is not tried again costs nothing.

/// Retries are compared with the requests of so many seconds, this one included.
const WINDOW_S: u64 = 10;

/// So many retries in a window are borne however few requests there are: three a
/// second.
const RESERVE: u64 = 3 * WINDOW_S;

/// What was spent, second by second. Pure: time and totals are told.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// The second `s` is kept at `s % WINDOW_S`.
    slots: [Slot; WINDOW_S as usize],
    /// The latest that was heard of.
    latest_s: u64,
}

/// One second in which there was something to note.
#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    second: u64,
    /// All requests until its beginning, or until it was first noted: then it
    /// has less to spend, never more.
    before: u64,
    spent: u64,
    /// Something was noted.
    used: bool,
}

impl RetryBudget {
    /// So many requests have come in all. To be told about once a second.
    pub fn note(&mut self, now_us: u64, requests: u64) {
        self.slot(now_us, requests);
    }

    /// Takes what one retry costs, if there is so much: at most `percent` of the
    /// requests of the window may be spent in it. 0 is nothing at all.
    pub fn withdraw(&mut self, now_us: u64, requests: u64, percent: u8) -> bool {
        self.slot(now_us, requests);
        let (spent, recent) = self.window(requests);
        let share = recent.saturating_mul(percent.into()) / 100;
        let may = percent > 0 && spent < share.max(RESERVE);
        if may {
            self.slot(now_us, requests).spent += 1;
        }
        may
    }

    fn slot(&mut self, now_us: u64, requests: u64) -> &mut Slot {
        // Workers read the clock one after the other: one may come late.
        let second = (now_us / 1_000_000).max(self.latest_s);
        self.latest_s = second;
        let slot = &mut self.slots[(second % WINDOW_S) as usize];
        if !slot.used || slot.second != second {
            *slot = Slot {
                second,
                before: requests,
                spent: 0,
                used: true,
            };
        }
        slot
    }

    /// Retries and requests of the window.
    fn window(&self, requests: u64) -> (u64, u64) {
        let is_recent = |slot: &&Slot| slot.used && slot.second + WINDOW_S > self.latest_s;
        let recent = || self.slots.iter().filter(is_recent);
        let before = recent().map(|slot| slot.before).min().unwrap_or(requests);
        let spent = recent().map(|slot| slot.spent).sum();
        (spent, requests.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn granted(budget: &mut RetryBudget, now_us: u64, requests: u64, percent: u8) -> u64 {
        let mut count = 0;
        while budget.withdraw(now_us, requests, percent) {
            count += 1;
        }
        count
    }

    #[test]
    fn a_share_of_recent_requests_is_borne() {
        let mut budget = RetryBudget::default();
        budget.note(0, 0);
        assert_eq!(granted(&mut budget, 1, 1_000, 20), 200);
        assert_eq!(granted(&mut budget, SECOND, 1_000, 20), 0);
        assert_eq!(granted(&mut budget, SECOND, 1_100, 20), 20);
    }

    #[test]
    fn what_was_spent_is_forgotten_after_the_window() {
        let mut budget = RetryBudget::default();
        budget.note(0, 0);
        assert_eq!(granted(&mut budget, 1, 1_000, 20), 200);
        assert_eq!(granted(&mut budget, 9 * SECOND, 1_000, 20), 0);
        // The requests are as old, which leaves the reserve.
        assert_eq!(granted(&mut budget, 10 * SECOND, 1_000, 20), RESERVE);
    }

    #[test]
    fn few_requests_have_the_reserve_and_none_without_a_budget() {
        let mut budget = RetryBudget::default();
        assert_eq!(granted(&mut budget, 0, 1, 20), RESERVE);
        assert_eq!(granted(&mut RetryBudget::default(), 0, 1_000, 0), 0);
    }

    proptest! {
        /// With each retry that is granted, the window up to it has no more than its
        /// share: whatever comes, and also where seconds go by of which nobody tells.
        #[test]
        fn no_window_is_overspent(
            percent in 0..=100u8,
            steps in prop::collection::vec((0..3_000_000u64, 0..500u64, 0..60usize), 1..200),
        ) {
            let mut budget = RetryBudget::default();
            let (mut now, mut requests) = (0, 0);
            // Second, requests that came in it, retries that were granted.
            let mut history: Vec<(u64, u64, u64)> = Vec::new();
            for (later, more, wanted) in steps {
                now += later;
                requests += more;
                let grants = (0..wanted)
                    .filter(|_| budget.withdraw(now, requests, percent))
                    .count() as u64;
                history.push((now / SECOND, more, grants));
                let recent = || history.iter().filter(|step| step.0 + WINDOW_S > now / SECOND);
                let came: u64 = recent().map(|step| step.1).sum();
                let spent: u64 = recent().map(|step| step.2).sum();
                let reserve = if percent == 0 { 0 } else { RESERVE };
                prop_assert!(grants == 0 || spent <= (came * u64::from(percent) / 100).max(reserve));
            }
        }

        /// A clock that is read out of order breaks nothing.
        #[test]
        fn time_may_go_back_a_little(steps in prop::collection::vec(0..20_000_000u64, 1..100)) {
            let mut budget = RetryBudget::default();
            let granted = steps.iter().filter(|now| budget.withdraw(**now, 0, 20)).count();
            prop_assert!(granted as u64 <= 3 * RESERVE);
        }
    }
}
