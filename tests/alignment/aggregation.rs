//! What holds for every way from many gradients to one.

use proptest::prelude::*;
use roga::{
    aggregation::{
        Aggregation, Aggregator, AndMask, CaGrad, CaGradSolver, Disam, DomainStatistics, GroupDro,
        Mean, Mgda, Needs, PcGrad, Sum, UpGrad, VRex,
    },
    gradient::GramMatrix,
};

/// One of each.
pub fn methods() -> [Aggregation; 10] {
    [
        Mean.into(),
        Sum.into(),
        PcGrad::default().into(),
        Mgda::Exact.into(),
        UpGrad::default().into(),
        CaGrad::default().into(),
        GroupDro { eta: 0.5 }.into(),
        VRex {
            lambda: 2.0,
            anneal_steps: 0,
        }
        .into(),
        Disam::default().into(),
        AndMask { tau: 0.5 }.into(),
    ]
}

/// And the settings that make another method of one.
fn with_variants() -> impl Iterator<Item = Aggregation> {
    let frank_wolfe = Mgda::FrankWolfe {
        max_steps: 100,
        min_step: 1e-3,
    };
    let clarabel = CaGrad {
        solver: CaGradSolver::Clarabel,
        ..Default::default()
    };
    let variants = [frank_wolfe.into(), clarabel.into()];
    methods().into_iter().chain(variants)
}

fn of_gram() -> impl Iterator<Item = Aggregation> {
    with_variants().filter(|method| method.needs() == Needs::Gram)
}

