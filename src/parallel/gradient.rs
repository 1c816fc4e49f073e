use std::sync::Arc;

use burn::{module::Module, optim::GradientsParams, tensor::Device};
use serde::Serialize;

use super::{ToDevice, Traffic, division::Division};
use crate::{
    Error, Result,
    domain::{DomainBatches, MicroBatches},
    optim::{DomainLoss, RobustGradient, StepReport, passes::Noise},
};

/// The robust gradient $G$ of a step that several devices share.
///
/// It is to be had like that of [`RobustGradient::gradients`], for any base optimizer; the gradients
/// meet on the first device, where the model is. See the [module](super) for the three ways to divide
/// a step, and for what each of them costs.
///
/// ```
/// use burn::{nn::{Linear, LinearConfig}, optim::SgdConfig, tensor::{Device, Tensor}};
/// use roga::{domain::DomainBatches, optim::RobustGradientAlignmentConfig, parallel::ParallelGradient};
///
/// let device = Device::default().autodiff();
/// // Any list of burn's devices; the same one twice is two threads.
/// let devices = [device.clone(), device.clone()];
/// let gradient = RobustGradientAlignmentConfig::new().with_report(false).init_gradient()?;
/// let gradient = ParallelGradient::new(gradient, devices)?;
///
/// let mut model: Linear = LinearConfig::new(1, 1).init(&device);
/// let mut base = SgdConfig::new().init();
/// let number = |x: f32| Tensor::<2>::from_floats([[x]], &device);
/// let domains = DomainBatches::new([("photo", number(1.0)), ("sketch", number(2.0))])?;
/// let (gradients, report) = gradient.domain_parallel(&model, &domains, |model: &Linear, x| {
///     model.forward(x.clone()).square().mean()
/// })?;
/// model = base.step(0.05, model, gradients);
/// assert_eq!(report.traffic.meetings, 2);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ParallelGradient {
    pub(super) gradient: RobustGradient,
    devices: Vec<Device>,
}

/// What a step on several devices saw and did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParallelReport {
    /// The step's, as that of one device.
    pub step: StepReport,
    /// What was moved for it.
    pub traffic: Traffic,
}

impl ParallelGradient {
    /// Of a step's settings, and of the devices: the first is the model's. A device may stand more
    /// than once; each has a thread.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where there is no device.
    pub fn new(
        gradient: RobustGradient,
        devices: impl IntoIterator<Item = Device>,
    ) -> Result<Self> {
        let devices: Vec<Device> = devices.into_iter().collect();
        if devices.is_empty() {
            return Err(Error::Setting {
                field: "devices",
                rule: "be at least one",
                value: "none".into(),
            });
        }
        Ok(Self { gradient, devices })
    }

    /// The passes of a step.
    pub fn gradient(&self) -> &RobustGradient {
        &self.gradient
    }

    /// The devices.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Domain-parallel: each device takes some of the domains, their clean passes and the points of
    /// their ascents.
    ///
    /// The step is that of [`RobustGradient::gradients`] up to the order in which gradients are added,
    /// for every setting, but for running statistics (batch normalisation): each device goes on from
    /// those of before the step, and what stays is the mean over the devices. The report is the same,
    /// and names the domain and the pass of what is not finite.
    ///
    /// * `domains`: neighbours in their order are dealt to one device. There are at least as many as
    ///   devices.
    /// * `loss`: called on several threads at a time, with a copy of the model and a batch on the
    ///   same device.
    ///
    /// $G$ is on the first device.
    ///
    /// # Errors
    ///
    /// As [`RobustGradient::gradients`]; [`Error::Domains`] with more devices than domains,
    /// [`Error::Model`] where the model is not on the first device, [`Error::Thread`]. Nothing has
    /// changed then, nor where the closure panics, which goes on in the caller.
    pub fn domain_parallel<M, B, L>(
        &self,
        model: &M,
        domains: &DomainBatches<B>,
        loss: impl Fn(&M, &B) -> L + Sync,
    ) -> Result<(GradientsParams, ParallelReport)>
    where
        M: Module,
        B: ToDevice,
        L: DomainLoss<M>,
    {
        if domains.len() < self.devices.len() {
            return Err(Error::Domains {
                rule: "be at least as many as the devices that they are dealt to",
                found: format!("there are {} for {}", domains.len(), self.devices.len()),
            });
        }
        let names: Vec<&Arc<str>> = domains.names().collect();
        let batches: Vec<&B> = domains.iter().map(|(_, batch)| batch).collect();
        let step = self.step_of(domains);
        let division = self.division(model, &names, &loss, step)?;
        self.run(step, model, division.by_domain(&batches))
    }

