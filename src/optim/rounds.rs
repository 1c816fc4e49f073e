use burn::module::Module;

use super::{
    RobustGradient,
    clean::Clean,
    passes::Passes,
    point::{At, Sums},
    readback::Readback,
    summary::{CleanReadings, PointReadings},
};
use crate::Result;

/// The two rounds of passes of a step, wherever they run.
pub(crate) trait Rounds<M: Module> {
    /// Step 1: the passes at $\theta$. The running statistics of `at_theta` become those of the
    /// passes.
    fn clean(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
    ) -> Result<(Clean, CleanReadings)>;

    /// Steps 2 and 3: the passes at the points.
    fn at_points(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
    ) -> Result<(Sums, Vec<PointReadings>)>;

    /// How many times the closure was called.
    fn calls(&self) -> usize;
}

/// One pass after the other, on the model's device.
pub(crate) struct InTurn<P>(pub P);

impl<M: Module, P: Passes<M>> Rounds<M> for InTurn<P> {
    fn clean(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        at_theta: &M,
    ) -> Result<(Clean, CleanReadings)> {
        gradient.clean_passes(&mut self.0, readback, at, at_theta)
    }

    fn at_points(
        &mut self,
        gradient: &RobustGradient,
        readback: &mut Readback,
        at: &At<'_, M>,
        clean: &mut Clean,
    ) -> Result<(Sums, Vec<PointReadings>)> {
        gradient.passes_at_points(&mut self.0, readback, at, clean)
    }

    fn calls(&self) -> usize {
        self.0.calls()
    }
}
