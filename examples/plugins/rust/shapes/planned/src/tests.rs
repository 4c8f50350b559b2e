//! Native: `cargo test` needs no WebAssembly.

use super::*;
use anubis_strategy::testing::pool;

#[test]
fn who_is_busy_gets_less() {
    let mut backends = pool(&[2, 2, 1]);
    backends[0].utilization = 5_000;
    backends[2].utilization = 20_000;
    let plan = Spare.plan(&backends);
    assert_eq!(plan, Routing::TwoChoices(vec![100, 200, 1]));
}
