//! The SDK as an application sees it, run natively.

mod answers;
mod async_handlers;
mod handlers;
mod lifecycle;
mod logging;
mod outside;
mod proxies;
mod queries;
mod raw;
mod routes;
mod schedules;
mod timers;
mod together;
mod upgrades;
