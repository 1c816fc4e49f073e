//! Robust gradient alignment (RoGA) on [burn](https://burn.dev): training that keeps a model
//! working on domains it has never seen.
//!
//! [`RobustGradientAlignment`](optim::RobustGradientAlignment) wraps any of burn's optimizers. In
//! every step it takes the gradients of several domains, perturbs the parameters to each domain's
//! ascending point, takes gradients again there, and hands the base optimizer one gradient made of
//! all. There are no extra modules, no extra parameters and no regularisers, and the model that
//! comes out is the model that went in.
//!
//! # Quick start
//!
//! What changes in an ordinary loop:
//!
//! ```diff
//! - let mut optim = AdamWConfig::new().init();
//! + let mut optim = RobustGradientAlignmentConfig::new().init(AdamWConfig::new().init())?;
//!
//! - for batch in loader.iter() {
//! -     let loss = model.loss(&batch?);
//! -     let grads = GradientsParams::from_grads(loss.backward(), &model);
//! -     model = optim.step(lr, model, grads);
//! + for domains in loader.iter() {                  // one mini-batch per domain
//! +     let report = optim.step(lr, &mut model, &domains?, |model, batch| model.loss(batch))?;
//!   }
//! ```
//!
//! As a whole, on two domains of one number each:
//!
//! ```
//! use burn::{
//!     nn::{Linear, LinearConfig, loss::{MseLoss, Reduction}},
//!     optim::AdamWConfig,
//!     tensor::{Device, Tensor},
//! };
//! use roga::{domain::DomainBatches, optim::RobustGradientAlignmentConfig};
//!
//! let device = Device::default().autodiff();
//! let mut model = LinearConfig::new(1, 1).init(&device);
//! let mut optim = RobustGradientAlignmentConfig::new()
//!     .with_rho(0.05)
//!     .init(AdamWConfig::new().init())?;
//!
//! let number = |x: f32| Tensor::<2>::from_floats([[x]], &device);
//! let domains = DomainBatches::new([
//!     ("photo", (number(1.0), number(0.0))),
//!     ("sketch", (number(2.0), number(3.0))),
//! ])?;
//! for _ in 0..10 {
//!     let report = optim.step(1e-2, &mut model, &domains, |model: &Linear, (x, y)| {
//!         MseLoss::new().forward(model.forward(x.clone()), y.clone(), Reduction::Mean)
//!     })?;
//!     println!("loss {:.3}, cosines {:?}", report.mean_loss(), report.cosines);
//! }
//! # Ok::<(), roga::Error>(())
//! ```
//!
//! # Where things are
//!
//! | module | what it holds |
//! |---|---|
//! | [`optim`] | the wrapper, its settings and named methods (ERM, SAM, SAGM, …), its report |
//! | [`gradient`] | algebra over gradients: norms, inner products, combinations, global clipping |
//! | [`alignment`] | alignment losses: functions of the gradients' Gram matrix, and their gradients |
//! | [`aggregation`] | from the domains' gradients to one: PCGrad, MGDA, UPGrad, CAGrad, GroupDRO, V-REx, AND-mask, … |
//! | [`parallel`] | the same step on several devices: by domains, by data, and by m-sharpness |
//! | [`perturbation`] | ascents, and copies of a model at other points |
//! | [`checkpoint`] | a training's files, of which nothing is lost: the last and the best, damaged ones found, folders locked |
//! | [`averaging`] | averages of the weights over training: exponential, SWAD |
//! | [`domain`] | domain batches, the domain data loader, splits, protocols, selection, seeds |
//! | [`diagnostic`] | do the domains conflict, how sharp are their losses, a loss landscape, as tables and pictures |
//! | [`search`] | random search over hyper-parameters, its journal and its cost |
//! | [`metric`] | AUC, AP, EER and others by frame and by video, how sure they are, and DeLong's test |
#![cfg_attr(
    doc,
    doc = "| [`methods`] | the methods, a page each, and how they compare |\n| [`scaling`] | what a step costs on 8 and 64 devices, on paper |"
)]
#![cfg_attr(
    feature = "dataset",
    doc = "| [`how_do_i`] | answers with code: several loss terms, two optimizers, clipping, mixed precision, resuming, … |"
)]
#![cfg_attr(
    feature = "detector",
    doc = "| [`detector`] | deepfake detection: portraits, forgeries, readers, backbones |"
)]
#![cfg_attr(
    feature = "train",
    doc = "| [`train`] | training inside burn's `Learner`; metrics for its dashboard |"
)]
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `detector` (default) | the parts of the bundled deepfake example |
//! | `face-detection` | `detector` with a finder of faces, for pictures that are no face crops |
//! | `dataset` | [`domain`]'s data loader over burn's data sets; part of `detector` |
//! | `clarabel` | CAGrad's weights by Clarabel, as TorchJD has them |
//! | `plot` | [`diagnostic`]'s pictures, as SVG |
//! | `train` | the parts of training inside burn's `Learner` |
//! | `tui` | `train` with burn's terminal dashboard |
//! | `flex` | burn's CPU backend, forwarded, and inner products on it in about 0.6 of the time: with last bits of their own |
//! | `wgpu`, `vulkan`, `metal`, `cuda`, `rocm` | burn's other backends, forwarded; none is on by default |
//! | `avx512` | `flex`, and its products of matrices by AVX-512 where the CPU has it: faster, with other last bits |
//! | `download` | MNIST's files for the `colored_mnist` example, by burn's downloader |
//!
//! The core alone is `default-features = false`.
//!
//! # What the equations rest on
//!
//! The paper is Qiu, Jiang and Tan, "RoGA: Towards Generalizable Deepfake Detection through Robust
//! Gradient Alignment", ICME 2025, arXiv 2505.20653. Only its abstract was at hand. The equations
//! are reconstructed from its closest relative, whose abstract says nearly the same: Le and Woo,
//! "Gradient Alignment for Cross-Domain Face Anti-Spoofing", CVPR 2024, arXiv 2402.18817. They
//! stand at [`RobustGradientAlignmentConfig`](optim::RobustGradientAlignmentConfig), and what is
//! ours is marked there.
#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

