//! Who is asked about: one task a question, which outlives every reload that
//! still wants to know.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::{self, AbortHandle};

use super::ask::{Asker, MOST};
use super::board::Board;
use super::course::{Course, Found, News, Turn};
use super::failure::Failure;
use super::question::{Answer, Question, Wanted};
use crate::config::DnsSettings;

/// All questions that are asked.
pub struct Rounds {
    board: Arc<Board>,
    on_change: Rc<dyn Fn()>,
    asker: Rc<Asker>,
    settings: DnsSettings,
    running: BTreeMap<Question, Round>,
}

/// One question's course, and who asks it.
struct Round {
    subject: Rc<Subject>,
    task: AbortHandle,
}

struct Subject {
    question: Question,
    /// The backends whose name it is.
    asked_for: RefCell<String>,
    course: RefCell<Course>,
}

impl Rounds {
    /// Nothing is asked yet. Answers go to `board`; `on_change` is called when
    /// somebody should look there.
    pub fn new(board: Arc<Board>, on_change: impl Fn() + 'static) -> Rounds {
        let settings = DnsSettings::default();
        Rounds {
            board,
            on_change: Rc::new(on_change),
            asker: Rc::new(Asker::new(settings.clone())),
            settings,
            running: BTreeMap::new(),
        }
    }

    /// From here on asks what is `wanted`, as `settings` say. What goes on being
    /// asked keeps its answer; with other settings it is asked at once.
    pub fn follow(&mut self, wanted: Wanted, settings: DnsSettings) {
        let anew = settings != self.settings;
        if anew {
            self.asker = Rc::new(Asker::new(settings.clone()));
            self.settings = settings;
        }
        let mut before = std::mem::take(&mut self.running);
        for (question, asked_for) in wanted {
            let round = match before.remove(&question) {
                Some(round) => {
                    round.subject.asked_for.replace(asked_for);
                    match anew {
                        true => self.start(Rc::clone(&round.subject)),
                        false => round,
                    }
                }
                None => self.start(Rc::new(Subject {
                    question: question.clone(),
                    asked_for: RefCell::new(asked_for),
                    course: RefCell::default(),
                })),
            };
            self.running.insert(question, round);
        }
        for (question, round) in before {
            drop(round);
            self.board.forget(&question);
        }
    }

    fn start(&self, subject: Rc<Subject>) -> Round {
        let (asker, board) = (Rc::clone(&self.asker), Arc::clone(&self.board));
        let (settings, on_change) = (self.settings.clone(), Rc::clone(&self.on_change));
        let asking = Rc::clone(&subject);
        let task = task::spawn_local(async move {
            let mut random = fastrand::Rng::new();
            loop {
                let before = asking.course.borrow().good().cloned();
                let asker = Rc::clone(&asker);
                let result = asker.ask(&asking.question, before.as_deref()).await;
                let turn = asking.take(result, before.as_deref(), &settings, &mut random, &board);
                if turn.told {
                    on_change();
                }
                tokio::time::sleep(turn.pause).await;
            }
        });
        Round {
            subject,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What follows from a lookup.
struct Next {
    /// Somebody has to be told.
    told: bool,
    pause: std::time::Duration,
}

impl Subject {
    /// Puts the result of a lookup in force, and says what is new.
    fn take(
        &self,
        result: Result<Found, Failure>,
        before: Option<&Answer>,
        settings: &DnsSettings,
        random: &mut fastrand::Rng,
        board: &Board,
    ) -> Next {
        let failure = result.as_ref().err().cloned();
        let truncated = result.as_ref().is_ok_and(|found| found.truncated);
        let mut course = self.course.borrow_mut();
        let turn = course.take(result, settings, random);
        let changed = course.good().filter(|_| turn.changed);
        let told = board.post(&self.question, failure.as_ref(), changed);
        self.tell(&turn, before, course.good().map(|good| &**good), truncated);
        Next {
            told,
            pause: turn.pause,
        }
    }

    fn tell(&self, turn: &Turn, before: Option<&Answer>, now: Option<&Answer>, truncated: bool) {
        let (name, backends) = (self.question.to_string(), &*self.asked_for.borrow());
        let addresses = now.map_or(0, Answer::len);
        match &turn.news {
            Some(News::Failing(error)) if addresses > 0 => tracing::warn!(
                backends,
                name,
                %error,
                addresses,
                "name not resolved, its last addresses stay"
            ),
            Some(News::Failing(error)) => {
                tracing::warn!(backends, name, %error, "name not resolved");
            }
            Some(News::Answered) => tracing::info!(backends, name, addresses, "name resolved"),
            None => {}
        }
        if turn.changed && before.is_some() {
            tracing::info!(backends, name, addresses, "addresses changed");
        }
        if turn.changed && truncated {
            let most = MOST;
            tracing::warn!(
                backends,
                name,
                most,
                "too many addresses, the rest is left out"
            );
        }
    }
}
