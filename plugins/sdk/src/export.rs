//! The macro that turns a [`Strategy`](crate::Strategy) into a plugin.

/// Makes the crate a plugin whose strategy is the named type.
///
/// * `export!(Mine);` for a [`Strategy`](crate::Strategy) without options; the
///   plugin imports nothing.
/// * `export!(Mine, configured);` for one that implements
///   [`Configure`](crate::Configure) too.
/// * `export!(Mine, learning);` for one that implements [`Learn`](crate::Learn) and
///   [`Configure`](crate::Configure) too.
/// * `export!(Mine, planned);` for a [`Planner`](crate::Planner) that implements
///   [`Configure`](crate::Configure).
///
/// Once in a crate. On other targets than `wasm32` it only checks that the type
/// implements what it must, so that the crate can be tested natively.
///
/// ```
/// use anubis_strategy::{Backend, Configure, Refusal, Request, Strategy, options::Options};
///
/// #[derive(Default)]
/// struct Nth(u64);
///
/// impl Configure for Nth {
///     fn configure(&mut self, text: &str) -> Result<(), String> {
///         let mut options = Options::parse(text)?;
///         self.0 = options.integer("nth", 0..=100)?.unwrap_or(0);
///         options.finish()
///     }
/// }
///
/// impl Strategy for Nth {
///     fn pick(&mut self, _: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
///         Ok(self.0 as usize % backends.len())
///     }
/// }
///
/// anubis_strategy::export!(Nth, configured);
/// ```
///
/// One that learns:
///
/// ```
/// use anubis_strategy::{Backend, Configure, Learn, Outcome, Refusal, Request, Strategy};
///
/// /// Whoever failed last is left alone, unless nobody else is there.
/// #[derive(Default)]
/// struct Wary {
///     failed: Option<u32>,
/// }
///
/// impl Configure for Wary {
///     fn configure(&mut self, _: &str) -> Result<(), String> {
///         Ok(())
///     }
/// }
///
/// impl Strategy for Wary {
///     fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
///         let start = request.sequence as usize;
///         let turns = (0..backends.len()).map(|turn| (start + turn) % backends.len());
///         let well = |index: &usize| Some(backends[*index].id) != self.failed;
///         Ok(turns.clone().find(well).unwrap_or(0))
///     }
/// }
///
/// impl Learn for Wary {
///     fn observe(&mut self, outcomes: &[Outcome]) {
///         for outcome in outcomes {
///             self.failed = Some(outcome.id).filter(|_| !outcome.is_success());
///         }
///     }
/// }
///
/// anubis_strategy::export!(Wary, learning);
/// ```
///
/// One that plans:
///
/// ```
/// use anubis_strategy::{Backend, Configure, Planner, Routing};
///
/// #[derive(Default)]
/// struct ByWeight;
///
/// impl Configure for ByWeight {
///     fn configure(&mut self, _: &str) -> Result<(), String> {
///         Ok(())
///     }
/// }
///
/// impl Planner for ByWeight {
///     fn plan(&mut self, backends: &[Backend]) -> Routing {
///         Routing::Weights(backends.iter().map(|backend| backend.weight).collect())
///     }
/// }
///
/// anubis_strategy::export!(ByWeight, planned);
/// ```
#[macro_export]
macro_rules! export {
    ($strategy:ty) => {
        const _: () = {
            $crate::__export_strategy!($strategy);
        };
    };
    ($strategy:ty, configured) => {
        const _: () = {
            $crate::__export_strategy!($strategy);
            $crate::__export_config!($strategy);
        };
    };
    ($strategy:ty, learning) => {
        const _: () = {
            $crate::__export_strategy!($strategy);
            $crate::__export_config!($strategy);
            $crate::__export_learning!($strategy);
        };
    };
    ($planner:ty, planned) => {
        const _: () = {
            $crate::__export_planner!($planner);
            $crate::__export_config!($planner);
        };
    };
}

/// The one instance, which all exports use.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __instance {
    ($plugin:ty) => {
        struct Component;

        ::std::thread_local! {
            static INSTANCE: ::std::cell::RefCell<$plugin> = ::std::cell::RefCell::default();
        }
    };
}

/// The export `strategy`, and the instance.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_strategy {
    ($strategy:ty) => {
        $crate::__instance!($strategy);

        impl $crate::glue::simple::exports::anubis::lb::strategy::Guest for Component {
            fn pick(
                request: $crate::glue::types::Request,
                backends: ::std::vec::Vec<$crate::glue::types::Backend>,
            ) -> Result<u32, $crate::glue::types::Refusal> {
                INSTANCE.with_borrow_mut(|strategy| $crate::glue::pick(strategy, request, &backends))
            }
        }
        $crate::glue::simple::export_strategy!(Component with_types_in $crate::glue::simple);
    };
}

/// The export `config`.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_config {
    ($strategy:ty) => {
        impl $crate::glue::config::exports::anubis::lb::config::Guest for Component {
            fn configure(text: String) -> Result<(), String> {
                INSTANCE.with_borrow_mut(|strategy| $crate::Configure::configure(strategy, &text))
            }
        }
        $crate::glue::config::export_config!(Component with_types_in $crate::glue::config);
    };
}

/// The exports `feedback` and `state`.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_learning {
    ($strategy:ty) => {
        impl $crate::glue::learning::exports::anubis::lb::feedback::Guest for Component {
            fn observe(outcomes: ::std::vec::Vec<$crate::glue::types::Outcome>) {
                let outcomes = $crate::glue::outcomes(&outcomes);
                INSTANCE.with_borrow_mut(|strategy| $crate::Learn::observe(strategy, outcomes))
            }
        }
        impl $crate::glue::learning::exports::anubis::lb::state::Guest for Component {
            fn save() -> ::std::vec::Vec<u8> {
                INSTANCE.with_borrow_mut($crate::Learn::save)
            }
            fn restore(saved: ::std::vec::Vec<u8>) -> Result<(), String> {
                INSTANCE.with_borrow_mut(|strategy| $crate::Learn::restore(strategy, &saved))
            }
        }
        $crate::glue::learning::export_learning!(Component with_types_in $crate::glue::learning);
    };
}

/// The export `planner`, and the instance.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_planner {
    ($planner:ty) => {
        $crate::__instance!($planner);

        impl $crate::glue::planner::exports::anubis::lb::planner::Guest for Component {
            fn plan(
                backends: ::std::vec::Vec<$crate::glue::types::Backend>,
            ) -> $crate::glue::types::Routing {
                INSTANCE.with_borrow_mut(|planner| $crate::glue::plan(planner, &backends))
            }
        }
        $crate::glue::planner::export_planner!(Component with_types_in $crate::glue::planner);
    };
}

/// Only the check that the type will do.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_strategy {
    ($strategy:ty) => {
        const fn is_strategy<T: $crate::Strategy>() {}
        is_strategy::<$strategy>();
    };
}

/// Only the check that the type will do.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_config {
    ($strategy:ty) => {
        const fn is_configure<T: $crate::Configure>() {}
        is_configure::<$strategy>();
    };
}

/// Only the check that the type will do.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_learning {
    ($strategy:ty) => {
        const fn is_learning<T: $crate::Learn>() {}
        is_learning::<$strategy>();
    };
}

/// Only the check that the type will do.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_planner {
    ($planner:ty) => {
        const fn is_planner<T: $crate::Planner>() {}
        is_planner::<$planner>();
    };
}
