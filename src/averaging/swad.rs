use std::collections::VecDeque;

use burn::{config::Config, module::Module};

use super::{AverageRecord, record::settings_of, weights::WeightMean};
use crate::{Error, Result};

/// The settings of [`Swad`].
#[derive(Config, Debug)]
pub struct SwadConfig {
    /// The patience $N_s$ of the start, in evaluations: at least 1. Default: 3.
    #[config(default = 3)]
    pub optimum_patience: u64,
    /// The patience $N_e$ of the end, in evaluations: at least 1. Default: 6.
    #[config(default = 6)]
    pub overfit_patience: u64,
    /// The rate $r$ of tolerance: finite, at least 1. Default: 1.3.
    #[config(default = 1.3)]
    pub tolerance_rate: f64,
}

impl SwadConfig {
    /// An average that has seen nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where a patience is 0, or the rate is below 1 or not finite.
    pub fn init(&self) -> Result<Swad> {
        let patience = |field, patience: u64| match patience {
            0 => Err(Error::Setting {
                field,
                rule: "be at least 1",
                value: patience.to_string(),
            }),
            _ => Ok(()),
        };
        patience("optimum_patience", self.optimum_patience)?;
        patience("overfit_patience", self.overfit_patience)?;
        if !(self.tolerance_rate.is_finite() && self.tolerance_rate >= 1.0) {
            return Err(Error::Setting {
                field: "tolerance_rate",
                rule: "be finite and at least 1",
                value: self.tolerance_rate.to_string(),
            });
        }
        Ok(Swad {
            config: self.clone(),
            updates: 0,
            open: Segment::default(),
            stage: Stage::Searching(VecDeque::new()),
        })
    }
}

/// Stochastic weight averaging densely (SWAD): the mean of all weights from where a validation loss
/// has stopped to fall to where it rises.
///
/// With the weights $\theta_t$ after step $t$, and validation losses $\ell_1, \ell_2, \dots$ at
/// evaluations every so many steps:
///
/// * The **start** is the first evaluation $s$ with
///   $\ell_s = \min(\ell_s, \dots, \ell_{s + N_s - 1})$: nothing better has come in $N_s$
///   evaluations, itself included. The **tolerance** is then $\ell = \frac{r}{N_s}
///   \sum_{i = s}^{s + N_s - 1} \ell_i$.
/// * The **end** is the last evaluation before $N_e$ in a row above $\ell$; without any such, it is
///   the end of training.
/// * The average is $\frac{1}{t_e - t_s + 1} \sum_{t = t_s}^{t_e} \theta_t$ over **every** step $t$
///   between the two. The steps up to an evaluation belong to it: $t_s$ is the first step after
///   evaluation $s - 1$.
///
/// An average of weights along a valley lies in its middle, where the loss is flat in more
/// directions; sampling every step, and stopping before overfitting, is what distinguishes SWAD from
/// stochastic weight averaging.
///
/// **Passes**: none but the evaluations. **Memory**: $N_s + 1$ copies of the trainable parameters
/// before the start is found, 3 until the end, 1 from then on. **When to use it**: whenever there
/// is a validation set of the *training* domains; it goes with any optimizer of this crate and
/// any constant learning rate. A validation loss of the test domain is ORACLE selection.
///
/// A loss that does not stop falling gives no start: the average is then that of the steps since the
/// last evaluation but one. After the end, updates change nothing: training may stop.
///
/// The authors' code differs from the paper's algorithm, which this is, in three points: it
/// averages the means of the intervals between evaluations, it may look further back than $s$
/// where $N_e > N_s$, and where training ends first it leaves out trailing evaluations above the
/// tolerance.
///
/// # Running statistics
///
/// Those of the averaged model are a copy of the trained one's. The authors compute them again over
/// 500 training batches: forward passes of the averaged model on the training device do so, each
/// with the layers' own momentum.
///
/// ```
/// use burn::{module::Module, nn::BatchNormConfig, tensor::{Device, Tensor}};
/// use roga::averaging::{SwadConfig, SwadPhase};
///
/// let device = Device::default().autodiff();
/// let model = BatchNormConfig::new(1).init(&device);
/// let mut swad = SwadConfig::new().init()?;
/// for (step, loss) in [0.9, 0.5, 0.6, 0.7, 0.8].into_iter().enumerate() {
///     // A step of the optimizer, and
///     swad.update(&model)?;
///     // every so many steps, with the loss over a validation set:
///     if let SwadPhase::Ended { .. } = swad.evaluated(loss)? {
///         break;
///     }
/// }
/// assert!(matches!(swad.phase(), SwadPhase::Averaging { start: 2, .. }));
///
/// let averaged = swad.average(&model)?;
/// # let train_loader = [Tensor::<2>::from_floats([[4.0], [6.0]], &device)];
/// for batch in train_loader {
///     averaged.forward(batch); // for its running statistics
/// }
/// let averaged = averaged.valid();
/// # assert_eq!(averaged.running_mean.value().into_scalar::<f32>(), 0.5);
/// # Ok::<(), roga::Error>(())
/// ```
///
/// Source: Cha, Chun, Lee, Cho, Park, Lee and Park, "SWAD: Domain Generalization by Seeking Flat
/// Minima", NeurIPS 2021, arXiv 2102.08604, algorithm 1; the defaults are its $N_s = 3$, $N_e = 6$
/// and $r = 1.3$ ($r = 1.2$ for VLCS).
#[derive(Debug, Clone)]
pub struct Swad {
    config: SwadConfig,
    updates: u64,
    /// The steps since the last evaluation.
    open: Segment,
    stage: Stage,
}