pub mod aggregation;
pub mod alignment;
pub mod averaging;
pub mod checkpoint;
#[cfg(feature = "detector")]
pub mod detector;
pub mod diagnostic;
pub mod domain;
mod error;
pub mod gradient;
pub mod metric;
pub mod optim;
mod pack;
pub mod parallel;
pub mod perturbation;
pub mod search;
#[cfg(feature = "train")]
pub mod train;

pub use error::{BoxError, Error, Result};

#[cfg(all(any(doc, doctest), feature = "dataset"))]
#[doc = include_str!("../docs/how-do-i.md")]
pub mod how_do_i {}

#[cfg(doc)]
#[doc = include_str!("../docs/scaling.md")]
pub mod scaling {}

#[cfg(doc)]
pub mod methods {
    #![doc = include_str!("../docs/methods/mod.md")]

    pub mod asam {
        #![doc = include_str!("../docs/methods/asam.md")]
    }
    pub mod disam {
        #![doc = include_str!("../docs/methods/disam.md")]
    }
    pub mod domain_sam {
        #![doc = include_str!("../docs/methods/domain_sam.md")]
    }
    pub mod erm {
        #![doc = include_str!("../docs/methods/erm.md")]
    }
    pub mod fishr {
        #![doc = include_str!("../docs/methods/fishr.md")]
    }
    pub mod friendly_sam {
        #![doc = include_str!("../docs/methods/friendly_sam.md")]
    }
    pub mod gsam {
        #![doc = include_str!("../docs/methods/gsam.md")]
    }
    pub mod irm {
        #![doc = include_str!("../docs/methods/irm.md")]
    }
    pub mod look_ahead {
        #![doc = include_str!("../docs/methods/look_ahead.md")]
    }
    pub mod look_sam {
        #![doc = include_str!("../docs/methods/look_sam.md")]
    }
    pub mod roga {
        #![doc = include_str!("../docs/methods/roga.md")]
    }
    pub mod sagm {
        #![doc = include_str!("../docs/methods/sagm.md")]
    }
    pub mod sam {
        #![doc = include_str!("../docs/methods/sam.md")]
    }
}

/// The README's code is compiled and run with the tests.
#[cfg(all(doctest, feature = "dataset"))]
#[doc = include_str!("../README.md")]
struct Readme;
