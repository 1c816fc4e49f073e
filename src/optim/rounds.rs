use burn::module::Module;

use super::{
    RobustGradient,
    clean::{Clean, Held},
    passes::Passes,
    point::{At, Sums},
    readback::Readback,
    summary::CleanReadings,
};
use crate::Result;

/// The two rounds of passes of a step, wherever they run.
///
/// A step goes by `dyn`, as by `dyn Passes`: but for the calls of its closure, it is compiled once for a
/// model, not once for every closure.
pub(crate) trait Rounds<M: Module> {
    /// How the clean gradients are held.
    fn held(&self, gradient: &RobustGradient, at: &At<'_, M>) -> Held;

    /// Step 1: the passes at $\theta$, and at points that can follow at once. The running statistics of
    /// `at_theta` become those of the passes.
    fn clean(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
        sums: &mut Sums,
    ) -> Result<(Clean, CleanReadings)>;

    /// Steps 2 and 3: the passes at the points that are left.
    fn at_points(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
        sums: &mut Sums,
    ) -> Result<()>;

    /// How many times the closure was called.
    fn calls(&self) -> usize;
}

/// One pass after the other, on the model's device.
pub(crate) struct InTurn<'a, M: Module>(pub &'a mut dyn Passes<M>);

impl<M: Module> Rounds<M> for InTurn<'_, M> {
    fn held(&self, gradient: &RobustGradient, at: &At<'_, M>) -> Held {
        gradient.held(at)
    }

    fn clean(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
        sums: &mut Sums,
    ) -> Result<(Clean, CleanReadings)> {
        gradient.clean_passes(self.0, readback, at, at_theta, sums)
    }

    fn at_points(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
        sums: &mut Sums,
    ) -> Result<()> {
        gradient.passes_at_points(self.0, readback, at, clean, sums)
    }

    fn calls(&self) -> usize {
        self.0.calls()
    }
}