/// Where [`Swad`] is. Steps are counted from 1, by updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SwadPhase {
    /// The validation loss may still fall.
    Searching,
    /// The start is found.
    Averaging {
        /// The first step of the average, $t_s$.
        start: u64,
        /// The tolerance $\ell$.
        tolerance: f64,
    },
    /// The validation loss has risen: the average is complete.
    Ended {
        /// The first step of the average, $t_s$.
        start: u64,
        /// The last step of the average, $t_e$.
        end: u64,
    },
}

#[derive(Debug, Clone)]
enum Stage {
    /// The last $N_s$ evaluations, at most, and their losses.
    Searching(VecDeque<(Segment, f64)>),
    Averaging {
        tolerance: f64,
        /// What belongs to the average, whatever comes.
        certain: Segment,
        /// The evaluations above the tolerance since then: fewer than $N_e$.
        pending: Segment,
        above: u64,
    },
    Ended(Segment),
}

impl Swad {
    /// Takes the weights after a step. Nothing is waited for.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where the model has no trainable parameter on a device with autodiff, or
    /// is not the one of the updates before. Nothing has changed then.
    pub fn update<M: Module>(&mut self, model: &M) -> Result<()> {
        if let Stage::Ended(_) = self.stage {
            return Ok(());
        }
        let step = self.updates.saturating_add(1);
        self.open.add(model, step)?;
        self.updates = step;
        Ok(())
    }

    /// Takes the validation loss of the weights of the last update.
    ///
    /// # Errors
    ///
    /// [`Error::Loss`] where the loss is negative or not finite, or where there was no update since
    /// the last evaluation. Nothing has changed then.
    pub fn evaluated(&mut self, loss: f64) -> Result<SwadPhase> {
        self.check(loss)?;
        match &mut self.stage {
            Stage::Searching(window) => {
                let patience = self.config.optimum_patience;
                window.push_back((std::mem::take(&mut self.open), loss));
                if window.len() as u64 > patience {
                    window.pop_front();
                }
                let first = window.front().map_or(loss, |(_, loss)| *loss);
                let converged = window.iter().all(|(_, loss)| first <= *loss);
                if window.len() as u64 == patience && converged {
                    let window = std::mem::take(window);
                    self.stage = self.config.start(window);
                }
            }
            Stage::Averaging {
                tolerance,
                certain,
                pending,
                above,
            } => {
                pending.merge(std::mem::take(&mut self.open));
                if loss > *tolerance {
                    *above = above.saturating_add(1);
                } else {
                    *above = 0;
                    certain.merge(std::mem::take(pending));
                }
                if *above >= self.config.overfit_patience {
                    self.stage = Stage::Ended(std::mem::take(certain));
                }
            }
            Stage::Ended(_) => {}
        }
        Ok(self.phase())
    }

