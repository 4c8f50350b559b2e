pub mod config;
pub mod pool;
pub mod strategy;
