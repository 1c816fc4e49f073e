use crate::{Error, Result, gradient::GramMatrix};

/// What a step knows about its $K$ domains.
///
/// ```
/// use roga::{aggregation::DomainStatistics, gradient::GramMatrix};
///
/// let gram = GramMatrix::from_rows(&[vec![25.0, 21.0], vec![21.0, 225.0]])?;
/// let domains = DomainStatistics::new(0, &[0.5, 0.5])
///     .with_losses(&[0.3, 0.9])
///     .with_gram(&gram);
/// assert_eq!(domains.gram()?.cosine(0, 1), 0.28);
///
/// let missing = DomainStatistics::new(0, &[0.5, 0.5]).losses().unwrap_err();
/// assert_eq!(missing.to_string(), "domains must have one loss each, but there are 0 for 2 domains");
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DomainStatistics<'a> {
    step: u64,
    weights: &'a [f64],
    losses: &'a [f64],
    gram: Option<&'a GramMatrix>,
}

impl<'a> DomainStatistics<'a> {
    /// Of the step with this number, and the weights $p_i$ of its domains: at least 0, adding up
    /// to 1.
    pub fn new(step: u64, weights: &'a [f64]) -> Self {
        Self {
            step,
            weights,
            losses: &[],
            gram: None,
        }
    }

    /// With the losses $L_i$.
    pub fn with_losses(mut self, losses: &'a [f64]) -> Self {
        self.losses = losses;
        self
    }

    /// With the Gram matrix of the gradients.
    pub fn with_gram(mut self, gram: &'a GramMatrix) -> Self {
        self.gram = Some(gram);
        self
    }

    /// The number of the step, from 0 on.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// $K$.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there is no domain.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// $p_i$.
    pub fn weights(&self) -> &'a [f64] {
        self.weights
    }

    /// $L_i$.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where they were not given, are not one for each domain, or not finite.
    pub fn losses(&self) -> Result<&'a [f64]> {
        if self.losses.len() != self.len() {
            return Err(Error::Domains {
                rule: "have one loss each",
                found: format!("there are {} for {} domains", self.losses.len(), self.len()),
            });
        }
        let mut losses = self.losses.iter().enumerate();
        match losses.find(|(_, loss)| !loss.is_finite()) {
            None => Ok(self.losses),
            Some((domain, loss)) => Err(Error::Domains {
                rule: "have finite losses",
                found: format!("that of domain {domain} is {loss}"),
            }),
        }
    }

    /// The Gram matrix $G_{ij} = \langle g_i, g_j \rangle$.
    ///
    /// # Errors
    ///
    /// [`Error::Domains`] where it was not given, is not of as many gradients as there are
    /// domains, or not finite.
    pub fn gram(&self) -> Result<&'a GramMatrix> {
        let refused = |rule, found| Err(Error::Domains { rule, found });
        let Some(gram) = self.gram else {
            let rule = "come with the Gram matrix of their gradients";
            return refused(rule, "there is none".into());
        };
        if gram.domains() != self.len() {
            let (gradients, domains) = (gram.domains(), self.len());
            let found = format!("there are {gradients} for {domains} domains");
            return refused("have one gradient each", found);
        }
        let pairs = (0..self.len()).flat_map(|i| (0..=i).map(move |j| (i, j)));
        match pairs
            .into_iter()
            .find(|(i, j)| !gram.get(*i, *j).is_finite())
        {
            None => Ok(gram),
            Some((i, j)) => {
                let product = gram.get(i, j);
                let found = format!("that of domains {i} and {j} is {product}");
                refused("have gradients with finite inner products", found)
            }
        }
    }

    /// The coefficients that a method finds from weights and Gram matrix alone, over the domains
    /// whose weight is not 0; the others' are 0.
    pub(super) fn by_gram(
        &self,
        method: impl FnOnce(&[f64], &GramMatrix) -> Vec<f64>,
    ) -> Result<Vec<f64>> {
        let gram = self.gram()?;
        let counted = self.weights.iter().copied().enumerate();
        let (domains, weights): (Vec<usize>, Vec<f64>) =
            counted.filter(|(_, weight)| *weight != 0.0).unzip();
        let mut found = method(&weights, &gram.of(&domains)).into_iter();
        let coefficient = |weight: &f64| match *weight != 0.0 {
            true => found.next().unwrap_or(0.0),
            false => 0.0,
        };
        Ok(self.weights.iter().map(coefficient).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_not_finite_is_refused_by_name() {
        let weights = [0.5, 0.5];
        let domains = DomainStatistics::new(0, &weights);
        let refused = |result: Result<&GramMatrix>| result.unwrap_err().to_string();
        assert_eq!(
            refused(domains.gram()),
            "domains must come with the Gram matrix of their gradients, but there is none"
        );
        let gram = GramMatrix::from_fn(3, |_, _| 1.0);
        assert_eq!(
            refused(domains.with_gram(&gram).gram()),
            "domains must have one gradient each, but there are 3 for 2 domains"
        );
        let gram = GramMatrix::from_fn(2, |i, _| if i == 1 { f64::NAN } else { 1.0 });
        assert_eq!(
            refused(domains.with_gram(&gram).gram()),
            "domains must have gradients with finite inner products, \
             but that of domains 1 and 0 is NaN"
        );
        let losses = domains.with_losses(&[0.1, f64::INFINITY]).losses();
        assert_eq!(
            losses.unwrap_err().to_string(),
            "domains must have finite losses, but that of domain 1 is inf"
        );
    }

    #[test]
    fn a_domain_of_weight_0_is_left_out() {
        let gram = GramMatrix::from_fn(3, |i, j| (10 * i + j) as f64);
        let domains = DomainStatistics::new(0, &[0.4, 0.0, 0.6]).with_gram(&gram);
        let found = domains.by_gram(|weights, gram| {
            assert_eq!((weights, gram.row(1)), (&[0.4, 0.6][..], &[20.0, 22.0][..]));
            vec![7.0, 8.0]
        });
        assert_eq!(found.unwrap(), [7.0, 0.0, 8.0]);
    }
}