    /// Where it is.
    pub fn phase(&self) -> SwadPhase {
        match &self.stage {
            Stage::Searching(_) => SwadPhase::Searching,
            Stage::Averaging {
                tolerance, certain, ..
            } => SwadPhase::Averaging {
                start: certain.first,
                tolerance: *tolerance,
            },
            Stage::Ended(average) => SwadPhase::Ended {
                start: average.first,
                end: average.last(),
            },
        }
    }

    /// The model with the averaged weights, as if training ended here: a copy, with the same
    /// parameter ids and running statistics of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] before the first update, or with another model.
    pub fn average<M: Module>(&self, model: &M) -> Result<M> {
        let average = match &self.stage {
            Stage::Ended(average) => average.clone(),
            Stage::Averaging {
                certain, pending, ..
            } => joined(certain, &[pending, &self.open]),
            Stage::Searching(window) => match window.back() {
                Some((last, _)) => joined(last, &[&self.open]),
                None => self.open.clone(),
            },
        };
        average.mean.write(model)
    }

    /// How many updates it has seen, up to the end.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The settings.
    pub fn config(&self) -> &SwadConfig {
        &self.config
    }

    /// All that it needs to go on.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where the weights cannot be read back.
    pub fn to_record(&self) -> Result<AverageRecord> {
        let record = AverageRecord::new(self.settings()).with_number("updates", self.updates);
        let record = self.open.record("open", record)?;
        match &self.stage {
            Stage::Searching(window) => {
                let record = record.with_number("window", window.len() as u64);
                let mut window = window.iter().enumerate();
                window.try_fold(record, |record, (place, (segment, loss))| {
                    let record = record.with_number(&format!("loss.{place}"), *loss);
                    segment.record(&format!("window.{place}"), record)
                })
            }
            Stage::Averaging {
                tolerance,
                certain,
                pending,
                above,
            } => {
                let record = record.with_number("tolerance", *tolerance);
                let record = record.with_number("above", *above);
                pending.record("pending", certain.record("certain", record)?)
            }
            Stage::Ended(average) => average.record("average", record),
        }
    }

    /// Goes on where the record was taken: bit for bit.
    ///
    /// `model` is the one that training goes on with: its parameter ids must be those of the record,
    /// as after
    /// [`RobustGradientAlignmentRecord::load_model`](crate::optim::RobustGradientAlignmentRecord::load_model).
    ///
    /// # Errors
    ///
    /// [`Error::Record`] where the record is of other settings or of another model. Nothing has
    /// changed then.
    pub fn load_record<M: Module>(&mut self, record: &AverageRecord, model: &M) -> Result<()> {
        record.check(&self.settings())?;
        let segment = |name: &str| Segment::load(name, record, model);
        let stage = if let Ok(length) = record.number::<u64>("window") {
            // Not as many as a damaged file may say.
            let places = 0..length.min(self.config.optimum_patience);
            let window = places.map(|place| {
                let loss = record.number(&format!("loss.{place}"))?;
                Ok((segment(&format!("window.{place}"))?, loss))
            });
            Stage::Searching(window.collect::<Result<_>>()?)
        } else if let Ok(tolerance) = record.number("tolerance") {
            Stage::Averaging {
                tolerance,
                certain: segment("certain")?,
                pending: segment("pending")?,
                above: record.number("above")?,
            }
        } else {
            Stage::Ended(segment("average")?)
        };
        let (updates, open) = (record.number("updates")?, segment("open")?);
        (self.updates, self.open, self.stage) = (updates, open, stage);
        Ok(())
    }