/// How far apart two coefficients may be that ought to be the same.
fn slack(method: &Aggregation) -> f64 {
    match method {
        // Clarabel ends within 1e-8 of the least value, which is flat there.
        Aggregation::CaGrad(found) if found.solver == CaGradSolver::Clarabel => 1e-3,
        _ => 1e-7,
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn gram(rows: &[Vec<f64>]) -> GramMatrix {
    GramMatrix::from_fn(rows.len(), |i, j| dot(&rows[i], &rows[j]))
}

fn combined(rows: &[Vec<f64>], coefficients: &[f64]) -> Vec<f64> {
    let entry = |k| {
        let terms = rows.iter().zip(coefficients);
        terms.map(|(row, c)| c * row[k]).sum()
    };
    (0..rows[0].len()).map(entry).collect()
}

/// The coefficients at step 0, with losses 1, ½, ⅓, …
fn coefficients(method: &Aggregation, rows: &[Vec<f64>]) -> Vec<f64> {
    let weights = vec![1.0 / rows.len() as f64; rows.len()];
    let losses: Vec<f64> = (1..=rows.len()).map(|i| 1.0 / i as f64).collect();
    let gram = gram(rows);
    let domains = DomainStatistics::new(0, &weights)
        .with_losses(&losses)
        .with_gram(&gram);
    method.coefficients(&domains, &mut Vec::new()).unwrap()
}

fn scaled(rows: &[Vec<f64>], factor: f64) -> Vec<Vec<f64>> {
    let scaled = |row: &Vec<f64>| row.iter().map(|x| factor * x).collect();
    rows.iter().map(scaled).collect()
}

/// How far an inner product with the combination may be off by rounding of the Gram matrix.
fn rounding(rows: &[Vec<f64>], coefficients: &[f64]) -> f64 {
    let terms = rows.iter().zip(coefficients);
    1e-10 * terms.map(|(row, c)| c.abs() * norm(row)).sum::<f64>()
}

/// Up to eight gradients of up to six entries, so that some depend on each other; of lengths that
/// differ by up to $10^6$.
fn jacobians() -> impl Strategy<Value = Vec<Vec<f64>>> {
    let sizes = (1..=8usize, 1..=6usize);
    sizes.prop_flat_map(|(rows, columns)| {
        let row = prop::collection::vec(-1.0..1.0f64, columns);
        prop::collection::vec((row, -3..=3i32), rows).prop_map(|rows| {
            let scaled = |(row, e): (Vec<f64>, i32)| {
                let length = 10f64.powi(e);
                row.into_iter().map(|x| length * x).collect()
            };
            rows.into_iter().map(scaled).collect()
        })
    })
}

/// Gradients that do not depend on each other: an identity beside random entries.
fn independent() -> impl Strategy<Value = Vec<Vec<f64>>> {
    (2..=6usize).prop_flat_map(|count| {
        let row = prop::collection::vec(-2.0..2.0f64, count);
        prop::collection::vec(row, count).prop_map(move |rows| {
            let beside = |(i, row): (usize, Vec<f64>)| {
                let unit = (0..count).map(|j| if i == j { 1.0 } else { 0.0 });
                unit.chain(row).collect()
            };
            rows.into_iter().enumerate().map(beside).collect()
        })
    })
}

proptest! {
    #[test]
    fn upgrad_and_mgda_never_conflict(rows in jacobians()) {
        for method in [UpGrad::default().into(), Mgda::Exact.into()] {
            let coefficients = coefficients(&method, &rows);
            let found = combined(&rows, &coefficients);
            for row in &rows {
                let slack = rounding(&rows, &coefficients) * norm(row);
                prop_assert!(dot(row, &found) >= -slack, "{method:?}: {coefficients:?}");
            }
        }
    }

    /// The minimum's own condition: no gradient is nearer to the origin, seen along the vector.
    #[test]
    fn mgda_is_the_shortest_vector(rows in jacobians()) {
        let weights = coefficients(&Mgda::Exact.into(), &rows);
        prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        prop_assert!(weights.iter().all(|w| *w >= 0.0), "{weights:?}");
        let found = combined(&rows, &weights);
        for row in &rows {
            let slack = rounding(&rows, &weights) * norm(row);
            prop_assert!(dot(row, &found) >= dot(&found, &found) - slack, "{weights:?}");
        }
    }

    /// What is reached for the worst domain cannot be more than any $w$ of the simplex allows; at
    /// the maximum there is one that allows no more.
    #[test]
    fn cagrad_is_the_best_of_its_ball(rows in jacobians(), c in 0.05..0.95f64) {
        let found = coefficients(&CaGrad::new(c).into(), &rows);
        let count = rows.len() as f64;
        let mean = combined(&rows, &vec![1.0 / count; rows.len()]);
        let direction: Vec<f64> = combined(&rows, &found).iter().map(|x| (1.0 + c) * x).collect();
        let away: Vec<f64> = direction.iter().zip(&mean).map(|(d, g)| d - g).collect();
        let radius = c * norm(&mean);
        prop_assert!(norm(&away) <= radius * (1.0 + 1e-6), "{} > {radius}", norm(&away));

        let weights: Vec<f64> = found.iter().map(|x| (1.0 + c) * x - 1.0 / count).collect();
        let sum: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|w| w / sum).collect();
        let hull = combined(&rows, &weights);
        let allowed = dot(&hull, &mean) + radius * norm(&hull);
        let reached = rows.iter().map(|row| dot(row, &direction)).fold(f64::INFINITY, f64::min);
        let size = rounding(&rows, &weights) * norm(&direction);
        let longest = rows.iter().map(|row| norm(row)).fold(0.0, f64::max);
        let mut slack = 1e3 * size + 1e-9 * longest * norm(&direction);
        // A hull that nearly contains the origin counts as one that does.
        let shortest = coefficients(&Mgda::Exact.into(), &rows);
        let terms: Vec<f64> = rows.iter().zip(&shortest).map(|(row, w)| w * norm(row)).collect();
        let least = rows.iter().map(|row| norm(row)).fold(longest, f64::min);
        if norm(&combined(&rows, &shortest)) < 1.001e-3 * norm(&terms).max(least) {
            slack += 3e-4 * radius * longest;
        }
        prop_assert!(reached >= allowed - slack, "{reached} < {allowed}: {found:?}");
    }

    #[test]
    fn domains_permuted(rows in independent(), turn in 1..6usize) {
        let mut permuted = rows.clone();
        permuted.rotate_left(turn % rows.len());
        permuted.swap(0, 1);
        // The orders of PCGrad are drawn: see below.
        for method in of_gram().filter(|method| !matches!(method, Aggregation::PcGrad(_))) {
            let mut expected = coefficients(&method, &rows);
            expected.rotate_left(turn % rows.len());
            expected.swap(0, 1);
            for (found, expected) in coefficients(&method, &permuted).iter().zip(expected) {
                prop_assert!((found - expected).abs() < slack(&method), "{method:?}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn two_domains_permuted(rows in prop::collection::vec(prop::collection::vec(-1.0..1.0f64, 3), 2)) {
        let swapped = vec![rows[1].clone(), rows[0].clone()];
        let [a, b] = [&rows, &swapped].map(|rows| coefficients(&PcGrad::default().into(), rows));
        prop_assert_eq!([a[0], a[1]], [b[1], b[0]]);
    }

    /// A common factor changes no coefficient.
    #[test]
    fn scales(rows in independent()) {
        for method in of_gram() {
            let expected = coefficients(&method, &rows);
            for factor in [1e-10, 1e-5, 1e5, 1e15] {
                for (found, expected) in coefficients(&method, &scaled(&rows, factor)).iter().zip(&expected) {
                    prop_assert!((found - expected).abs() < slack(&method), "{method:?} at {factor}: {found}, {expected}");
                }
            }
        }
    }

    #[test]
    fn lengths_of_every_size_stay_finite(
        rows in prop::collection::vec(prop::collection::vec(-1.0..1.0f64, 4), 1..8),
        exponents in prop::collection::vec(-10..=15i32, 8),
    ) {
        let rows: Vec<Vec<f64>> = rows
            .into_iter()
            .zip(exponents)
            .map(|(row, e)| row.into_iter().map(|x| 10f64.powi(e) * x).collect())
            .collect();
        for method in of_gram() {
            let found = coefficients(&method, &rows);
            prop_assert!(found.iter().all(|c| c.is_finite()), "{method:?}: {found:?}");
            // Nothing is longer than its terms: none is a difference of huge ones.
            let longest = rows.iter().map(|row| norm(row)).fold(0.0, f64::max);
            let length = norm(&combined(&rows, &found));
            prop_assert!(length <= 1.001 * longest * rows.len() as f64, "{method:?}: {length}");
        }
    }
}

#[test]
fn one_domain_is_itself() {
    for method in with_variants() {
        for factor in [1.0, 1e-10, 1e15] {
            let found = coefficients(&method, &[vec![3.0 * factor, -4.0 * factor]]);
            assert!((found[0] - 1.0).abs() < 1e-12, "{method:?}: {found:?}");
        }
    }
}

#[test]
fn gradients_that_are_the_same_give_it() {
    let gradient = vec![3.0, -4.0, 0.5];
    for count in 2..6 {
        let rows = vec![gradient.clone(); count];
        for method in with_variants() {
            let factor = match method {
                Aggregation::Sum(_) => count as f64,
                _ => 1.0,
            };
            let found = combined(&rows, &coefficients(&method, &rows));
            for (found, expected) in found.iter().zip(&gradient) {
                assert!(
                    (found - factor * expected).abs() < 1e-9,
                    "{method:?}: {found}"
                );
            }
        }
    }
}

#[test]
fn gradients_of_zero() {
    for method in with_variants() {
        let all = coefficients(&method, &vec![vec![0.0; 3]; 4]);
        let one = coefficients(&method, &[vec![0.0; 2], vec![1.0, 2.0], vec![-1.0, 3.0]]);
        for found in [all, one] {
            assert!(found.iter().all(|c| c.is_finite()), "{method:?}: {found:?}");
        }
    }
}

/// Of sixty-four gradients, half of them opposite to the others but for a little.
#[test]
fn many_domains() {
    let entry = |i: usize, k: usize| ((i * 37 + k * 101) as f64).sin() / 4.0;
    let row = |i: usize| {
        let sign = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        (0..100).map(|k| sign + entry(i, k)).collect()
    };
    let rows: Vec<Vec<f64>> = (0..64).map(row).collect();
    for method in with_variants() {
        let found = coefficients(&method, &rows);
        assert!(found.iter().all(|c| c.is_finite()), "{method:?}: {found:?}");
    }
    for method in [Mgda::Exact.into(), UpGrad::default().into()] {
        let coefficients = coefficients(&method, &rows);
        let found = combined(&rows, &coefficients);
        for row in &rows {
            assert!(
                dot(row, &found) >= -rounding(&rows, &coefficients) * norm(row),
                "{method:?}"
            );
        }
    }
}

#[test]
fn what_is_not_finite_is_refused() {
    let weights = [0.5, 0.5];
    for value in [f64::NAN, f64::INFINITY] {
        let gram = GramMatrix::from_fn(2, |i, j| if i == j { 1.0 } else { value });
        let losses = [1.0, value];
        let domains = DomainStatistics::new(0, &weights)
            .with_losses(&losses)
            .with_gram(&gram);
        for method in methods() {
            let mut state = Vec::new();
            let refused = method.coefficients(&domains, &mut state).is_err();
            assert_eq!(refused, method.needs() != Needs::Nothing, "{method:?}");
            assert!(state.is_empty());
        }
    }
}

/// A matrix that is none of inner products, as rounding may leave it.
#[test]
fn what_is_no_gram_matrix_ends() {
    for (diagonal, off) in [
        (-1.0, 2.0),
        (0.0, 1.0),
        (1.0, -1.0 - 1e-7),
        (1.0, 1.0 + 1e-7),
        (1e-300, 1e300),
    ] {
        let gram = GramMatrix::from_fn(5, |i, j| if i == j { diagonal } else { off });
        let domains = DomainStatistics::new(0, &[0.2; 5]).with_gram(&gram);
        for method in of_gram() {
            let found = method.coefficients(&domains, &mut Vec::new()).unwrap();
            assert_eq!(found.len(), 5, "{method:?}");
        }
    }
}

fn conflicting() -> Vec<Vec<f64>> {
    vec![
        vec![1.0, 0.2, -0.3],
        vec![-0.9, 0.5, 0.4],
        vec![0.1, -0.4, 2.0],
    ]
}

#[test]
fn no_two_methods_agree_and_every_setting_counts() {
    let frank_wolfe = |max_steps, min_step| Mgda::FrankWolfe {
        max_steps,
        min_step,
    };
    let settings: [Aggregation; 13] = [
        // That of the mean, before its mask.
        Mean.into(),
        Sum.into(),
        PcGrad::default().into(),
        Mgda::Exact.into(),
        frank_wolfe(3, 0.0).into(),
        frank_wolfe(2, 0.0).into(),
        // Ends after its first step.
        frank_wolfe(2, 1.0).into(),
        UpGrad::default().into(),
        UpGrad {
            regularization: 0.1,
        }
        .into(),
        CaGrad::new(0.5).into(),
        CaGrad::new(0.4).into(),
        GroupDro { eta: 0.1 }.into(),
        GroupDro { eta: 0.2 }.into(),
    ];
    let more: [Aggregation; 5] = [
        VRex {
            lambda: 2.0,
            anneal_steps: 0,
        }
        .into(),
        VRex {
            lambda: 3.0,
            anneal_steps: 0,
        }
        .into(),
        VRex {
            lambda: 3.0,
            anneal_steps: 1,
        }
        .into(),
        Disam { lambda: 0.1 }.into(),
        Disam { lambda: 0.2 }.into(),
    ];
    let all: Vec<Vec<f64>> = settings
        .iter()
        .chain(&more)
        .map(|method| combined(&conflicting(), &coefficients(method, &conflicting())))
        .collect();
    for (i, one) in all.iter().enumerate() {
        for other in &all[..i] {
            let apart: Vec<f64> = one.iter().zip(other).map(|(a, b)| a - b).collect();
            assert!(norm(&apart) > 1e-4, "{one:?}, {other:?}");
        }
    }
}

#[test]
fn a_setting_is_written_and_read() {
    for method in with_variants() {
        let text = serde_json::to_string(&method).unwrap();
        assert_eq!(
            serde_json::from_str::<Aggregation>(&text).unwrap(),
            method,
            "{text}"
        );
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let frank_wolfe = |min_step| Mgda::FrankWolfe {
        max_steps: 1,
        min_step,
    };
    let refused: [Aggregation; 8] = [
        frank_wolfe(-0.1).into(),
        frank_wolfe(f64::NAN).into(),
        UpGrad {
            regularization: -1.0,
        }
        .into(),
        CaGrad::new(f64::NAN).into(),
        GroupDro { eta: f64::INFINITY }.into(),
        VRex {
            lambda: -1.0,
            anneal_steps: 0,
        }
        .into(),
        Disam { lambda: -0.1 }.into(),
        AndMask { tau: 1.5 }.into(),
    ];
    for method in refused {
        let error = method.check().unwrap_err().to_string();
        assert!(error.starts_with("aggregation."), "{error}");
    }
    for method in with_variants() {
        method.check().unwrap();
    }
}

/// Gram matrices of training are of 32 bits: one that is singular may then be so no longer, or not
/// be one.
#[test]
fn a_gram_matrix_of_32_bits_will_do() {
    let methods: [(Aggregation, f64); 4] = [
        (PcGrad::default().into(), 1e-4),
        (Mgda::Exact.into(), 1e-4),
        (CaGrad::default().into(), 1e-4),
        (
            UpGrad {
                regularization: 1e-5,
            }
            .into(),
            1e-2,
        ),
    ];
    for case in 0..500 {
        let (count, columns) = (2 + case % 7, 1 + case % 5);
        let entry = |i: usize, k: usize| ((31 * case + 7 * i * i + 13 * i * k + k) as f64).sin();
        let rows: Vec<Vec<f64>> = (0..count)
            .map(|i| (0..columns).map(|k| entry(i, k)).collect())
            .collect();
        let exact = gram(&rows);
        let rounded = GramMatrix::from_fn(count, |i, j| f64::from(exact.get(i, j) as f32));
        let weights = vec![1.0 / count as f64; count];
        for (method, tolerance) in &methods {
            let [exact, rounded] = [&exact, &rounded].map(|gram| {
                let domains = DomainStatistics::new(0, &weights).with_gram(gram);
                let coefficients = method.coefficients(&domains, &mut Vec::new());
                combined(&rows, &coefficients.unwrap())
            });
            let apart: Vec<f64> = exact.iter().zip(&rounded).map(|(a, b)| a - b).collect();
            assert!(
                norm(&apart) <= *tolerance,
                "{method:?}: {exact:?}, {rounded:?}"
            );
        }
    }
}
