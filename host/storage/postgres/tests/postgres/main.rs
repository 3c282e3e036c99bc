//! A real server, which is begun for each test. Where PostgreSQL is not installed they are skipped, and say so.

mod beginning;
mod conformance;
mod encrypted;
mod requests;
mod several;
mod support;