    fn settings(&self) -> String {
        settings_of("SWAD", &self.config)
    }

    fn check(&self, loss: f64) -> Result<()> {
        let (rule, found) = if !(loss.is_finite() && loss >= 0.0) {
            // The tolerance is a multiple of losses.
            ("be finite and at least 0", format!("it is {loss}"))
        } else if self.open.count == 0 && !matches!(self.stage, Stage::Ended(_)) {
            (
                "be that of weights which `update` was handed since the last evaluation",
                "it was handed none".into(),
            )
        } else {
            return Ok(());
        };
        Err(Error::Loss {
            domain: "validation".into(),
            rule,
            found,
        })
    }
}

impl SwadConfig {
    /// The start, at the first of the window's evaluations.
    fn start(&self, window: VecDeque<(Segment, f64)>) -> Stage {
        let mean = window.iter().map(|(_, loss)| loss).sum::<f64>() / window.len() as f64;
        let tolerance = self.tolerance_rate * mean;
        let trailing = window
            .iter()
            .rev()
            .take_while(|(_, loss)| *loss > tolerance);
        // The end is not looked for before the next evaluation.
        let above = (trailing.count() as u64).min(self.overfit_patience - 1);
        let split = window.len() - above as usize;
        let (mut certain, mut pending) = (Segment::default(), Segment::default());
        for (place, (segment, _)) in window.into_iter().enumerate() {
            match place < split {
                true => certain.merge(segment),
                false => pending.merge(segment),
            }
        }
        Stage::Averaging {
            tolerance,
            certain,
            pending,
            above,
        }
    }
}

/// The mean of the weights of consecutive steps.
#[derive(Debug, Clone, Default)]
struct Segment {
    mean: WeightMean,
    /// The first of the steps.
    first: u64,
    /// How many steps.
    count: u64,
}

impl Segment {
    fn last(&self) -> u64 {
        self.first.saturating_add(self.count).saturating_sub(1)
    }

    fn add<M: Module>(&mut self, model: &M, step: u64) -> Result<()> {
        let count = self.count.saturating_add(1);
        self.mean.add(model, 1.0 / count as f64)?;
        if self.count == 0 {
            self.first = step;
        }
        self.count = count;
        Ok(())
    }

    /// Appends the steps that follow.
    fn merge(&mut self, next: Self) {
        if self.count == 0 {
            *self = next;
        } else if next.count > 0 {
            self.count = self.count.saturating_add(next.count);
            let weight = next.count as f64 / self.count as f64;
            self.mean.merge(next.mean, weight);
        }
    }

    fn record(&self, name: &str, record: AverageRecord) -> Result<AverageRecord> {
        record
            .with_number(&format!("{name}.first"), self.first)
            .with_number(&format!("{name}.count"), self.count)
            .with_mean(name, &self.mean)
    }

    fn load<M: Module>(name: &str, record: &AverageRecord, model: &M) -> Result<Self> {
        Ok(Self {
            mean: record.mean(name, model)?,
            first: record.number(&format!("{name}.first"))?,
            count: record.number(&format!("{name}.count"))?,
        })
    }
}

/// One segment of several that follow each other.
fn joined(first: &Segment, rest: &[&Segment]) -> Segment {
    rest.iter().fold(first.clone(), |mut joined, next| {
        joined.merge((*next).clone());
        joined
    })
}

#[cfg(test)]
mod tests {
    use burn::module::Module;

    use super::*;
    use crate::averaging::weights::tests::{Net, bits, numbers};

    /// One step an evaluation, whose weights are the step's number.
    struct Run {
        swad: Swad,
        model: Net,
    }

    impl Run {
        fn new(config: &SwadConfig) -> Self {
            Self {
                swad: config.init().unwrap(),
                model: Net::new(&[0.0]),
            }
        }

        fn step(&mut self) {
            self.model = self.model.with(&[(self.swad.updates() + 1) as f32]);
            self.swad.update(&self.model).unwrap();
        }

