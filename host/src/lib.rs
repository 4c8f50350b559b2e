pub mod config;
pub mod pool;
pub mod route;
pub mod strategy;
