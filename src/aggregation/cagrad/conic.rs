//! CAGrad's weights as TorchJD finds them: a second-order cone programme, to Clarabel's tolerance.

use clarabel::{
    algebra::CscMatrix,
    solver::{
        DefaultSettingsBuilder, DefaultSolver, IPSolver, SolverStatus,
        SupportedConeT::{NonnegativeConeT, SecondOrderConeT, ZeroConeT},
    },
};

use super::{Ball, Point};
use crate::{aggregation::non_negative::dot, gradient::GramMatrix};

/// The share of $\sqrt{\sum_i \lVert g_i \rVert^2}$ below which the hull counts as one that contains
/// the origin.
const SHORTEST: f64 = 1e-4;

/// The point whose $w$ of the simplex minimises
/// $\langle \sum_i w_i g_i, \bar g \rangle + c \lVert \bar g \rVert \lVert \sum_i w_i g_i \rVert$.
///
/// Nothing where the hull is too near to the origin, or where the solver comes to no end.
pub(super) fn point(ball: &Ball<'_>) -> Option<Point> {
    let gram = ball.gram;
    let trace: f64 = (0..gram.domains()).map(|i| gram.get(i, i)).sum();
    if !(trace.is_finite() && trace > 0.0) {
        return None;
    }
    let costs: Vec<f64> = ball.with_mean.iter().map(|cost| cost / trace).collect();
    let radius = (ball.square_radius / trace).sqrt();
    let weights = solved(&factor(gram, trace), &costs, radius)?;
    let square = ball.square_norm(&weights);
    ((square / trace).sqrt() >= SHORTEST).then_some(Point {
        square_tau: square / ball.square_radius,
        weights,
        outside: 0.0,
    })
}

/// The columns of $R = U \sqrt S$ with $R R^\top = U S U^\top$, the Gram matrix divided by its trace.
///
/// Hestenes' method: columns are turned in pairs until every pair is orthogonal. They are then
/// those of $U S$.
fn factor(gram: &GramMatrix, trace: f64) -> Vec<Vec<f64>> {
    let column = |i| gram.row(i).iter().map(|product| product / trace).collect();
    let mut columns: Vec<Vec<f64>> = (0..gram.domains()).map(column).collect();
    for _ in 0..60 {
        let mut turned = false;
        for other in 1..columns.len() {
            for one in 0..other {
                if let Ok([a, b]) = columns.get_disjoint_mut([one, other]) {
                    turned |= turn(a, b);
                }
            }
        }
        if !turned {
            break;
        }
    }
    for column in &mut columns {
        let root = dot(column, column).sqrt().sqrt();
        if root > 0.0 {
            column.iter_mut().for_each(|entry| *entry /= root);
        }
    }
    columns
}

/// Turns two columns into two that are orthogonal; false where they are so up to rounding.
fn turn(a: &mut [f64], b: &mut [f64]) -> bool {
    let (product, squares) = (dot(a, b), [dot(a, a), dot(b, b)]);
    let [a_square, b_square] = squares;
    if product.abs() <= f64::EPSILON * (a_square.sqrt() * b_square.sqrt()) {
        return false;
    }
    let cotangent = (b_square - a_square) / (2.0 * product);
    let tangent = cotangent.signum() / (cotangent.abs() + (1.0 + cotangent * cotangent).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = tangent * cosine;
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
    }
    true
}

/// Minimises $\langle w, b \rangle + r t$ over $w$ of the simplex and $t \ge \lVert R^\top w \rVert$.
fn solved(factor: &[Vec<f64>], costs: &[f64], radius: f64) -> Option<Vec<f64>> {
    let count = factor.len();
    // Variables (t, w); A x + s = b, with s in the cones.
    let row = |t: f64, w: Vec<f64>| [vec![t], w].concat();
    let minus = |row: &Vec<f64>| row.iter().map(|entry| -entry).collect();
    let below = |i: usize| (0..count).map(|j| -f64::from(i == j)).collect();
    let mut rows = vec![row(0.0, vec![1.0; count])];
    rows.extend((0..count).map(|i| row(0.0, below(i))));
    rows.push(row(-1.0, vec![0.0; count]));
    rows.extend(factor.iter().map(|column| row(0.0, minus(column))));
    let one = row(1.0, vec![0.0; rows.len() - 1]);
    let cones = [
        ZeroConeT(1),
        NonnegativeConeT(count),
        SecondOrderConeT(count + 1),
    ];
    let settings = DefaultSettingsBuilder::default().verbose(false).build();
    let mut solver = DefaultSolver::new(
        &CscMatrix::zeros((count + 1, count + 1)),
        &row(radius, costs.to_vec()),
        &CscMatrix::from(&rows),
        &one,
        &cones,
        settings.ok()?,
    )
    .ok()?;
    solver.solve();
    let found = solver.solution.x.get(1..)?.to_vec();
    let solved = matches!(
        solver.solution.status,
        SolverStatus::Solved | SolverStatus::AlmostSolved
    );
    (solved && found.iter().all(|w| w.is_finite())).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_one_of_orthogonal_columns() {
        let entry = |i: usize, k: usize| ((7 * i * i + 13 * i * k + k) as f64).sin();
        for (count, wide) in [(1, 3), (2, 5), (5, 9), (6, 2), (64, 7)] {
            let product = |i, j| (0..wide).map(|k| entry(i, k) * entry(j, k)).sum();
            let gram = GramMatrix::from_fn(count, product);
            let trace: f64 = (0..count).map(|i| gram.get(i, i)).sum();
            let factor = factor(&gram, trace);
            for i in 0..count {
                for j in 0..count {
                    let found: f64 = factor.iter().map(|column| column[i] * column[j]).sum();
                    assert!((found - gram.get(i, j) / trace).abs() < 1e-14);
                    let cross = dot(&factor[i], &factor[j]);
                    assert!(i == j || cross.abs() < 1e-14, "{cross:e}");
                }
            }
        }
    }

    #[test]
    fn a_ball_with_the_origin_in_it_has_no_direction() {
        let opposite = GramMatrix::from_fn(2, |i, j| if i == j { 1.0 } else { -1.0 });
        // Along h = w₁ − w₂: 0.4 h + 0.4 c |h|.
        assert!(point(&Ball::new(2.0, &[0.7, 0.3], &opposite)).is_none());
        let found = point(&Ball::new(0.5, &[0.7, 0.3], &opposite)).unwrap();
        assert!((found.weights[1] - 1.0).abs() < 1e-6, "{:?}", found.weights);
        let zero = GramMatrix::from_fn(2, |_, _| 0.0);
        assert!(point(&Ball::new(0.5, &[0.5, 0.5], &zero)).is_none());
    }
}