        fn over(mut self, losses: &[f64]) -> Self {
            for loss in losses {
                self.step();
                self.swad.evaluated(*loss).unwrap();
            }
            self
        }

        fn average(&self) -> f32 {
            numbers(&self.swad.average(&self.model).unwrap())[0]
        }
    }

    fn run(config: &SwadConfig, losses: &[f64]) -> Run {
        Run::new(config).over(losses)
    }

    /// Algorithm 1 of the paper as it stands there, over all weights: start, end.
    fn algorithm(config: &SwadConfig, losses: &[f64]) -> Option<(usize, usize)> {
        let (ns, ne) = (
            config.optimum_patience as usize,
            config.overfit_patience as usize,
        );
        let min = |losses: &[f64]| losses.iter().copied().fold(f64::INFINITY, f64::min);
        let mut found: Option<(usize, f64)> = None;
        for i in 1..=losses.len() {
            match found {
                None if i >= ns => {
                    let window = &losses[i - ns..i];
                    if window[0] == min(window) {
                        let mean = window.iter().sum::<f64>() / ns as f64;
                        found = Some((i + 1 - ns, config.tolerance_rate * mean));
                    }
                }
                Some((start, tolerance)) if i >= ne && tolerance < min(&losses[i - ne..i]) => {
                    return Some((start, i - ne));
                }
                _ => {}
            }
        }
        found.map(|(start, _)| (start, losses.len()))
    }

    #[test]
    fn a_valley_by_hand() {
        let config = SwadConfig::new()
            .with_optimum_patience(3)
            .with_overfit_patience(2);
        let falls = [3.0, 2.0, 1.0];
        assert_eq!(run(&config, &falls).swad.phase(), SwadPhase::Searching);
        // The minimum is evaluation 3; the tolerance 1.3 · (1 + 1.1 + 1.2) / 3.
        let found = run(&config, &falls).over(&[1.1, 1.2]);
        let SwadPhase::Averaging { start, tolerance } = found.swad.phase() else {
            panic!("{:?}", found.swad.phase());
        };
        assert_eq!(start, 3);
        assert!((tolerance - 1.43).abs() < 1e-12);
        assert_eq!(found.average(), 4.0);
        // One evaluation above is forgiven by one below.
        let forgiven = found.over(&[1.5, 1.4]);
        assert_eq!(forgiven.average(), 5.0);
        // Two in a row are not: the average is that of 3 to 7.
        let ended = forgiven.over(&[1.5, 2.0]);
        let phase = SwadPhase::Ended { start: 3, end: 7 };
        assert_eq!((ended.swad.phase(), ended.average()), (phase, 5.0));
        // Nothing that comes later counts.
        let later = ended.over(&[0.1, f64::MAX]);
        assert_eq!((later.swad.phase(), later.average()), (phase, 5.0));
        assert_eq!(later.swad.updates(), 9);
    }

    #[test]
    fn training_that_ends_first_is_averaged_to_its_end() {
        let losses = [2.0, 1.0, 1.0, 1.0, 1.1, 1.0, 1.0, 1.0];
        let mut flat = run(&SwadConfig::new(), &losses);
        // From evaluation 2, the first of three that are the same, to 8; then one step more.
        assert_eq!(flat.average(), 5.0);
        flat.step();
        assert_eq!(flat.average(), 5.5);
        assert!(matches!(
            flat.swad.phase(),
            SwadPhase::Averaging { start: 2, .. }
        ));
    }

    #[test]
    fn a_loss_that_only_falls_gives_the_last_weights() {
        let mut falling = run(&SwadConfig::new(), &[5.0, 4.0, 3.0, 2.0, 1.0, 0.5]);
        assert_eq!(falling.swad.phase(), SwadPhase::Searching);
        assert_eq!(falling.average(), 6.0);
        falling.step();
        assert_eq!(falling.average(), 6.5);
        // Without any evaluation, all weights.
        let mut unseen = Run::new(&SwadConfig::new());
        unseen.step();
        unseen.step();
        assert_eq!(unseen.average(), 1.5);
    }

