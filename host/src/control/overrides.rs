//! What was changed at run time, beside what the configuration says.
//!
//! The last word wins: an override remembers what the configuration said when
//! it was made, and stands for as long as the configuration says the same. So a
//! reload for another reason leaves it alone, and an edit of just that thing
//! replaces it.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::config::{
    BackendSettings, PoolSettings, Settings, StrategySettings, StrategySource, Target,
};
use crate::plugin::{Binary, Digest};
use crate::strategy;

/// Overrides by pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub pools: BTreeMap<String, PoolOverrides>,
}

/// What stands beside one pool's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolOverrides {
    pub strategy: Option<StrategyOverride>,
    /// In the order made; one for each name.
    pub backends: Vec<BackendOverride>,
}

/// Another strategy than the configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyOverride {
    pub instead_of: Asked,
    pub source: StrategySource,
    pub config: String,
}

/// Which strategy a configuration asks for, limits aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As it is written.
    pub source: String,
    pub config: String,
    /// Of the plugin's bytes; none for the fallback.
    pub digest: Option<Digest>,
}

/// Another backend than the configured one: changed, added or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendOverride {
    pub name: String,
    /// What the configuration says; `None`: it has no such backend.
    pub configured: Option<BackendSettings>,
    /// What is in force instead; `None`: it was removed.
    pub now: Option<BackendSettings>,
}

impl Asked {
    /// What `settings` ask for. Blocks on the file system.
    ///
    /// # Errors
    /// When the plugin cannot be read.
    pub fn by(settings: &StrategySettings) -> Result<Asked> {
        let binary = strategy::read(settings)?;
        Ok(Asked {
            source: settings.source.to_string(),
            config: settings.config.clone(),
            digest: binary.as_ref().map(Binary::digest),
        })
    }

    /// It is this strategy, so that nothing else would be in force.
    pub fn is(&self, source: &StrategySource, config: &str) -> bool {
        self.config == config
            && match source {
                StrategySource::Given(binary) => self.digest == Some(binary.digest()),
                other => self.source == other.to_string(),
            }
    }
}

impl Overrides {
    /// Puts the overrides on top of what the configuration says, but for those
    /// of single addresses of a name. Those that the configuration has overtaken
    /// are dropped, and named.
    pub fn apply(&mut self, settings: &mut Settings) -> Vec<String> {
        self.apply_each(settings, PoolOverrides::apply)
    }

    /// Puts the overrides of single addresses of a name on top of `settings`,
    /// whose names have been replaced by what they are known to lead to. One
    /// whose name does not lead there any more is dropped, and named; while
    /// nothing is known of the name, it stays for later.
    pub fn apply_to_addresses(&mut self, settings: &mut Settings) -> Vec<String> {
        self.apply_each(settings, PoolOverrides::apply_to_addresses)
    }

    fn apply_each(
        &mut self,
        settings: &mut Settings,
        apply: impl Fn(&mut PoolOverrides, &mut PoolSettings, &mut Vec<String>),
    ) -> Vec<String> {
        let mut dropped = Vec::new();
        self.pools.retain(|name, overrides| {
            let Some(pool) = settings.pools.iter_mut().find(|pool| pool.name == *name) else {
                dropped.push(format!("pool {name}: all"));
                return false;
            };
            apply(overrides, pool, &mut dropped);
            !overrides.is_empty()
        });
        dropped
    }

    /// The overrides of a pool, which may be none yet.
    pub fn of(&mut self, pool: &str) -> &mut PoolOverrides {
        self.pools.entry(pool.to_owned()).or_default()
    }

    /// Some pool has another strategy than the configured one.
    pub fn has_strategies(&self) -> bool {
        self.pools.values().any(|pool| pool.strategy.is_some())
    }

    /// No strategy but what the configuration asks for.
    pub fn forget_strategies(&mut self) {
        for pool in self.pools.values_mut() {
            pool.strategy = None;
        }
    }
}

impl PoolOverrides {
    fn is_empty(&self) -> bool {
        self.strategy.is_none() && self.backends.is_empty()
    }

    /// From now on `now` is in force where the configuration says `configured`.
    pub fn set_backend(
        &mut self,
        name: &str,
        configured: Option<&BackendSettings>,
        now: Option<BackendSettings>,
    ) {
        let other = |one: &BackendOverride| one.name != name;
        let place = self.backends.iter().position(|one| !other(one));
        if configured == now.as_ref() {
            self.backends.retain(other);
            return;
        }
        let backend = BackendOverride {
            name: name.to_owned(),
            configured: configured.cloned(),
            now,
        };
        match place {
            Some(place) => self.backends[place] = backend,
            None => self.backends.push(backend),
        }
    }

