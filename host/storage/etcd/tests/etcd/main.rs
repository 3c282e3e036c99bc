//! A real server, which is begun for each test. Where etcd is not to be had they are skipped, and say so.

mod conformance;
mod encrypted;
mod failures;
mod limits;
mod requests;
mod support;