    /// Data-parallel with synchronised ascents: each device has a part of every domain's
    /// mini-batch, and all have the same points, those of the whole mini-batches.
    ///
    /// The step is that of [`micro_batched`](crate::optim::micro_batched) passes on one device, and
    /// with it that of the whole mini-batches where nothing depends on a batch's statistics, up to the
    /// order in which gradients are added. Running statistics are the mean over the devices. Without
    /// the report, a gradient that is not finite in the clean passes may be named without its domain.
    ///
    /// * `domains`: every mini-batch in as many parts as there are devices, in their order.
    ///
    /// # Errors
    ///
    /// As [`domain_parallel`](Self::domain_parallel); [`Error::Domains`] where the parts of a
    /// mini-batch are not one for each device.
    pub fn data_parallel<M, B, L>(
        &self,
        model: &M,
        domains: &DomainBatches<MicroBatches<B>>,
        loss: impl Fn(&M, &B) -> L + Sync,
    ) -> Result<(GradientsParams, ParallelReport)>
    where
        M: Module,
        B: ToDevice,
        L: DomainLoss<M>,
    {
        self.check_parts(domains)?;
        let names: Vec<&Arc<str>> = domains.names().collect();
        let step = self.step_of(domains);
        let mut division = self.division(model, &names, &loss, step)?;
        for (domain, (_, parts)) in domains.iter().enumerate() {
            for (device, (share, part)) in parts.iter().enumerate() {
                division.hold(device, domain, share, part);
            }
        }
        self.run(step, model, division)
    }

    /// The number of a step.
    pub(super) fn step_of<B>(&self, domains: &DomainBatches<B>) -> u64 {
        domains.step().unwrap_or_else(|| self.gradient.steps())
    }

    /// Refuses mini-batches that are not in one part for each device.
    pub(super) fn check_parts<B>(&self, domains: &DomainBatches<MicroBatches<B>>) -> Result<()> {
        let devices = self.devices.len();
        for (name, batch) in domains.iter() {
            if batch.iter().len() != devices {
                return Err(Error::Domains {
                    rule: "have mini-batches of one part for each device",
                    found: format!("`{name}` has {} for {devices}", batch.iter().len()),
                });
            }
        }
        Ok(())
    }

    /// The model's device, which is the first.
    pub(super) fn first<M: Module>(&self, model: &M) -> Result<Device> {
        let of_model = model.devices();
        match (of_model.as_slice(), self.devices.first()) {
            ([only], Some(first)) if only == first => Ok(first.clone()),
            _ => Err(Error::Model {
                rule: "be on the first of the devices, where gradients meet",
                found: format!("it is on {of_model:?}"),
            }),
        }
    }

    fn division<'a, M: Module, B: ToDevice, F>(
        &self,
        model: &M,
        names: &'a [&'a Arc<str>],
        loss: &'a F,
        step: u64,
    ) -> Result<Division<'a, M, B, F>> {
        let first = self.first(model)?;
        let noise = Noise::new(self.gradient.config(), step);
        Ok(Division::new(&self.devices, first, names, loss, noise))
    }

    fn run<M, B, F, L>(
        &self,
        step: u64,
        model: &M,
        mut division: Division<'_, M, B, F>,
    ) -> Result<(GradientsParams, ParallelReport)>
    where
        M: Module,
        B: ToDevice,
        F: Fn(&M, &B) -> L + Sync,
        L: DomainLoss<M>,
    {
        let names = division.names.to_vec();
        let (gradients, step) = self.gradient.run(step, model, names, &mut division)?;
        let traffic = division.traffic;
        Ok((gradients, ParallelReport { step, traffic }))
    }
}
