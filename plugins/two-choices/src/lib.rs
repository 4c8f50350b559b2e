//! Draws two different backends by weight and takes the less loaded one.
//!
//! Of equals the first drawn is taken, so an idle pool is shared by weight.
//! `choices` draws more than two: closer to `least-connections`, and more alike
//! over several proxies that do not know of one another's requests.

use anubis_strategy::load::Load;
use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Random, Refusal, Request, Strategy, draw};

/// The strategy; it keeps nothing but its option.
#[derive(Debug)]
pub struct TwoChoices {
    choices: usize,
}

impl Default for TwoChoices {
    fn default() -> Self {
        Self { choices: 2 }
    }
}

impl Configure for TwoChoices {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        if let Some(choices) = options.integer("choices", 2..=16)? {
            self.choices = choices as usize;
        }
        options.finish()
    }
}

impl Strategy for TwoChoices {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        let mut random = Random::of(request);
        let drawn = draw::distinct(backends, &mut random).take(self.choices);
        let less_loaded = |best: usize, other: usize| {
            let is_less = Load::of(&backends[other]) < Load::of(&backends[best]);
            if is_less { other } else { best }
        };
        drawn.reduce(less_loaded).ok_or(Refusal::Fallback)
    }
}

anubis_strategy::export!(TwoChoices, configured);

#[cfg(test)]
mod tests;
