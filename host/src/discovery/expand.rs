//! Every address of a name becomes a backend. Pure.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use http::uri::Authority;
use rustc_hash::FxHashSet;

use super::question::{Answer, Answers, Endpoint, Question};
use crate::config::{BackendSettings, BackendState, PoolSettings, Settings, Target};

/// Replaces the names in `settings` by what `answers` say of them.
///
/// What has no answer yet stays as it is: one backend that stands for its name,
/// which the system resolves at each connection. Of SRV records, without which
/// not even the port is known, it takes no requests.
pub fn expand(settings: &mut Settings, answers: &Answers) {
    for pool in &mut settings.pools {
        expand_pool(pool, answers);
    }
}

fn expand_pool(pool: &mut PoolSettings, answers: &Answers) {
    let question = |backend: &BackendSettings| Question::about(backend, pool);
    let questions: Vec<_> = pool.backends.iter().map(question).collect();
    if questions.iter().all(Option::is_none) {
        return;
    }
    let written = std::mem::take(&mut pool.backends);
    // A backend that is called like one of these is there first.
    let names: FxHashSet<String> = written.iter().map(|one| one.name.clone()).collect();
    for (backend, question) in written.into_iter().zip(questions) {
        let answer = question.as_ref().and_then(|question| answers.get(question));
        match (question, answer) {
            (Some(_), Some(answer)) => {
                let members = members(&backend, answer).into_iter();
                let free = members.filter(|member| !names.contains(&member.name));
                pool.backends.extend(free);
            }
            (Some(Question::Service(_)), None) => pool.backends.push(BackendSettings {
                state: match backend.state {
                    BackendState::Active => BackendState::Drain,
                    other => other,
                },
                ..backend
            }),
            (Some(Question::Host(_)) | None, _) => pool.backends.push(backend),
        }
    }
}

fn members(backend: &BackendSettings, answer: &Answer) -> Vec<BackendSettings> {
    match answer {
        Answer::Addresses(addresses) => {
            let port = backend.address.port_u16().unwrap_or(80);
            let at = |&ip: &IpAddr| member(backend, SocketAddr::new(ip, port));
            addresses.iter().map(at).collect()
        }
        Answer::Endpoints(endpoints) => {
            let at = |one: &Endpoint| BackendSettings {
                address: authority(one),
                priority: one.priority.into(),
                weight: NonZeroU16::new(one.weight).unwrap_or(NonZeroU16::MIN),
                ..member(backend, one.address)
            };
            endpoints.iter().map(at).collect()
        }
    }
}

/// The member of `backend` at one of its addresses.
fn member(backend: &BackendSettings, address: SocketAddr) -> BackendSettings {
    BackendSettings {
        name: format!("{}@{address}", backend.name),
        target: Target::Resolved(address),
        ..backend.clone()
    }
}

/// As requests name it.
fn authority(endpoint: &Endpoint) -> Authority {
    let written = format!("{}:{}", endpoint.host, endpoint.address.port());
    let address = || endpoint.address.to_string().parse();
    let authority = written.parse().or_else(|_| address());
    authority.expect("a socket address is an authority")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config;

    fn settings(pool: &str) -> Settings {
        let text = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n[pools.web]\n{pool}");
        config::parse(&text, Path::new("test.toml")).expect("test settings")
    }

    fn hosts(answers: &[(&str, &[&str])]) -> Answers {
        let ip = |ip: &&str| ip.parse().expect("an address");
        let answer = |(name, ips): &(&str, &[&str])| {
            let answer = Answer::Addresses(ips.iter().map(ip).collect());
            (Question::Host((*name).to_owned()), Arc::new(answer))
        };
        answers.iter().map(answer).collect()
    }

    fn expanded(pool: &str, answers: &Answers) -> Vec<BackendSettings> {
        let mut settings = settings(pool);
        expand(&mut settings, answers);
        settings.pools.remove(0).backends
    }

    fn names(backends: &[BackendSettings]) -> Vec<&str> {
        backends.iter().map(|one| one.name.as_str()).collect()
    }

    #[test]
    fn every_address_is_a_backend_like_the_one_written() {
        let pool = "backends = [
            { name = \"a\", address = \"10.9.9.9:1\" },
            { name = \"app\", address = \"App.Internal:81\", weight = 7, capacity = 3, priority = 2, \
              zone = \"z\", labels = { k = \"v\" }, state = \"drain\" },
        ]";
        let written = settings(pool).pools.remove(0).backends.remove(1);
        let backends = expanded(pool, &hosts(&[("app.internal", &["10.0.0.1", "fd00::1"])]));
        assert_eq!(
            names(&backends),
            ["a", "app@10.0.0.1:81", "app@[fd00::1]:81"]
        );
        let ip: SocketAddr = "10.0.0.1:81".parse().expect("an address");
        let expected = BackendSettings {
            name: "app@10.0.0.1:81".to_owned(),
            target: Target::Resolved(ip),
            ..written
        };
        assert_eq!(backends[1], expected);
        assert_eq!(backends[1].address.as_str(), "App.Internal:81");
    }

    #[test]
    fn a_name_without_an_answer_stands_for_itself() {
        let pool = "backends = [{ address = \"app:81\" }]";
        let backends = expanded(pool, &Answers::default());
        assert_eq!(backends, settings(pool).pools[0].backends);
    }

    #[test]
    fn a_service_without_an_answer_takes_no_requests() {
        let backends = expanded(
            "backends = [{ srv = \"_http._tcp.app\" }]",
            &Answers::default(),
        );
        assert_eq!(names(&backends), ["_http._tcp.app"]);
        assert_eq!(backends[0].state, BackendState::Drain);
    }

    #[test]
    fn what_the_system_resolves_is_left_alone() {
        let answers = hosts(&[("app", &["10.0.0.1"]), ("localhost", &["127.0.0.1"])]);
        let pool = "resolve = \"at-connect\"\nbackends = [{ address = \"app:81\" }]";
        assert_eq!(names(&expanded(pool, &answers)), ["app:81"]);
        let pool = "backends = [{ address = \"localhost:81\" }]";
        assert_eq!(names(&expanded(pool, &answers)), ["localhost:81"]);
    }

    #[test]
    fn names_stay_unique() {
        let pool = "backends = [{ name = \"a\", address = \"app\" }, \
                    { name = \"a@10.0.0.1:80\", address = \"10.9.9.9\" }]";
        let backends = expanded(pool, &hosts(&[("app", &["10.0.0.1", "10.0.0.2"])]));
        assert_eq!(names(&backends), ["a@10.0.0.2:80", "a@10.0.0.1:80"]);
    }

    #[test]
    fn records_of_a_service_bring_port_weight_and_priority() {
        let endpoint = Endpoint {
            priority: 5,
            address: "10.0.0.1:8081".parse().expect("an address"),
            host: "a.app.internal".to_owned(),
            weight: 30,
        };
        let question = Question::Service("_http._tcp.app".to_owned());
        let answers = [(question, Arc::new(Answer::Endpoints(vec![endpoint])))].into();
        let backends = expanded(
            "backends = [{ name = \"app\", srv = \"_HTTP._tcp.app\", capacity = 4 }]",
            &answers,
        );
        let [backend] = &backends[..] else {
            panic!("there is one: {backends:?}");
        };
        assert_eq!(backend.name, "app@10.0.0.1:8081");
        assert_eq!(backend.address.as_str(), "a.app.internal:8081");
        assert_eq!((backend.weight.get(), backend.priority), (30, 5));
        assert_eq!(backend.capacity, 4);
    }
}
