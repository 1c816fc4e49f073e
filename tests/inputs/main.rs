//! Numbers that cannot be meant, wherever a number can be handed over: refused by name, or a defined
//! result, and no panic.

mod arguments;
mod configs;
mod domains;
mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};
use roga::{Error, Result, domain::DomainBatches};

/// The result of something that must not panic.
#[track_caller]
fn without_panic<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| panic!("{what} panics"))
}

/// Whether an error says by one of these names what it is about.
#[track_caller]
fn assert_named(what: &str, error: &Error, names: &[&str]) {
    let message = error.to_string();
    assert!(
        names.iter().any(|name| message.contains(name)),
        "{what} is refused by `{message}`, which names none of {names:?}"
    );
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// Domains of two rows of two numbers.
fn domains(count: usize) -> DomainBatches<Tensor<2>> {
    let rows = |domain: usize| {
        let [x, y] = [1.0, 2.0].map(|x: f32| (x + 0.7 * domain as f32).sin());
        Tensor::from_floats([[x, y], [y, -0.5]], &device())
    };
    DomainBatches::unnamed((0..count).map(rows)).unwrap()
}
