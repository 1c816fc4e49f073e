use burn::{
    lr_scheduler::{LrScheduler, LrSchedulerRecord, module_lr_scheduler::ModuleLrScheduler},
    module::ParamGroup,
};

use super::RobustTrainStep;
use crate::optim::{Kept, Progress, RobustGradient};

impl RobustTrainStep {
    /// The learning rate's scheduler of a training whose checkpoints hold what its steps keep: the
    /// number of the next step, how many in a row were skipped, and the state of an
    /// [aggregation](crate::optim::AggregationConfig), as GroupDRO's $q$.
    ///
    /// burn's checkpoints are of a model, an optimizer and a scheduler, and a scheduler's is made of
    /// numbers by name: there is the place for these. The learning rates are those of `scheduler`.
    /// A checkpoint that was made without it leaves the state as it is, empty in a new training.
    ///
    /// ```no_run
    /// # use burn::{lr_scheduler::constant::ConstantLr, optim::AdamWConfig, train::Learner};
    /// # use burn::train::{InferenceStep, TrainStep};
    /// # use roga::train::RobustTrainStep;
    /// # fn learner<M>(net: M, robust: RobustTrainStep)
    /// # where
    /// #     M: TrainStep + InferenceStep + burn::module::Module + std::fmt::Display + 'static,
    /// # {
    /// // Before the model that holds `robust` goes into the learner:
    /// let schedule = robust.checkpointed_with(ConstantLr::new(1e-3));
    /// let learner = Learner::new(net, AdamWConfig::new().init(), schedule);
    /// # }
    /// ```
    pub fn checkpointed_with(&self, scheduler: impl Into<ModuleLrScheduler>) -> ModuleLrScheduler {
        // A group without parameters: its learning rate is nobody's.
        let none = ParamGroup::from_ids(Vec::new());
        let carrier = Carrier(self.gradient().clone());
        scheduler.into().with_group(none, carrier)
    }
}

/// What steps keep, as the state of a scheduler.
#[derive(Clone)]
struct Carrier(RobustGradient);

impl LrScheduler for Carrier {
    fn step(&mut self) -> f64 {
        0.0
    }

    fn to_record(&self) -> LrSchedulerRecord {
        let Progress {
            steps,
            skipped,
            skipped_since,
            // No number.
            skipped_for: _,
            kept: Kept { clean, perturbed },
        } = self.0.progress();
        let mut record = LrSchedulerRecord::new()
            .with_scalar("steps", steps)
            .with_scalar("skipped", skipped)
            .with_scalar("skipped_since", skipped_since);
        for (of, numbers) in [("clean", clean), ("perturbed", perturbed)] {
            for (place, number) in numbers.into_iter().enumerate() {
                record = record.with_scalar(&format!("{of}.{place}"), number);
            }
        }
        record
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        // Of a checkpoint that was made without.
        let Some(steps) = record.scalar("steps") else {
            return;
        };
        let number = |name| record.scalar(name).unwrap_or(0);
        let numbers = |of: &str| {
            let number = |place: usize| record.scalar(&format!("{of}.{place}"));
            (0..).map_while(number).collect()
        };
        self.0.resume(Progress {
            steps,
            skipped: number("skipped"),
            skipped_since: number("skipped_since"),
            skipped_for: None,
            kept: Kept {
                clean: numbers("clean"),
                perturbed: numbers("perturbed"),
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use burn::{lr_scheduler::linear::LinearLrSchedulerConfig, train::Interrupter};

    use super::*;
    use crate::optim::RobustGradientAlignmentConfig;

    fn robust() -> RobustTrainStep {
        let gradient = RobustGradientAlignmentConfig::group_dro(0.1).init_gradient();
        RobustTrainStep::new(gradient.unwrap(), Interrupter::new())
    }

    #[test]
    fn all_that_steps_keep_comes_back_bit_for_bit() {
        let schedule = || LinearLrSchedulerConfig::new(0.1, 0.0, 8).init().unwrap();
        let progress = Progress {
            steps: 1 << 60,
            skipped: 3,
            skipped_since: 41,
            skipped_for: None,
            kept: Kept {
                clean: vec![0.1 + 0.2, 1e-300, f64::MIN_POSITIVE / 8.0],
                perturbed: (0..12).map(|place| 1.0 / f64::from(place + 3)).collect(),
            },
        };
        let first = robust();
        first.gradient().resume(progress.clone());
        let mut carried = first.checkpointed_with(schedule());
        let mut plain = schedule();
        let rates = |schedule: &mut ModuleLrScheduler| schedule.step().base();
        assert_eq!(rates(&mut carried), rates(&mut plain));
        let bytes = carried.to_record().into_bytes().unwrap();
        let record = LrSchedulerRecord::from_bytes(bytes).unwrap();

        let second = robust();
        // The learner has a clone, as the model has.
        let model = second.clone();
        let mut resumed = second.checkpointed_with(schedule()).load_record(record);
        assert_eq!(model.gradient().progress(), progress);
        assert_eq!(rates(&mut resumed), rates(&mut plain));

        // Made without it.
        let third = robust();
        let record = plain.to_record();
        let mut resumed = third.checkpointed_with(schedule()).load_record(record);
        assert_eq!(third.gradient().progress(), Progress::default());
        assert_eq!(rates(&mut resumed), rates(&mut plain));
    }

    #[test]
    fn no_parameter_learns_at_the_carriers_rate() {
        let mut schedule = robust().checkpointed_with(0.25);
        let rate = schedule.step();
        let id = burn::module::ParamId::new();
        assert_eq!(rate.lr_from_param(id, Some("net.weight")), 0.25);
        assert_eq!(rate.lr_from_param(id, None), 0.25);
    }
}
