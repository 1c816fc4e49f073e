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
        match self.losses.iter().position(|loss| !loss.is_finite()) {
            None => Ok(self.losses),
            Some(domain) => Err(Error::Domains {
                rule: "have finite losses",
                found: format!("that of domain {domain} is {}", self.losses[domain]),
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
        if !gram.is_finite() {
            let found = format!("their Gram matrix is {gram:?}");
            return refused("have gradients with finite inner products", found);
        }
        Ok(gram)
    }
}
