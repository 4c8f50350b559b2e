pub mod config;
pub mod plugin;
pub mod pool;
pub mod strategy;
