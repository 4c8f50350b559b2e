//! Every language of the plugin toolkit, with its real compiler.
//!
//! `tests/languages/install` gets the compilers; `ANUBIS_LANGUAGES=1 cargo test -p
//! anubis-tests --test languages` builds every template in each of its shapes and every
//! example, holds what comes out to the conformance kit, serves traffic through it, and
//! swaps from one to the next under load. A language whose compiler is not there is
//! reported as ignored, by name; without the variable all of them are.

mod projects;
mod traffic;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use anubis::toolkit::Shape;

use projects::{Component, Project, Workshop};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = match std::env::var_os("ANUBIS_LANGUAGES") {
        Some(_) if !arguments.list => trials(Workshop::open()),
        _ => all_ignored(),
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn all_ignored() -> Vec<Trial> {
    let trial = |project: Project| Trial::test(project.name(), || Ok(())).with_ignored_flag(true);
    Project::all().into_iter().map(trial).collect()
}

/// Builds everything, and makes trials of what came out.
fn trials(workshop: Workshop) -> Vec<Trial> {
    let workshop = Arc::new(workshop);
    let mut trials = Vec::new();
    let mut components = Vec::new();
    for project in Project::all() {
        let name = project.name();
        match workshop.build(&project) {
            Ok(Some(component)) => {
                let component = Arc::new(component);
                trials.extend(trials_of(&name, &workshop, &component));
                if project.can_be_reproduced() {
                    let (trial, run) = ("is_reproducible", Workshop::is_reproducible);
                    trials.push(trial_of(&name, trial, run, &workshop, &component));
                }
                if let Project::Template(_, Shape::Planned) = project {
                    let (trial, run) = ("steers_ten_thousand", traffic::steers);
                    trials.push(trial_of(&name, trial, run, &workshop, &component));
                }
                components.push(component);
            }
            Ok(None) => trials.push(without_compiler(&name)),
            Err(why) => trials.push(Trial::test(format!("{name}::builds"), || Err(why))),
        }
    }
    trials.push(swaps(workshop, components));
    trials
}

fn without_compiler(name: &str) -> Trial {
    eprintln!("{name}: skipped, its compiler is not installed here");
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

fn trials_of(name: &str, workshop: &Arc<Workshop>, component: &Arc<Component>) -> Vec<Trial> {
    let trial = |what, run| trial_of(name, what, run, workshop, component);
    vec![
        trial("imports_nothing_but_the_contract", Workshop::permissions),
        trial("conforms", Workshop::conformance),
        trial("serves", traffic::serves),
    ]
}

fn trial_of(
    name: &str,
    what: &str,
    run: fn(&Workshop, &Component) -> Result<(), Failed>,
    workshop: &Arc<Workshop>,
    component: &Arc<Component>,
) -> Trial {
    let (workshop, component) = (Arc::clone(workshop), Arc::clone(component));
    Trial::test(format!("{name}::{what}"), move || {
        run(&workshop, &component)
    })
}

fn swaps(workshop: Arc<Workshop>, components: Vec<Arc<Component>>) -> Trial {
    Trial::test("swapped_from_each_to_the_next_under_load", move || {
        traffic::swaps(&workshop, &components)
    })
}