    #[test]
    fn one_evaluation_only() {
        let one = run(&SwadConfig::new(), &[1.0]);
        let seen = (one.swad.phase(), one.average());
        assert_eq!(seen, (SwadPhase::Searching, 1.0));
        let config = SwadConfig::new().with_optimum_patience(1);
        let phase = SwadPhase::Averaging {
            start: 1,
            tolerance: 1.3,
        };
        assert_eq!(run(&config, &[1.0]).swad.phase(), phase);
    }

    #[test]
    fn a_loss_that_is_no_number_changes_nothing() {
        let mut run = run(&SwadConfig::new(), &[2.0, 1.0, 1.5]);
        run.step();
        for loss in [f64::NAN, f64::INFINITY, -1.0] {
            let error = run.swad.evaluated(loss).unwrap_err().to_string();
            let expected = format!(
                "the loss of domain `validation` must be finite and at least 0, but it is {loss}"
            );
            assert_eq!(error, expected);
        }
        let phase = run.swad.evaluated(1.5).unwrap();
        assert!(matches!(phase, SwadPhase::Averaging { start: 2, .. }));
        let twice = run.swad.evaluated(1.5).unwrap_err().to_string();
        assert!(twice.ends_with("but it was handed none"), "{twice}");
        assert_eq!(run.average(), 3.0);
    }

