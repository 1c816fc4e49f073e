use crate::{Error, Result};

/// A symmetric $K \times K$ matrix in host memory: the Gram matrix
/// $G_{ij} = \langle g_i, g_j \rangle$ of $K$ gradients, or the derivative of a function of it.
///
/// ```
/// use roga::gradient::GramMatrix;
///
/// let gram = GramMatrix::from_fn(2, |i, j| [[25.0, 21.0], [21.0, 225.0]][i][j]);
/// assert_eq!(gram.get(0, 1), 21.0);
/// assert_eq!(gram.norm(1), 15.0);
/// assert_eq!(gram.cosine(0, 1), 0.28);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GramMatrix {
    domains: usize,
    /// Row by row.
    entries: Vec<f64>,
}

impl GramMatrix {
    /// Of $K$ gradients; `entry(i, j)` is asked for $j \le i$.
    pub fn from_fn(domains: usize, mut entry: impl FnMut(usize, usize) -> f64) -> Self {
        let mut matrix = Self {
            domains,
            entries: vec![0.0; domains * domains],
        };
        for i in 0..domains {
            for j in 0..=i {
                let value = entry(i, j);
                matrix.set(i, j, value);
                matrix.set(j, i, value);
            }
        }
        matrix
    }

    fn set(&mut self, i: usize, j: usize, value: f64) {
        if let Some(entry) = self.entries.get_mut(i * self.domains + j) {
            *entry = value;
        }
    }

    /// That of these gradients alone, in this order.
    pub(crate) fn of(&self, gradients: &[usize]) -> Self {
        let entry = |i, j| Some(self.get(*gradients.get(i)?, *gradients.get(j)?));
        Self::from_fn(gradients.len(), |i, j| entry(i, j).unwrap_or(f64::NAN))
    }

    /// Of rows.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where they are not square and symmetric.
    pub fn from_rows(rows: &[Vec<f64>]) -> Result<Self> {
        let domains = rows.len();
        let refused = |rule, value: String| Error::Setting {
            field: "rows",
            rule,
            value,
        };
        if let Some(row) = rows.iter().find(|row| row.len() != domains) {
            let value = format!("{domains} rows with one of {}", row.len());
            return Err(refused("be as many as the entries of each", value));
        }
        let entry = |i: usize, j: usize| {
            let row = rows.get(i).and_then(|row| row.get(j));
            row.copied().unwrap_or(f64::NAN)
        };
        for (i, j) in (0..domains).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let (below, above) = (entry(i, j), entry(j, i));
            // NaN is equal to nothing.
            if below.to_bits() != above.to_bits() && below != above {
                let value = format!("{below} at ({i}, {j}) and {above} at ({j}, {i})");
                return Err(refused("be symmetric", value));
            }
        }
        Ok(Self::from_fn(domains, entry))
    }

    /// $K$.
    pub fn domains(&self) -> usize {
        self.domains
    }

    /// $G_{ij}$; NaN where there is no such entry.
    pub fn get(&self, i: usize, j: usize) -> f64 {
        self.row(i).get(j).copied().unwrap_or(f64::NAN)
    }

    /// $G_{i1}, \dots, G_{iK}$; empty where there is no such row.
    pub fn row(&self, i: usize) -> &[f64] {
        let row = self.entries.chunks_exact(self.domains.max(1)).nth(i);
        row.unwrap_or_default()
    }

    /// $\lVert g_i \rVert = \sqrt{G_{ii}}$.
    pub fn norm(&self, i: usize) -> f64 {
        self.get(i, i).sqrt()
    }

    /// $G_{ij} / \sqrt{G_{ii} G_{jj}}$, in $[-1, 1]$; 0 where one of the gradients is zero.
    pub fn cosine(&self, i: usize, j: usize) -> f64 {
        cosine(self.get(i, j), self.norm(i), self.norm(j))
    }

    /// Whether every entry is finite.
    pub fn is_finite(&self) -> bool {
        self.entries.iter().all(|entry| entry.is_finite())
    }
}

/// $\langle a, b \rangle / (\lVert a \rVert \lVert b \rVert)$, and 0 where one of them is zero.
pub(crate) fn cosine(inner_product: f64, a: f64, b: f64) -> f64 {
    let norms = a * b;
    if norms == 0.0 {
        0.0
    } else {
        (inner_product / norms).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_square_or_not_symmetric_is_refused() {
        let refused = |rows: &[Vec<f64>]| GramMatrix::from_rows(rows).unwrap_err().to_string();
        assert_eq!(
            refused(&[vec![1.0, 2.0]]),
            "rows must be as many as the entries of each, but is 1 rows with one of 2"
        );
        assert_eq!(
            refused(&[vec![1.0, 2.0], vec![3.0, 4.0]]),
            "rows must be symmetric, but is 3 at (1, 0) and 2 at (0, 1)"
        );
    }

    #[test]
    fn it_is_read_as_it_was_made() {
        let rows = [vec![9.0, f64::NAN], vec![f64::NAN, 0.0]];
        let gram = GramMatrix::from_rows(&rows).unwrap();
        assert_eq!(
            (gram.domains(), gram.norm(0), gram.row(1)[1]),
            (2, 3.0, 0.0)
        );
        assert!(!gram.is_finite() && gram.get(2, 0).is_nan() && gram.row(2).is_empty());
        assert_eq!(GramMatrix::from_fn(1, |_, _| 0.0).cosine(0, 0), 0.0);
        assert_eq!(GramMatrix::from_rows(&[]).unwrap().domains(), 0);
    }
}
