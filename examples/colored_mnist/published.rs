//! Numbers to hold a run against.

use roga::domain::Selection;

use crate::{domains::Set, method::Method};

/// An accuracy in percent, and how far repetitions are from it: for the IRM set-up the standard
/// deviation, for DomainBed's the standard error.
pub type Number = (f64, f64);

/// Training, test and grey test in the IRM set-up, over 10 restarts.
///
/// Ramé, Dancette and Cord, "Fishr: Invariant Gradient Variances for Out-of-Distribution
/// Generalization", ICML 2022, arXiv 2109.02934, table 2.
pub fn of_restarts(method: Method) -> Option<[Number; 3]> {
    match method {
        Method::Erm => Some([(86.4, 0.2), (14.0, 0.7), (71.0, 0.7)]),
        Method::Irm => Some([(71.0, 0.5), (65.6, 1.8), (66.1, 0.2)]),
        Method::VRex => Some([(71.7, 1.5), (67.2, 1.5), (68.6, 2.2)]),
        Method::Fishr => Some([(71.0, 0.9), (69.5, 1.0), (70.2, 1.1)]),
        _ => None,
    }
}

/// The domains' accuracies in DomainBed's set-up, over 3 trials of 20 settings.
///
/// DomainBed's results of 2020-10-06 (commit 7df6f06 of facebookresearch/DomainBed).
pub fn of_domains(set: Set, selection: Selection, method: Method) -> Option<Vec<Number>> {
    use Selection::{HeldOutDomain, Oracle, TrainingDomainValidation as Validation};
    use Set::{Colored, Rotated};
    let numbers: &[f64] = match (set, selection, method) {
        (Colored, Validation, Method::Erm) => &[71.7, 0.1, 72.9, 0.2, 10.0, 0.1],
        (Colored, Validation, Method::Irm) => &[72.5, 0.1, 73.3, 0.5, 10.2, 0.3],
        (Colored, Validation, Method::VRex) => &[72.4, 0.3, 72.9, 0.4, 10.2, 0.0],
        (Colored, Validation, Method::GroupDro) => &[73.1, 0.3, 73.2, 0.2, 10.0, 0.2],
        (Colored, HeldOutDomain, Method::Erm) => &[50.0, 0.2, 50.1, 0.2, 10.0, 0.0],
        (Colored, HeldOutDomain, Method::Irm) => &[46.7, 2.4, 51.2, 0.3, 23.1, 10.7],
        (Colored, HeldOutDomain, Method::VRex) => &[50.2, 0.4, 50.5, 0.5, 10.1, 0.0],
        (Colored, HeldOutDomain, Method::GroupDro) => &[50.1, 0.5, 50.0, 0.5, 10.2, 0.1],
        (Colored, Oracle, Method::Erm) => &[71.8, 0.4, 72.9, 0.1, 28.7, 0.5],
        (Colored, Oracle, Method::Irm) => &[72.0, 0.1, 72.5, 0.3, 58.5, 3.3],
        (Colored, Oracle, Method::VRex) => &[72.8, 0.3, 73.0, 0.3, 55.2, 4.0],
        (Colored, Oracle, Method::GroupDro) => &[73.5, 0.3, 73.0, 0.3, 36.8, 2.8],
        (Rotated, Validation, Method::Erm) => &[
            95.9, 0.1, 98.9, 0.0, 98.8, 0.0, 98.9, 0.0, 98.9, 0.0, 96.4, 0.0,
        ],
        (Rotated, Validation, Method::Irm) => &[
            95.5, 0.1, 98.8, 0.2, 98.7, 0.1, 98.6, 0.1, 98.7, 0.0, 95.9, 0.2,
        ],
        (Rotated, Validation, Method::VRex) => &[
            95.9, 0.2, 99.0, 0.1, 98.9, 0.1, 98.9, 0.1, 98.7, 0.1, 96.2, 0.2,
        ],
        (Rotated, Validation, Method::GroupDro) => &[
            95.6, 0.1, 98.9, 0.1, 98.9, 0.1, 99.0, 0.0, 98.9, 0.0, 96.5, 0.2,
        ],
        (Rotated, HeldOutDomain, Method::Erm) => &[
            95.3, 0.2, 98.9, 0.1, 98.9, 0.1, 98.8, 0.1, 98.5, 0.1, 96.2, 0.2,
        ],
        (Rotated, HeldOutDomain, Method::Irm) => &[
            94.5, 0.5, 98.2, 0.2, 98.7, 0.1, 96.6, 1.5, 98.4, 0.1, 95.8, 0.1,
        ],
        (Rotated, HeldOutDomain, Method::VRex) => &[
            95.8, 0.2, 98.7, 0.0, 98.5, 0.1, 98.9, 0.1, 74.0, 20.1, 95.5, 0.5,
        ],
        (Rotated, HeldOutDomain, Method::GroupDro) => &[
            95.7, 0.3, 98.7, 0.1, 98.9, 0.1, 98.6, 0.2, 98.6, 0.2, 95.3, 0.9,
        ],
        (Rotated, Oracle, Method::Erm) => &[
            95.3, 0.2, 98.7, 0.1, 98.9, 0.1, 98.7, 0.2, 98.9, 0.0, 96.2, 0.2,
        ],
        (Rotated, Oracle, Method::Irm) => &[
            94.9, 0.6, 98.7, 0.2, 98.6, 0.1, 98.6, 0.2, 98.7, 0.1, 95.2, 0.3,
        ],
        (Rotated, Oracle, Method::VRex) => &[
            95.5, 0.2, 99.0, 0.0, 98.7, 0.2, 98.8, 0.1, 98.8, 0.0, 96.4, 0.0,
        ],
        (Rotated, Oracle, Method::GroupDro) => &[
            95.9, 0.1, 99.0, 0.1, 98.9, 0.1, 98.8, 0.1, 98.6, 0.1, 96.3, 0.4,
        ],
        _ => return None,
    };
    Some(numbers.chunks_exact(2).map(|of| (of[0], of[1])).collect())
}