    #[test]
    fn start_and_end_are_those_of_the_algorithm_on_a_thousand_curves() {
        // Numbers of a generator that any reader can run by hand.
        let mut state = 1u64;
        let mut draw = move |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) % below
        };
        let (mut started, mut ended) = (0, 0);
        for _ in 0..1000 {
            let config = SwadConfig::new()
                .with_optimum_patience(1 + draw(4))
                .with_overfit_patience(1 + draw(4))
                .with_tolerance_rate(1.0 + draw(4) as f64 / 8.0);
            let losses: Vec<f64> = (0..4 + draw(10)).map(|_| 1.0 + draw(6) as f64).collect();
            let run = run(&config, &losses);
            let expected = algorithm(&config, &losses);
            let end = losses.len() as u64;
            let found = match run.swad.phase() {
                SwadPhase::Searching => None,
                SwadPhase::Averaging { start, .. } => Some((start, end)),
                SwadPhase::Ended { start, end } => Some((start, end)),
            };
            let expected_span = expected.map(|(start, end)| (start as u64, end as u64));
            assert_eq!(found, expected_span, "{config:?} {losses:?}");
            if let Some((start, end)) = expected {
                let mean = (start + end) as f32 / 2.0;
                let average = run.average();
                assert!((average - mean).abs() < 1e-5, "{average} and {mean}");
                started += 1;
                ended += usize::from(end < losses.len());
            }
        }
        assert!(started > 900 && ended > 300, "{started} {ended}");
    }

    #[test]
    fn every_step_weighs_the_same_in_64_bits_as_well() {
        let config = SwadConfig::new()
            .with_optimum_patience(2)
            .with_overfit_patience(1);
        let mut swad = config.init().unwrap();
        let mut model = Net::new(&[0.0; 2]);
        let mut kept = Vec::new();
        // Evaluations after 2, 3, 5 and 10 steps: the start is the second, the end after the third.
        let evaluations = [(2, 2.0), (3, 1.0), (5, 1.2), (10, 9.0)];
        for step in 1..=10 {
            let weights = [1.7, -0.3].map(|scale| scale * (0.9 * f64::from(step)).cos());
            kept.push(weights);
            model = model.with(&weights.map(|weight| weight as f32));
            swad.update(&model).unwrap();
            if let Some((_, loss)) = evaluations.iter().find(|(at, _)| *at == step) {
                swad.evaluated(*loss).unwrap();
            }
        }
        assert_eq!(swad.phase(), SwadPhase::Ended { start: 3, end: 5 });
        let averaged = numbers(&swad.average(&model).unwrap());
        for (place, averaged) in averaged.into_iter().enumerate() {
            let expected = kept[2..5].iter().map(|w| w[place]).sum::<f64>() / 3.0;
            let error = (f64::from(averaged) - expected).abs();
            assert!(error < 1e-6, "{averaged} and {expected}");
        }
    }

    #[test]
    fn resumed_in_any_phase_it_is_the_uninterrupted_one_bit_for_bit() {
        let config = SwadConfig::new().with_overfit_patience(3);
        let losses = [3.0, 2.0, 1.0, 1.1, 1.2, 5.0, 1.0, 5.0, 5.0, 5.0, 5.0];
        for interrupted in 0..=losses.len() {
            let mut whole = config.init().unwrap();
            let mut resumed = config.init().unwrap();
            let mut model = Net::new(&[0.0]);
            for (place, loss) in losses.iter().enumerate() {
                for step in 0..3 {
                    model = model.with(&[(0.37 * (3 * place + step) as f32).sin()]);
                    whole.update(&model).unwrap();
                    resumed.update(&model).unwrap();
                    if place == interrupted && step == 1 {
                        let bytes = resumed.to_record().unwrap().into_bytes().unwrap();
                        let record = AverageRecord::from_bytes(bytes).unwrap();
                        resumed = config.init().unwrap();
                        resumed.load_record(&record, &model).unwrap();
                    }
                }
                let phases = [&mut whole, &mut resumed].map(|swad| swad.evaluated(*loss).unwrap());
                assert_eq!(phases[0], phases[1]);
                let averages = [&whole, &resumed].map(|swad| bits(&swad.average(&model).unwrap()));
                assert_eq!(averages[0], averages[1]);
            }
            assert_eq!(whole.phase(), SwadPhase::Ended { start: 7, end: 21 });
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_or_some_state() {
        for losses in [vec![2.0, 1.0], vec![1.0; 4], vec![1.0, 1.0, 9.0]] {
            let config = SwadConfig::new()
                .with_optimum_patience(2)
                .with_overfit_patience(1);
            let Run { swad, model } = run(&config, &losses);
            let whole = swad.to_record().unwrap().into_bytes().unwrap().to_vec();
            for place in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[place] ^= 0xff;
                let bytes = burn::tensor::Bytes::from_bytes_vec(bytes);
                let Ok(record) = AverageRecord::from_bytes(bytes) else {
                    continue;
                };
                let mut swad = config.init().unwrap();
                if swad.load_record(&record, &model).is_ok() {
                    swad.update(&model).unwrap();
                    drop(swad.evaluated(1.0));
                    drop(swad.average(&model));
                }
            }
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let refused = |config: SwadConfig, expected: &str| {
            assert_eq!(config.init().unwrap_err().to_string(), expected);
        };
        let config = SwadConfig::new;
        refused(
            config().with_optimum_patience(0),
            "optimum_patience must be at least 1, but is 0",
        );
        refused(
            config().with_overfit_patience(0),
            "overfit_patience must be at least 1, but is 0",
        );
        refused(
            config().with_tolerance_rate(0.9),
            "tolerance_rate must be finite and at least 1, but is 0.9",
        );
        refused(
            config().with_tolerance_rate(f64::NAN),
            "tolerance_rate must be finite and at least 1, but is NaN",
        );
        let swad = config().init().unwrap();
        let model = Net::new(&[1.0]);
        assert!(swad.average(&model).is_err());
        assert!(swad.clone().update(&model.valid()).is_err());
        let exponential = crate::averaging::ExponentialMovingAverageConfig::new(0.5);
        let mut exponential = exponential.init().unwrap();
        exponential.update(&model).unwrap();
        let record = exponential.to_record().unwrap();
        let error = swad.clone().load_record(&record, &model).unwrap_err();
        assert!(error.to_string().contains("be of the same settings"));
    }
}
