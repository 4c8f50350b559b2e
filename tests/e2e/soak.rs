//! Many swaps under load: nothing fails and nothing is left behind.

use std::collections::BTreeSet;

use anubis_tests::admin::Admin;
use anubis_tests::{Backend, Config, Load, Proxy, guests, within};

/// Swaps of one run; `ANUBIS_SWAPS=1000` for a long one.
const SWAPS: usize = 40;

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    resident: u64,
    mappings: usize,
    threads: usize,
    descriptors: usize,
}

impl Held {
    fn by(proxy: &Proxy) -> Held {
        Held {
            resident: proxy.resident(),
            mappings: proxy.process().proc_file("maps").lines().count(),
            threads: proxy.process().proc_entries("task"),
            descriptors: proxy.process().proc_entries("fd"),
        }
    }

    fn is_no_more_than(&self, before: &Held) -> bool {
        self.resident <= before.resident + (32 << 20)
            && self.mappings <= before.mappings + 60
            && self.threads <= before.threads
            && self.descriptors <= before.descriptors + 4
    }
}

/// Good, broken, treacherous and slow plugins in turn, each other than before.
fn plugin(round: usize) -> Vec<u8> {
    match round % 5 {
        0 | 2 => guests::strategy(&format!("(i32.rem_u (i32.const {round}) (i32.const 3))")),
        1 => b"\0asm\x0d\0\x01\0 and then nothing of use".to_vec(),
        3 => guests::live(&format!("(drop (i32.const {round})) unreachable")),
        _ => guests::wasm("slow"),
    }
}

#[tokio::test]
async fn swaps_good_and_bad_leave_nothing_behind() {
    let swaps = std::env::var("ANUBIS_SWAPS").map_or(SWAPS, |text| {
        text.parse().expect("ANUBIS_SWAPS is a number")
    });
    let backends = ["a", "b", "c"].map(|name| Backend::named(name).start());
    let config = backends.iter().fold(
        Config::strategy("round-robin").global("[admin]\naddress = \"127.0.0.1:0\""),
        |config, backend| config.backend(backend, ""),
    );
    let proxy = Proxy::start(config).await;
    let admin = Admin::of(&proxy).await;
    let load = Load::start(proxy.address(), 4);
    let mut statuses = BTreeSet::new();
    let mut before = None;
    for round in 0..swaps {
        let told = admin
            .upload("/v1/pools/web/strategy?name=soak", &plugin(round))
            .await;
        statuses.insert(told.status());
        load.more(5).await;
        // What is kept for rollbacks is there after the first few.
        if round == swaps / 3 {
            before = Some(Held::by(&proxy));
        }
    }
    assert_eq!(statuses, BTreeSet::from([200, 422]));
    load.stop().await.assert_none_failed();
    let before = before.expect("there were swaps");
    within(&format!("no more than {before:?}"), async {
        // Old instances are freed in the background, without an event.
        while !Held::by(&proxy).is_no_more_than(&before) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    println!(
        "{swaps} swaps: {before:?} after a third, {:?} at the end",
        Held::by(&proxy)
    );
}