    fn apply(&mut self, pool: &mut PoolSettings, dropped: &mut Vec<String>) {
        self.apply_strategy(pool, dropped);
        self.retain(pool, dropped, |backend, pool| {
            backend.is_of_an_address() || backend.apply(pool)
        });
    }

    fn apply_to_addresses(&mut self, pool: &mut PoolSettings, dropped: &mut Vec<String>) {
        self.retain(pool, dropped, |backend, pool| {
            !backend.is_of_an_address() || backend.waits(pool) || backend.apply(pool)
        });
    }

    fn retain(
        &mut self,
        pool: &mut PoolSettings,
        dropped: &mut Vec<String>,
        stands: impl Fn(&BackendOverride, &mut PoolSettings) -> bool,
    ) {
        self.backends.retain(|backend| {
            let stands = stands(backend, pool);
            if !stands {
                dropped.push(format!("pool {}: backend {}", pool.name, backend.name));
            }
            stands
        });
    }

    fn apply_strategy(&mut self, pool: &mut PoolSettings, dropped: &mut Vec<String>) {
        let Some(strategy) = &self.strategy else {
            return;
        };
        // What cannot be read just now has not said anything new.
        if Asked::by(&pool.strategy).is_ok_and(|asked| asked != strategy.instead_of) {
            dropped.push(format!("pool {}: strategy {}", pool.name, strategy.source));
            self.strategy = None;
            return;
        }
        pool.replace_strategy(strategy.source.clone(), strategy.config.clone());
    }
}

impl BackendOverride {
    /// It is about one address of a name.
    fn is_of_an_address(&self) -> bool {
        let of = |backend: &BackendSettings| matches!(backend.target, Target::Resolved(_));
        self.configured.as_ref().is_some_and(of)
    }

    /// Nothing is known yet of the name that it is about an address of.
    fn waits(&self, pool: &PoolSettings) -> bool {
        let Some((name, _)) = self.name.rsplit_once('@') else {
            return false;
        };
        let mut backends = pool.backends.iter();
        backends.any(|one| one.name == name && !matches!(one.target, Target::Resolved(_)))
    }

