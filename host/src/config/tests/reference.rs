//! The reference (`host/CONFIGURATION.md`) and the code say the same.

use super::{mistakes, settings};
use crate::config::shipped_strategies;

/// The keys of the reference's table under `heading`.
fn documented(heading: &str) -> Vec<String> {
    let reference = include_str!("../../../CONFIGURATION.md");
    let section = reference
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading))
        .unwrap_or_else(|| panic!("there is no section {heading}"));
    let mut keys: Vec<String> = section
        .lines()
        .skip_while(|line| !line.starts_with("| key |"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect();
    keys.sort();
    keys
}

/// The keys that the table which `header` opens may have: they are listed when
/// a key is like none of them.
fn known(header: &str) -> Vec<String> {
    let told = mistakes(&format!("{header}\n\"?\" = 1\n"));
    let unknown = told.lines().find(|line| line.contains("unknown key"));
    let (_, list) = unknown
        .and_then(|line| line.split_once("; known: "))
        .unwrap_or_else(|| panic!("no keys are listed in:\n{told}"));
    let mut keys: Vec<String> = list.split(", ").map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    for (heading, header) in [
        ("Top of the file", ""),
        ("`[log]`", "[log]"),
        ("`[admin]`", "[admin]"),
        ("`[dns]`", "[dns]"),
        ("`[[listeners]]`", "[[listeners]]"),
        ("`[[routes]]`", "[[routes]]"),
        ("`[pools.NAME]`", "[pools.web]"),
        (
            "`[pools.NAME.outlier-detection]`",
            "[pools.web.outlier-detection]",
        ),
        ("`[pools.NAME.rate-limit]`", "[pools.web.rate-limit]"),
        ("`[pools.NAME.health-check]`", "[pools.web.health-check]"),
        ("`[pools.NAME.agent-check]`", "[pools.web.agent-check]"),
        ("`[pools.NAME.load-report]`", "[pools.web.load-report]"),
        ("`[pools.NAME.sticky]`", "[pools.web.sticky]"),
        ("`[[pools.NAME.backends]]`", "[[pools.web.backends]]"),
    ] {
        assert_eq!(documented(heading), known(header), "{heading}");
    }
}

#[test]
fn every_shipped_strategy_is_documented() {
    let reference = include_str!("../../../CONFIGURATION.md");
    for name in shipped_strategies() {
        assert!(reference.contains(&format!("\n| `{name}` |")), "{name}");
    }
}

#[test]
fn the_example_of_the_reference_routes_as_it_says() {
    let reference = include_str!("../../../CONFIGURATION.md");
    let (_, rest) = reference
        .split_once("```toml\nroutes = [")
        .expect("the example");
    let (example, _) = rest.split_once("```").expect("its end");
    let pools =
        ["a", "b", "c", "d"].map(|pool| format!("[[pools.{pool}.backends]]\naddress = 'x'\n"));
    let listener = "[[listeners]]\naddress = '127.0.0.1:1'\n";
    let settings = settings(&format!(
        "routes = [{example}\n{listener}{}",
        pools.concat()
    ));
    let routes = crate::route::Routes::new(&settings.routes);
    for (host, path, pool) in [
        ("www.example.com", "/api/users", "a"),
        ("www.example.com", "/apis", "b"),
        ("shop.example.com", "/api", "b"),
        ("example.com", "/api", "c"),
        ("other.org", "/", "d"),
    ] {
        let found = routes
            .find(host, path)
            .map(|index| settings.pools[index].name.as_str());
        assert_eq!(found, Some(pool), "{host}{path}");
        assert!(
            reference.contains(&format!("\n| `{host}{path}` | {pool} |")),
            "{host}{path}"
        );
    }
}
