//! What to do about a plugin that imports WASI, in the language that it is written in.

use std::path::Path;

use super::language::Language;

/// Compilers as they name themselves in a component, the telling ones first: an
/// interpreter is often written in Rust or C itself.
const PRODUCERS: [(&str, Language); 7] = [
    ("componentize-py", Language::Python),
    ("JavaScript", Language::JavaScript),
    ("cmd/compile", Language::Go),
    ("TinyGo", Language::Go),
    ("zig", Language::Zig),
    ("rustc", Language::Rust),
    ("clang", Language::C),
];

/// How to build the plugin at `file`, made with `producers`, so that it imports nothing
/// of WASI. `None` where nobody can tell its language.
pub fn advice(file: &Path, producers: &[String]) -> Option<String> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let language = Language::of(folder).or_else(|| made_with(producers))?;
    Some(format!(
        "`anubis plugin build` does that for {}: {}",
        language.as_str(),
        by_hand(language)
    ))
}

fn made_with(producers: &[String]) -> Option<Language> {
    let is_one_of = |part: &str| producers.iter().any(|producer| producer.contains(part));
    let mut known = PRODUCERS.into_iter();
    known.find_map(|(part, language)| is_one_of(part).then_some(language))
}

fn by_hand(language: Language) -> &'static str {
    match language {
        Language::Rust => {
            "it compiles for wasm32-unknown-unknown, where the standard library imports nothing; \
             wasm32-wasip1 and wasm32-wasip2 bring WASI"
        }
        Language::C => {
            "it compiles with --target=wasm32-unknown-unknown -ffreestanding -nostdlib; what \
             wasi-libc has for files, clocks and the environment brings WASI"
        }
        Language::Cpp => {
            "it links wasi-libc statically and answers what is left of WASI with an adapter that \
             imports nothing"
        }
        Language::Zig => "it compiles with -target wasm32-freestanding; wasm32-wasi brings WASI",
        Language::Go => {
            "it compiles with GOOS=wasip1 -buildmode=c-shared and answers the runtime's WASI with \
             an adapter that imports nothing; the usual adapter only passes it on"
        }
        Language::AssemblyScript => {
            "it compiles with --use abort= and without @assemblyscript/wasi-shim"
        }
        Language::JavaScript | Language::TypeScript => {
            "it calls componentize-qjs with --stub-wasi; jco would need --disable all"
        }
        Language::Python => "it calls componentize-py componentize with --stub-wasi",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(producers: &[&str]) -> Option<String> {
        let producers: Vec<String> = producers.iter().map(|name| (*name).to_owned()).collect();
        advice(Path::new("/nowhere/at/all.wasm"), &producers)
    }

    #[test]
    fn the_language_is_told_by_what_made_it() {
        for (producers, part) in [
            (&["Rust", "rustc 1.95.0"][..], "wasm32-unknown-unknown,"),
            (&["Go go1.27.3", "Go cmd/compile go1.27.3"], "GOOS=wasip1"),
            (&["rustc 1.90.0", "componentize-py 0.25.1"], "--stub-wasi"),
            (&["Debian clang 19.1.7"], "-nostdlib"),
        ] {
            let told = told_of(producers).unwrap();
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(told_of(&["wit-component 0.254.2"]), None);
    }

    #[test]
    fn the_sources_beside_it_say_it_better() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine.zig"), "").unwrap();
        std::fs::write(folder.path().join("strategy.zig"), "").unwrap();
        let told = advice(&folder.path().join("mine.wasm"), &["rustc 1".to_owned()]);
        assert!(told.unwrap().contains("wasm32-freestanding"));
    }

    #[test]
    fn every_language_has_an_answer() {
        for language in Language::ALL {
            assert!(by_hand(language).starts_with("it "), "{language:?}");
        }
    }
}
