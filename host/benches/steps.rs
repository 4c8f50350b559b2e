//! Nanoseconds that single steps of the request path take: `cargo bench -p anubis --bench
//! steps`. With `--take NAME TIMES` it takes the steps of that name so often and measures
//! nothing: for `valgrind`, which counts instructions (`tests/bench/steps` does both).

mod rounds;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use anubis::steps;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut all = steps::all()?;
    match arguments.as_slice() {
        [take, name, times] if take == "--take" => {
            let times: u64 = times.parse()?;
            for step in all.iter_mut().filter(|step| step.name == *name) {
                for _ in 0..times {
                    step.take();
                }
            }
        }
        [list] if list == "--list" => {
            for step in &all {
                println!("{}", step.name);
            }
        }
        _ => {
            let medians = rounds::medians(&mut all, |step| step.take());
            for (step, nanoseconds) in all.iter().zip(medians) {
                println!("{:<42}{nanoseconds:>10.1} ns", step.name);
            }
            println!("{:<42}{:>10.1} ns", "own word, added to", added(1, true));
            for threads in [1, 2] {
                let name = format!("one word, added to by {threads} threads");
                println!("{name:<42}{:>10.1} ns", added(threads, false));
            }
        }
    }
    Ok(())
}

/// A word on a cache line of its own, as the pool's sequence is.
#[derive(Default)]
#[repr(align(128))]
struct Word(AtomicU64);

/// Nanoseconds that a thread takes to add to a word: as to its own counters, or, with so
/// many threads at once, as to what all share.
fn added(threads: u32, plainly: bool) -> f64 {
    const TIMES: u32 = 5_000_000;
    let word = Word::default();
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    match plainly {
                        true => word.0.store(word.0.load(Relaxed).wrapping_add(1), Relaxed),
                        false => _ = word.0.fetch_add(1, Relaxed),
                    }
                }
            });
        }
    });
    begin.elapsed().as_nanos() as f64 / f64::from(TIMES)
}
