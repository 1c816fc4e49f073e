//! TorchJD 0.18's aggregators on six Jacobians, in 64 bits.

use roga::{
    aggregation::{
        Aggregator, CaGrad, CaGradSolver, DomainStatistics, Mean, Mgda, PcGrad, Sum, UpGrad,
    },
    gradient::GramMatrix,
};

use crate::reference::Reference;

const TOLERANCE: f64 = 1e-6;
const CASES: [&str; 6] = [
    "conflict_2x3",
    "aligned_3x4",
    "conflict_3x5",
    "wide_4x10",
    "paper_2x2",
    "scales_3x3",
];

/// A Jacobian, and what TorchJD makes of it.
struct Case {
    name: &'static str,
    rows: Vec<Vec<f64>>,
    gram: GramMatrix,
    reference: Reference,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        CASES.into_iter().map(|name| {
            let reference = Reference::open("reference_torchjd_f64");
            let (numbers, shape) = reference.doubles(&format!("{name}/J")).unwrap();
            let rows: Vec<Vec<f64>> = numbers.chunks(shape[1]).map(<[f64]>::to_vec).collect();
            Self {
                name,
                gram: GramMatrix::from_fn(rows.len(), |i, j| dot(&rows[i], &rows[j])),
                rows,
                reference,
            }
        })
    }

    fn domains(&self) -> f64 {
        self.rows.len() as f64
    }

    fn expected(&self, method: &str) -> Option<&[f64]> {
        let path = format!("{}/{method}", self.name);
        self.reference.doubles(&path).map(|(numbers, _)| &**numbers)
    }

    /// $\sum_i c_i g_i$, at a step.
    fn aggregated(&self, method: &dyn Aggregator, step: u64) -> Vec<f64> {
        let weights = vec![1.0 / self.domains(); self.rows.len()];
        let domains = DomainStatistics::new(step, &weights).with_gram(&self.gram);
        self.combined(&method.coefficients(&domains, &mut Vec::new()).unwrap())
    }

    fn combined(&self, coefficients: &[f64]) -> Vec<f64> {
        (0..self.rows[0].len())
            .map(|k| {
                let terms = self.rows.iter().zip(coefficients);
                terms.map(|(row, c)| c * row[k]).sum()
            })
            .collect()
    }

    #[track_caller]
    fn check(&self, method: &str, found: &[f64], factor: f64, tolerance: f64) {
        let expected = self.expected(method).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let distance = (factor * found - expected).abs();
            assert!(
                distance <= tolerance,
                "{}/{method}: {distance:e} away from {expected}",
                self.name
            );
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn mean_and_sum() {
    for case in Case::all() {
        case.check("Mean", &case.aggregated(&Mean, 0), 1.0, TOLERANCE);
        case.check("Sum", &case.aggregated(&Sum, 0), 1.0, TOLERANCE);
    }
}

/// It adds a ten-thousandth of the trace to the Gram matrix's diagonal.
#[test]
fn upgrad() {
    let method = UpGrad {
        regularization: 1e-4,
    };
    for case in Case::all() {
        case.check("UPGrad", &case.aggregated(&method, 0), 1.0, TOLERANCE);
    }
}

/// It stops after 100 Frank-Wolfe steps, or at one below a thousandth: on three of the Jacobians
/// short of the minimum.
#[test]
fn mgda() {
    let torchjd = Mgda::FrankWolfe {
        max_steps: 100,
        min_step: 1e-3,
    };
    let mut converged = Vec::new();
    for case in Case::all() {
        let by_its_steps = case.aggregated(&torchjd, 0);
        case.check("MGDA", &by_its_steps, 1.0, TOLERANCE);

        let found = case.aggregated(&Mgda::Exact, 0);
        let expected = case.expected("MGDA").unwrap();
        let distances = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        if distances.fold(0.0, f64::max) <= TOLERANCE {
            converged.push(case.name);
        } else {
            // The minimum's condition holds here, and not there.
            let lacks = |point: &[f64]| {
                let products = case.rows.iter().map(|row| dot(row, point));
                1.0 - products.fold(f64::INFINITY, f64::min) / dot(point, point)
            };
            assert!(lacks(&found) < 1e-9, "{}: {:e}", case.name, lacks(&found));
            assert!(
                lacks(expected) > 1e-4,
                "{}: {:e}",
                case.name,
                lacks(expected)
            );
            assert!(dot(&found, &found) < dot(expected, expected));
        }
    }
    assert_eq!(converged, ["conflict_2x3", "aligned_3x4", "paper_2x2"]);
}

/// Its update is not divided by $1 + c$. Its solver's tolerance shows in three of the twelve.
#[test]
fn cagrad() {
    let mut short = Vec::new();
    for case in Case::all() {
        for (c, method) in [(0.1, "CAGrad_c0.1"), (0.5, "CAGrad_c0.5")] {
            let solver = CaGradSolver::Clarabel;
            let by_its_solver = case.aggregated(&CaGrad { c, solver }, 0);
            case.check(method, &by_its_solver, 1.0 + c, TOLERANCE);

            let found = case.aggregated(&CaGrad::new(c), 0);
            let found: Vec<f64> = found.iter().map(|x| (1.0 + c) * x).collect();
            let expected = case.expected(method).unwrap();
            let distances = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            if distances.fold(0.0, f64::max) > TOLERANCE {
                short.push((case.name, c));
                // The worst domain gains more here.
                let worst = |d: &[f64]| {
                    let products = case.rows.iter().map(|row| dot(row, d));
                    products.fold(f64::INFINITY, f64::min)
                };
                case.check(method, &found, 1.0, 1e-5);
                assert!(worst(&found) > worst(expected), "{}/{method}", case.name);
            }
        }
    }
    let expected = [
        ("conflict_3x5", 0.5),
        ("wide_4x10", 0.1),
        ("wide_4x10", 0.5),
    ];
    assert_eq!(short, expected);
}

/// It adds up.
#[test]
fn pcgrad() {
    let mut whatever_the_order = 0;
    for case in Case::all() {
        let draws = 4096;
        let mut mean = vec![0.0; case.rows[0].len()];
        for step in 0..draws {
            let found = case.aggregated(&PcGrad::default(), step);
            if case.expected("PCGrad").is_some() {
                case.check("PCGrad", &found, case.domains(), TOLERANCE);
                whatever_the_order += 1;
            }
            for (mean, found) in mean.iter_mut().zip(found) {
                *mean += found / draws as f64;
            }
        }
        // Two means of draws that are up to a quarter apart, one of them of 64.
        let tolerance = if case.expected("PCGrad").is_some() {
            TOLERANCE
        } else {
            0.06
        };
        case.check("PCGrad_mean64", &mean, case.domains(), tolerance);
    }
    assert_eq!(whatever_the_order, 3 * 4096);
}
