//! The order in a queue, without time, threads or locks.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

/// Why somebody who looked for room is still in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// There is none, for whomever.
    NoRoom,
    /// What there is, is not for this one: others may pass.
    NotForIt,
}

/// News of room, which goes along the line until somebody has used it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// If the room is not for who hears of it, so many others whose wishes are
    /// as special shall be told.
    pub offers: u32,
    /// Room for one was freed: who hears of it needs no other word. Otherwise
    /// it is only worth a look.
    pub firm: bool,
    /// There may be room for more than one.
    pub more: bool,
}

impl Word {
    /// What somebody knows who has just come: room may have been freed before
    /// anybody could tell it.
    const FIRST_LOOK: Word = Word {
        offers: 0,
        firm: false,
        more: true,
    };

    fn and(self, other: impl Into<Option<Word>>) -> Word {
        let Some(other) = other.into() else {
            return self;
        };
        Word {
            offers: self.offers.max(other.offers),
            firm: self.firm || other.firm,
            more: self.more || other.more || (self.firm && other.firm),
        }
    }
}

/// Who is in line, by ticket: the smaller came sooner.
#[derive(Debug, Default)]
pub struct Line {
    next: u64,
    places: BTreeMap<u64, Stage>,
    /// Those that a word may go to and that are in a newcomer's way: who sleeps
    /// for want of room, who was only told to have a look, and who is looking.
    open: BTreeSet<u64>,
    /// Those that a word may go to and that let others pass: who sleeps because
    /// what there was is not for them.
    choosy: BTreeSet<u64>,
    /// A word that nobody could be given, because all who are awake have one of
    /// their own. Who comes now stands behind them, so it is not forgotten.
    unheard: Option<Word>,
}

/// What somebody in line is doing.
#[derive(Debug)]
enum Stage {
    /// Nothing, until it is told of room. The waker is missing before it has
    /// asked whether it is its turn.
    Asleep(Option<Waker>),
    /// It was told of room, and has not looked yet.
    Told(Word),
    /// It looks for room.
    Looking {
        word: Word,
        /// Since it began to look, there is news.
        news: bool,
    },
}

impl Line {
    /// How many are in line.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// How many of them no newcomer may overtake.
    pub fn ahead(&self) -> usize {
        self.places.len() - self.choosy.len()
    }

    /// A place at the end, if there are fewer than `size`. Who has nobody in its
    /// way is to look once more: only from now on it is told of room.
    pub fn join(&mut self, size: usize) -> Option<u64> {
        if self.len() >= size {
            return None;
        }
        let stage = match self.ahead() {
            0 => Stage::Looking {
                word: Word::FIRST_LOOK,
                news: false,
            },
            _ => Stage::Asleep(None),
        };
        let ticket = self.next;
        self.next += 1;
        self.places.insert(ticket, stage);
        self.open.insert(ticket);
        Some(ticket)
    }

    /// Gives `word` to the first whom it may go to.
    pub fn tell(&mut self, word: Word) -> Option<Waker> {
        let first = [self.open.first(), self.choosy.first()];
        self.tell_to(first.into_iter().flatten().min().copied(), word)
    }

    /// It is this one's turn, and it begins to look for room; if not, `waker` is
    /// kept.
    pub fn is_turn(&mut self, ticket: u64, waker: &Waker) -> bool {
        let Some(stage) = self.places.get_mut(&ticket) else {
            return true;
        };
        match stage {
            Stage::Asleep(kept) => {
                match kept {
                    Some(kept) => kept.clone_from(waker),
                    None => *kept = Some(waker.clone()),
                }
                return false;
            }
            Stage::Told(word) | Stage::Looking { word, .. } => {
                let (word, news) = (*word, false);
                *stage = Stage::Looking { word, news };
            }
        }
        self.open.insert(ticket);
        true
    }

    /// This one looked in vain. It sleeps, unless there is news; and if the room
    /// was only not for it, the next is told.
    pub fn stay(&mut self, ticket: u64, held: Held) -> Option<Waker> {
        let stage = self.places.get_mut(&ticket)?;
        let Stage::Looking { word, news: false } = *stage else {
            return None;
        };
        *stage = Stage::Asleep(None);
        self.shut(ticket);
        let unheard = self.unheard.take();
        match held {
            Held::NoRoom => {
                self.open.insert(ticket);
                None
            }
            Held::NotForIt => {
                self.choosy.insert(ticket);
                self.offer_after(ticket, word.and(unheard))
            }
        }
    }

    /// This one is gone, with or without room. What it did not use up of a word
    /// is for the next.
    pub fn leave(&mut self, ticket: u64, has_room: bool) -> Option<Waker> {
        self.shut(ticket);
        let left = match self.places.remove(&ticket)? {
            Stage::Asleep(_) => None,
            Stage::Looking { word, news } if has_room => {
                let left = Word { firm: news, ..word };
                (news || word.more).then_some(left)
            }
            Stage::Told(word) | Stage::Looking { word, .. } => Some(word),
        };
        let word = match (left, self.unheard.take()) {
            (Some(left), unheard) => left.and(unheard),
            (None, unheard) => unheard?,
        };
        self.tell(word)
    }

    /// Tells the next in line; with no offers left, the next who takes
    /// anybody's room, or whoever does.
    fn offer_after(&mut self, ticket: u64, word: Word) -> Option<Waker> {
        let next = |set: &BTreeSet<u64>| set.range(ticket + 1..).next().copied();
        let open = next(&self.open);
        let choosy = next(&self.choosy).filter(|_| word.offers > 0);
        let first = [open, choosy].into_iter().flatten().min();
        let first = first.or(self.open.first().copied());
        let offers = word.offers.saturating_sub(1);
        self.tell_to(first, Word { offers, ..word })
    }

    fn tell_to(&mut self, ticket: Option<u64>, mut word: Word) -> Option<Waker> {
        let Some(ticket) = ticket else {
            self.unheard = (self.ahead() > 0).then(|| word.and(self.unheard));
            return None;
        };
        // That a choosy one slept does not say that there was no room. Who comes
        // while it looks stands behind it, and has not looked.
        word.more |= self.choosy.contains(&ticket);
        self.shut(ticket);
        let stage = self.places.get_mut(&ticket)?;
        let (next, waker) = match stage {
            Stage::Asleep(waker) => (Stage::Told(word), waker.take()),
            Stage::Told(known) => (Stage::Told(known.and(word)), None),
            Stage::Looking { word: known, .. } => {
                let (word, news) = (known.and(word), true);
                (Stage::Looking { word, news }, None)
            }
        };
        if let Stage::Told(Word { firm: false, .. }) = next {
            self.open.insert(ticket);
        }
        *stage = next;
        waker
    }

    /// No word may go to this one for now.
    fn shut(&mut self, ticket: u64) {
        self.open.remove(&ticket);
        self.choosy.remove(&ticket);
    }
}