    /// False when the configuration has had a later word.
    fn apply(&self, pool: &mut PoolSettings) -> bool {
        let place = pool.backends.iter().position(|one| one.name == self.name);
        if place.map(|place| &pool.backends[place]) != self.configured.as_ref() {
            return false;
        }
        match (place, self.now.clone()) {
            (Some(place), Some(now)) => pool.backends[place] = now,
            (None, Some(now)) => pool.backends.push(now),
            // A pool is never empty: the last one stays.
            (Some(_), None) if pool.backends.len() == 1 => return false,
            (Some(place), None) => drop(pool.backends.remove(place)),
            (None, None) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::path::Path;

    use super::*;
    use crate::config::{self, BackendState};

    fn settings(pool: &str) -> Settings {
        let text = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n[pools.web]\n{pool}");
        config::parse(&text, Path::new("test.toml")).expect("test settings")
    }

    const TWO: &str = "backends = [{ name = \"a\", address = \"a:1\" }, { name = \"b\", address = \"b:1\", weight = 2 }]";

    /// The names, weights and states in force.
    fn backends(settings: &Settings) -> Vec<(String, u16, BackendState)> {
        settings.pools[0]
            .backends
            .iter()
            .map(|one| (one.name.clone(), one.weight.get(), one.state))
            .collect()
    }

    fn heavier(backend: &BackendSettings) -> BackendSettings {
        BackendSettings {
            weight: NonZeroU16::new(9).expect("9 is not 0"),
            ..backend.clone()
        }
    }

    #[test]
    fn backends_are_changed_added_and_removed() {
        let mut settings = settings(TWO);
        let [a, b] = &settings.pools[0].backends[..] else {
            panic!("there are two");
        };
        let mut overrides = Overrides::default();
        let pool = overrides.of("web");
        pool.set_backend("a", Some(a), Some(heavier(a)));
        pool.set_backend("b", Some(b), None);
        let c = BackendSettings::new("c:1".parse().expect("an address"));
        pool.set_backend("c:1", None, Some(c));
        assert_eq!(overrides.apply(&mut settings), [""; 0]);
        let active = BackendState::Active;
        assert_eq!(
            backends(&settings),
            [("a".into(), 9, active), ("c:1".into(), 1, active)]
        );
    }

    #[test]
    fn the_configurations_later_word_wins_for_just_that_backend() {
        let before = settings(TWO);
        let [a, b] = &before.pools[0].backends[..] else {
            panic!("there are two");
        };
        let mut overrides = Overrides::default();
        overrides
            .of("web")
            .set_backend("a", Some(a), Some(heavier(a)));
        overrides
            .of("web")
            .set_backend("b", Some(b), Some(heavier(b)));
        let mut edited = settings(&TWO.replace("weight = 2", "weight = 3"));
        let dropped = overrides.apply(&mut edited);
        assert_eq!(dropped, ["pool web: backend b"]);
        let weights: Vec<u16> = backends(&edited).iter().map(|one| one.1).collect();
        assert_eq!(weights, [9, 3]);
        assert_eq!(overrides.apply(&mut settings(TWO)), [""; 0], "it is gone");
    }

    #[test]
    fn what_the_configuration_says_anyway_is_no_override() {
        let settings = settings(TWO);
        let a = &settings.pools[0].backends[0];
        let mut overrides = Overrides::default();
        overrides
            .of("web")
            .set_backend("a", Some(a), Some(heavier(a)));
        overrides
            .of("web")
            .set_backend("a", Some(a), Some(a.clone()));
        assert!(overrides.of("web").is_empty());
    }

    /// `app`, whose name leads to these addresses; none: it has no answer.
    fn resolved(ips: &[&str]) -> Settings {
        let mut settings = settings("backends = [{ name = \"app\", address = \"app.test:1\" }]");
        let backends = &mut settings.pools[0].backends;
        let written = backends[0].clone();
        if !ips.is_empty() {
            backends.clear();
        }
        for ip in ips {
            let address = format!("{ip}:1").parse().expect("an address");
            backends.push(BackendSettings {
                name: format!("app@{address}"),
                target: Target::Resolved(address),
                ..written.clone()
            });
        }
        settings
    }

    #[test]
    fn an_override_of_an_address_waits_for_an_answer_and_falls_with_one_that_lacks_it() {
        let before = resolved(&["10.0.0.1", "10.0.0.2"]);
        let first = &before.pools[0].backends[0];
        let mut overrides = Overrides::default();
        overrides
            .of("web")
            .set_backend(&first.name, Some(first), Some(heavier(first)));
        assert_eq!(overrides.apply(&mut resolved(&[])), [""; 0], "not its turn");
        let mut unanswered = resolved(&[]);
        assert_eq!(overrides.apply_to_addresses(&mut unanswered), [""; 0]);
        assert_eq!(unanswered, resolved(&[]));
        let mut answered = resolved(&["10.0.0.1", "10.0.0.3"]);
        assert_eq!(overrides.apply_to_addresses(&mut answered), [""; 0]);
        let weights: Vec<u16> = backends(&answered).iter().map(|one| one.1).collect();
        assert_eq!(weights, [9, 1]);
        let mut elsewhere = resolved(&["10.0.0.2"]);
        let dropped = overrides.apply_to_addresses(&mut elsewhere);
        assert_eq!(dropped, ["pool web: backend app@10.0.0.1:1"]);
        assert!(overrides.pools.is_empty());
    }

    #[test]
    fn the_last_backend_stays() {
        let mut settings = settings("backends = [{ name = \"a\", address = \"a:1\" }]");
        let a = settings.pools[0].backends[0].clone();
        let mut overrides = Overrides::default();
        overrides.of("web").set_backend("a", Some(&a), None);
        assert_eq!(overrides.apply(&mut settings).len(), 1);
        assert_eq!(backends(&settings).len(), 1);
    }

    #[test]
    fn a_strategy_stands_until_the_configuration_asks_for_another() {
        let before = settings(&format!("strategy = \"random\"\n{TWO}"));
        let mut overrides = Overrides::default();
        overrides.of("web").strategy = Some(StrategyOverride {
            instead_of: Asked::by(&before.pools[0].strategy).expect("it is shipped"),
            source: StrategySource::Shipped("maglev".into()),
            config: String::new(),
        });
        let mut same = settings(&format!("strategy = \"random\"\ntries = 2\n{TWO}"));
        assert_eq!(overrides.apply(&mut same), [""; 0]);
        let pool = &same.pools[0];
        assert_eq!(pool.strategy.source.to_string(), "maglev");
        assert_eq!(pool.hash_key, config::HashKey::ClientAddress);
        assert_eq!(pool.strategy.deadline.as_millis(), 100);
        let mut other = settings(&format!("strategy = \"least-time\"\n{TWO}"));
        assert_eq!(overrides.apply(&mut other), ["pool web: strategy maglev"]);
        assert_eq!(other.pools[0].strategy.source.to_string(), "least-time");
        assert!(overrides.pools.is_empty());
    }

    #[test]
    fn overrides_go_with_their_pool() {
        let mut overrides = Overrides::default();
        overrides.of("gone").strategy = None;
        overrides.of("gone").set_backend(
            "x",
            None,
            Some(BackendSettings::new("x:1".parse().expect("an address"))),
        );
        assert_eq!(overrides.apply(&mut settings(TWO)), ["pool gone: all"]);
    }
}
