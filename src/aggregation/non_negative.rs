use crate::gradient::GramMatrix;

/// Non-negative least squares on a Gram matrix: the $x \ge 0$ that minimises
/// $\frac12 x^\top A x - b^\top x$.
///
/// The active-set method of Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23,
/// in terms of $A$ and $b$ alone. The variables are measured in units that give $A$ ones on its
/// diagonal, so that gradients of very different lengths lose nothing to each other. Exact up to
/// rounding after a number of changes of the set that is of the order of $K$, and bounded in any
/// case. A variable with nothing on the diagonal is 0.
pub(super) fn non_negative_least_squares(a: &GramMatrix, b: &[f64]) -> Vec<f64> {
    let units: Vec<f64> = (0..a.domains()).map(|i| a.norm(i)).collect();
    let in_units = |(value, unit): (&f64, &f64)| if *unit > 0.0 { value / unit } else { 0.0 };
    let mut problem = ActiveSet {
        a: GramMatrix::from_fn(a.domains(), |i, j| match i == j {
            true => 1.0,
            false => a.cosine(i, j),
        }),
        b: b.iter().zip(&units).map(in_units).collect(),
        x: vec![0.0; a.domains()],
        passive: Vec::new(),
        factor: Vec::new(),
    };
    problem.solve();
    problem.x.iter().zip(&units).map(in_units).collect()
}

struct ActiveSet {
    a: GramMatrix,
    b: Vec<f64>,
    x: Vec<f64>,
    /// The variables above 0, in the order in which they became so.
    passive: Vec<usize>,
    /// The rows of Cholesky's factor of $A$ over the passive variables, as far as it is known.
    factor: Vec<Vec<f64>>,
}

#[expect(
    clippy::indexing_slicing,
    reason = "variables are numbers below K, and every list that they are places in has K entries"
)]
impl ActiveSet {
    fn solve(&mut self) {
        let count = self.x.len();
        let mut refused = vec![false; count];
        for _ in 0..8 * count {
            let Some(variable) = self.most_promising(&refused) else {
                break;
            };
            if self.enter(variable) {
                refused.fill(false);
            } else {
                refused[variable] = true;
            }
        }
    }

    /// The variable at 0 along which the objective falls most steeply, if it does by more than
    /// rounding.
    fn most_promising(&self, refused: &[bool]) -> Option<usize> {
        let descent = |i: usize| {
            let terms = self.a.row(i).iter().zip(&self.x).map(|(a, x)| a * x);
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| {
                (sum + term, size + term.abs())
            });
            let rounding = 4.0 * self.x.len() as f64 * f64::EPSILON * (self.b[i].abs() + size);
            Some(self.b[i] - sum).filter(|descent| *descent > rounding)
        };
        (0..self.x.len())
            .filter(|i| !refused[*i] && !self.passive.contains(i))
            .filter_map(|i| Some((i, descent(i)?)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(i, _)| i)
    }

    /// Lets a variable leave 0 and goes to the minimum over the passive ones, dropping those that
    /// reach 0 on the way. `false`, with nothing changed, where rounding does not let it leave.
    fn enter(&mut self, variable: usize) -> bool {
        self.passive.push(variable);
        let Some(mut target) = self
            .passive_minimum()
            .filter(|target| target.last().is_some_and(|x| *x > 0.0))
        else {
            self.passive.pop();
            self.factor.truncate(self.passive.len());
            return false;
        };
        while target.iter().any(|x| *x <= 0.0) {
            self.walk_to_the_boundary(&target);
            match self.passive_minimum() {
                Some(minimum) => target = minimum,
                None => return true,
            }
        }
        for (i, target) in self.passive.iter().zip(target) {
            self.x[*i] = target;
        }
        true
    }

    /// Walks towards a target until the first variables reach 0, which are no longer passive.
    fn walk_to_the_boundary(&mut self, target: &[f64]) {
        let step = |(i, target): (&usize, &f64)| self.x[*i] / (self.x[*i] - target);
        let outside = self.passive.iter().zip(target).filter(|(_, x)| **x <= 0.0);
        let part = outside.map(step).fold(1.0, f64::min);
        let mut left = Vec::with_capacity(self.passive.len());
        for (place, (i, target)) in self.passive.iter().zip(target).enumerate() {
            let x = self.x[*i];
            if *target <= 0.0 && x / (x - target) <= part {
                self.x[*i] = 0.0;
                self.factor.truncate(place);
            } else {
                self.x[*i] = x + part * (target - x);
                left.push(*i);
            }
        }
        self.passive = left;
    }

