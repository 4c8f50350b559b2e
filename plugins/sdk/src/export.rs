//! The macro that turns a [`Strategy`](crate::Strategy) into a plugin.

/// Makes the crate a plugin whose strategy is the named type.
///
/// * `export!(Mine);` for a [`Strategy`](crate::Strategy) without options; the
///   plugin imports nothing.
/// * `export!(Mine, configured);` for one that implements
///   [`Configure`](crate::Configure) too.
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
}

/// The export `strategy`, and the instance that both exports use.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_strategy {
    ($strategy:ty) => {
        struct Component;

        ::std::thread_local! {
            static STRATEGY: ::std::cell::RefCell<$strategy> = ::std::cell::RefCell::default();
        }

        impl $crate::glue::simple::exports::anubis::lb::strategy::Guest for Component {
            fn pick(
                request: $crate::glue::types::Request,
                backends: ::std::vec::Vec<$crate::glue::types::Backend>,
            ) -> Result<u32, $crate::glue::types::Refusal> {
                STRATEGY.with_borrow_mut(|strategy| $crate::glue::pick(strategy, request, &backends))
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
                STRATEGY.with_borrow_mut(|strategy| $crate::Configure::configure(strategy, &text))
            }
        }
        $crate::glue::config::export_config!(Component with_types_in $crate::glue::config);
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
