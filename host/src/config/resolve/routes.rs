//! What `[[routes]]` mean.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use toml::Spanned;

use super::set;
use crate::config::document::append_key;
use crate::config::file;
use crate::config::mistakes::suggestion;
use crate::config::read::Report;
use crate::config::{HostPattern, RouteSettings};

/// The pools of the file in the order written, and where.
pub struct PoolNames {
    known: Vec<(String, Range<usize>)>,
}

impl PoolNames {
    pub fn of(pools: &BTreeMap<Spanned<String>, file::Pool>, report: &mut Report<'_>) -> Self {
        let mut known: Vec<_> = pools
            .keys()
            .map(|name| (name.get_ref().clone(), name.span()))
            .collect();
        known.sort_by_key(|(_, span)| span.start);
        if known.is_empty() {
            report.missing_at_top("pools", "at least one [pools.NAME] is needed");
        }
        Self { known }
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.known.iter().position(|(known, _)| known == name)
    }
}

/// Every route that leads to a pool.
pub fn routes(
    written: Vec<Spanned<file::Route>>,
    pools: &PoolNames,
    report: &mut Report<'_>,
) -> Vec<RouteSettings> {
    if written.is_empty() && !report.blamed("routes") {
        return match pools.known.as_slice() {
            [] => Vec::new(),
            [_] => vec![RouteSettings::everything_to(0)],
            _ => {
                report.missing_at_top("routes", "with more than one pool, [[routes]] are needed");
                Vec::new()
            }
        };
    }
    let mut seen = HashSet::new();
    let mut routes = Vec::new();
    for entry in written {
        let span = entry.span();
        let Some(route) = route(entry, pools, report) else {
            continue;
        };
        let host = match &route.host {
            HostPattern::Any => String::new(),
            HostPattern::Below(name) => format!("*.{name}"),
            HostPattern::Exact(name) => name.clone(),
        };
        if !seen.insert((host, route.path.clone())) {
            report.mistake(&span, "another route has this host and path");
        }
        routes.push(route);
    }
    warn_of_unreachable(pools, &routes, report);
    routes
}

fn route(
    entry: Spanned<file::Route>,
    pools: &PoolNames,
    report: &mut Report<'_>,
) -> Option<RouteSettings> {
    let span = entry.span();
    let entry = entry.into_inner();
    let Some(pool) = entry.pool else {
        report.missing(&span, "pool", "a route needs a pool to lead to");
        return None;
    };
    let Some(index) = pools.index(pool.get_ref()) else {
        unknown_pool(&pool, pools, report);
        return None;
    };
    let mut route = RouteSettings::everything_to(index);
    set(&mut route.host, entry.host.map(|host| host.0));
    set(&mut route.path, entry.path.map(|path| path.0.0));
    Some(route)
}

fn unknown_pool(pool: &Spanned<String>, pools: &PoolNames, report: &mut Report<'_>) {
    let name = pool.get_ref();
    let mut path = "pools".to_owned();
    append_key(&mut path, name);
    if report.blamed(&path) {
        return;
    }
    let known = pools.known.iter().map(|(name, _)| name.as_str());
    let hint = suggestion(name, known);
    report.mistake(&pool.span(), format!("there is no pool `{name}`{hint}"));
}

fn warn_of_unreachable(pools: &PoolNames, routes: &[RouteSettings], report: &mut Report<'_>) {
    for (index, (_, span)) in pools.known.iter().enumerate() {
        if !routes.iter().any(|route| route.pool == index) {
            report.warning(span, "no route leads to this pool");
        }
    }
}