    /// The unconstrained minimum over the passive variables; `None` where they depend on each
    /// other.
    fn passive_minimum(&mut self) -> Option<Vec<f64>> {
        while let Some(i) = self.passive.get(self.factor.len()) {
            let row = self.factor_row(*i)?;
            self.factor.push(row);
        }
        let mut solution: Vec<f64> = Vec::with_capacity(self.passive.len());
        for (i, row) in self.passive.iter().zip(&self.factor) {
            solution.push((self.b[*i] - dot(row, &solution)) / row.last()?);
        }
        for (place, row) in self.factor.iter().enumerate().rev() {
            let (before, rest) = solution.split_at_mut(place);
            let last = rest.first_mut()?;
            *last /= row.last()?;
            for (before, entry) in before.iter_mut().zip(row) {
                *before -= entry * *last;
            }
        }
        Some(solution)
    }

    /// The next row of the factor.
    fn factor_row(&self, variable: usize) -> Option<Vec<f64>> {
        let smallest = 4.0 * self.x.len() as f64 * f64::EPSILON;
        let mut row: Vec<f64> = Vec::with_capacity(self.factor.len() + 1);
        for (other, before) in self.passive.iter().zip(&self.factor) {
            let rest = self.a.get(variable, *other) - dot(&row, before);
            row.push(rest / before.last()?);
        }
        let pivot = 1.0 - dot(&row, &row);
        row.push(Some(pivot.sqrt()).filter(|_| pivot > smallest)?);
        Some(row)
    }
}

/// $a \cdot b$, over as many entries as the shorter one has.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_rows(rows: &[Vec<f64>]) -> GramMatrix {
        GramMatrix::from_fn(rows.len(), |i, j| dot(&rows[i], &rows[j]))
    }

    #[test]
    fn a_variable_leaves_the_set_again() {
        // The first row is nearest to the target and enters first; with the two others it would
        // have to be taken −2/3 times.
        let target = [1.0, 1.0, 1.0, 0.0];
        let rows = [
            vec![1.0, 1.0, 1.0, 0.5],
            vec![1.0, 1.0, 0.0, 0.1],
            vec![0.0, 0.0, 1.0, 0.1],
        ];
        let b: Vec<f64> = rows.iter().map(|row| dot(row, &target)).collect();
        let x = non_negative_least_squares(&of_rows(&rows), &b);
        for (x, expected) in x.iter().zip([0.0, 2.01 / 2.03, 1.99 / 2.03]) {
            assert!((x - expected).abs() < 1e-14, "{x} is not {expected}");
        }
        assert_eq!(x[0], 0.0);
    }

    #[test]
    fn what_is_not_finite_or_not_a_gram_matrix_ends_too() {
        for entry in [f64::NAN, f64::INFINITY, -1.0, 0.0, 5.0] {
            let a = GramMatrix::from_fn(5, |i, j| if i == j { entry } else { 2.0 - j as f64 });
            assert_eq!(non_negative_least_squares(&a, &[1.0; 5]).len(), 5);
        }
    }

    proptest! {
        /// $x \ge 0$, $Ax \ge b$, and one of the two is an equality.
        #[test]
        fn the_conditions_of_the_minimum_hold(
            rows in prop::collection::vec(prop::collection::vec(-1.0..1.0f64, 4), 1..8),
            exponents in prop::collection::vec(-6..7i32, 8),
            target in prop::collection::vec(-1.0..1.0f64, 4),
        ) {
            let rows: Vec<Vec<f64>> = rows
                .iter()
                .zip(exponents)
                .map(|(row, e)| row.iter().map(|x| x * 10f64.powi(e)).collect())
                .collect();
            let a = of_rows(&rows);
            let b: Vec<f64> = rows.iter().map(|row| dot(row, &target)).collect();
            let x = non_negative_least_squares(&a, &b);
            for i in 0..rows.len() {
                let slack = (dot(a.row(i), &x) - b[i]) / a.norm(i);
                let terms = (0..rows.len()).map(|j| a.norm(j) * x[j]);
                let rounding = 1e-9 * (1.0 + terms.sum::<f64>());
                prop_assert!(x[i] >= 0.0 && slack > -rounding, "{x:?}, {slack} at {i}");
                prop_assert!(x[i] == 0.0 || slack < rounding, "{x:?}, {slack} at {i}");
            }
        }
    }
}
