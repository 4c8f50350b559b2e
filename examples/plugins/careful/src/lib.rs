//! The least loaded backend among those that answer: whoever fails more often
//! than `max-failures` gets requests only when all others do too.

use anubis_strategy::load::{self, Load};
use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Refusal, Request, Strategy};

struct Careful {
    /// In 1/10000, as the proxy measures failures.
    max_failures: u32,
}

impl Default for Careful {
    fn default() -> Self {
        Self { max_failures: 500 }
    }
}

impl Configure for Careful {
    /// `config = { max-failures = 0.05 }` in the pool: a share, 0 to 1.
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        if let Some(thousandths) = options.thousandths("max-failures", 0..=1000)? {
            self.max_failures = thousandths as u32 * 10;
        }
        options.finish()
    }
}

impl Strategy for Careful {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        let fails = |backend: &Backend| backend.failures > self.max_failures;
        // The least of these, compared in this order; equals take turns.
        let cost = |backend: &Backend| Some((fails(backend), Load::of(backend)));
        load::least_by(backends, request.sequence, cost).ok_or(Refusal::Fallback)
    }
}

anubis_strategy::export!(Careful, configured);

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(in_flight: u32, failures: u32) -> Backend {
        Backend {
            weight: 1,
            in_flight,
            failures,
            ..Backend::default()
        }
    }

    fn pick(strategy: &mut Careful, backends: &[Backend]) -> usize {
        strategy
            .pick(&Request::default(), backends)
            .expect("there are backends")
    }

    #[test]
    fn the_least_loaded_is_picked() {
        let backends = [backend(3, 0), backend(1, 0), backend(2, 0)];
        assert_eq!(pick(&mut Careful::default(), &backends), 1);
    }

    #[test]
    fn equals_take_turns() {
        let backends = [backend(1, 0), backend(2, 0), backend(1, 0)];
        let picks: Vec<usize> = (0..4)
            .map(|sequence| {
                let request = Request {
                    sequence,
                    ..Request::default()
                };
                Careful::default()
                    .pick(&request, &backends)
                    .expect("there are backends")
            })
            .collect();
        assert_eq!(picks, [0, 2, 0, 2]);
    }

    #[test]
    fn who_fails_too_often_is_left_alone() {
        let backends = [backend(3, 0), backend(0, 900)];
        assert_eq!(pick(&mut Careful::default(), &backends), 0);
    }

    #[test]
    fn when_all_fail_the_least_loaded_is_picked() {
        let backends = [backend(3, 800), backend(0, 900)];
        assert_eq!(pick(&mut Careful::default(), &backends), 1);
    }

    #[test]
    fn the_limit_can_be_configured() {
        let mut strategy = Careful::default();
        strategy
            .configure(r#"{"max-failures": 0.1}"#)
            .expect("a share");
        assert_eq!(pick(&mut strategy, &[backend(3, 0), backend(0, 900)]), 1);
        assert!(strategy.configure(r#"{"max-failure": 0.1}"#).is_err());
    }
}
