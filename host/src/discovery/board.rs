//! Where the answers are put up: written by the thread that asks, read by the
//! control thread and by a scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::question::{Answer, Answers, Question};

/// The board. A lock, because nobody on the request path reads it.
#[derive(Debug, Default)]
pub struct Board {
    posts: Mutex<Posts>,
    /// A question has been asked for the first time.
    tried: Condvar,
}

#[derive(Debug, Default)]
struct Posts {
    answers: Answers,
    tried: BTreeSet<Question>,
    tallies: BTreeMap<Question, Tally>,
    /// Somebody is on the way to read.
    told: bool,
}

/// What is counted of a question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Lookups by what they came to, in the order of [`Tally::RESULTS`].
    pub lookups: [u64; 3],
    /// The last one did not bring an answer.
    pub failing: bool,
    /// Of the answer that is in force.
    pub addresses: usize,
}

impl Tally {
    /// What a lookup comes to: an answer, that there is none, nothing.
    pub const RESULTS: [&str; 3] = ["answered", "denied", "failed"];
}

impl Board {
    /// Notes a lookup, and an answer that is not what it was; true if somebody
    /// has to be told to read.
    pub fn post(
        &self,
        question: &Question,
        failure: Option<&Failure>,
        changed: Option<&Arc<Answer>>,
    ) -> bool {
        let mut posts = self.posts();
        let tally = posts.tallies.entry(question.clone()).or_default();
        let result = match failure {
            None => 0,
            Some(failure) if failure.is_denial() => 1,
            Some(_) => 2,
        };
        tally.lookups[result] += 1;
        tally.failing = failure.is_some();
        if let Some(answer) = changed {
            tally.addresses = answer.len();
            let answer = Arc::clone(answer);
            posts.answers.insert(question.clone(), answer);
        }
        if posts.tried.insert(question.clone()) {
            self.tried.notify_all();
        }
        changed.is_some() && !std::mem::replace(&mut posts.told, true)
    }

    /// Nobody wants to know any more.
    pub fn forget(&self, question: &Question) {
        let mut posts = self.posts();
        posts.answers.remove(question);
        posts.tried.remove(question);
        posts.tallies.remove(question);
    }

    /// What is known; who changes something after this tells so.
    pub fn read(&self) -> Answers {
        let mut posts = self.posts();
        posts.told = false;
        posts.answers.clone()
    }

    /// What was counted.
    pub fn tallies(&self) -> Vec<(Question, Tally)> {
        let posts = self.posts();
        let tallies = posts.tallies.iter();
        tallies
            .map(|(question, tally)| (question.clone(), *tally))
            .collect()
    }

    /// Returns when all of `questions` have been asked once, or after `patience`.
    pub fn wait<'q>(
        &self,
        questions: impl Iterator<Item = &'q Question> + Clone,
        patience: Duration,
    ) {
        let end = Instant::now() + patience;
        let mut posts = self.posts();
        while !questions
            .clone()
            .all(|question| posts.tried.contains(question))
        {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.tried.wait_timeout(posts, left);
            (posts, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn posts(&self) -> MutexGuard<'_, Posts> {
        // Every change is a whole one.
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Question {
        Question::Host(name.to_owned())
    }

    fn answer() -> Arc<Answer> {
        Arc::new(Answer::Addresses(vec![
            "10.0.0.1".parse().expect("an address"),
        ]))
    }

    #[test]
    fn who_reads_is_told_once_until_it_has_read() {
        let board = Board::default();
        assert!(board.post(&host("a"), None, Some(&answer())));
        assert!(!board.post(&host("b"), None, Some(&answer())));
        assert_eq!(board.read().len(), 2);
        assert!(!board.post(&host("a"), None, None), "nothing has changed");
        assert!(board.post(&host("a"), None, Some(&answer())));
    }

    #[test]
    fn a_failure_is_counted_and_takes_nothing_away() {
        let board = Board::default();
        board.post(&host("a"), None, Some(&answer()));
        board.post(&host("a"), Some(&Failure::NoSuchName), None);
        board.post(&host("a"), Some(&Failure::Timeout), None);
        let tally = board.tallies()[0].1;
        assert_eq!(
            (tally.lookups, tally.failing, tally.addresses),
            ([1, 1, 1], true, 1)
        );
        assert_eq!(board.read().len(), 1);
        board.forget(&host("a"));
        assert!(board.read().is_empty() && board.tallies().is_empty());
    }

    #[test]
    fn a_wait_ends_with_the_first_attempt_whatever_it_came_to() {
        let board = Board::default();
        board.post(&host("a"), Some(&Failure::Timeout), None);
        let began = Instant::now();
        board.wait([host("a")].iter(), Duration::from_secs(3600));
        assert!(began.elapsed() < Duration::from_secs(60));
        board.wait([host("b")].iter(), Duration::ZERO);
    }
}
