//! Fishr's penalty, without a second derivative.
//!
//! The variances of the rows' gradients are to be the same in all domains. For the linear head
//! $z = W f + b$ on features $f$ the gradient of a row's cross-entropy is a closed form: with
//! $r = p - y$ it is $r_c f_j$ for the weight $W_{cj}$ and $r_c$ for the bias $b_c$. So their
//! variances over the $n$ rows of domain $i$ are functions of logits and features,
//!
//! $$v_i = \frac1n \sum_r (g_r - \bar g)^2
//!       = \frac1n \sum_r g_r^2 - \Bigl( \frac1n \sum_r g_r \Bigr)^2,$$
//!
//! entry by entry, and ordinary autodiff differentiates the penalty
//!
//! $$\frac1K \sum_i \lVert v_i - \bar v \rVert^2, \qquad \bar v = \frac1K \sum_i v_i.$$
//!
//! Where domains are seen in mini-batches, $v_i$ is smoothed over the steps with a decay $e$,
//! $m_i \leftarrow e\, m_i + (1 - e)\, v_i$ from 0 on; what is compared is then $m_i / (1 - e)$,
//! so that the gradient through the newest $v_i$ does not depend on $e$.
//!
//! Implementations differ by a factor: DomainBed's has the mean over the entries in place of the
//! norm's sum, which is $1 / (\text{classes} \cdot (\text{features} + 1))$ of this; the authors'
//! ColoredMNIST sums over the domains, which is $K$ of this.
//!
//! **Passes**: those of the loss. **Memory**: one number for each parameter of the head and domain.
//! **When to use it**: to compare with; like IRM's, its weight is a hyper-parameter, and training
//! needs steps of ERM first.
//!
//! Source: Rame, Dancette and Cord, "Fishr: Invariant Gradient Variances for Out-of-Distribution
//! Generalization", ICML 2022, arXiv 2109.02934.

use burn::tensor::{Int, Tensor};

use super::residual::residual;

/// What a domain's mini-batch gives at the head.
#[derive(Debug, Clone)]
pub struct AtHead {
    /// `[rows, classes]`, or `[rows, 1]` for two classes.
    pub logits: Tensor<2>,
    /// What the linear head is given, `[rows, features]`.
    pub features: Tensor<2>,
    /// `[rows]`.
    pub labels: Tensor<1, Int>,
}

impl AtHead {
    /// $v$: the variances of the rows' gradients, class by class its weights and then its bias:
    /// `[classes · (features + 1)]`.
    pub fn gradient_variance(&self) -> Tensor<1> {
        let [rows, _] = self.logits.dims();
        let residual = residual(self.logits.clone(), self.labels.clone());
        // The bias is the weight of a feature that is 1.
        let ones = self.features.clone().narrow(1, 0, 1).ones_like();
        let features = Tensor::cat(vec![self.features.clone(), ones], 1);
        let mean = |residual: Tensor<2>, features: Tensor<2>| {
            let products = residual.transpose().matmul(features);
            products.div_scalar(rows as f64)
        };
        let of_squares = mean(residual.clone().square(), features.clone().square());
        let variance = of_squares - mean(residual, features).square();
        let entries = variance.shape().num_elements();
        variance.reshape([entries])
    }
}

/// The penalty and the variances' running means, which it keeps from step to step.
#[derive(Debug, Clone)]
pub struct Fishr {
    decay: f64,
    means: Vec<Tensor<1>>,
}

impl Fishr {
    /// * `decay`: $e$, at least 0 and below 1: 0.95 in DomainBed; 0 for full batches.
    pub fn new(decay: f64) -> Self {
        Self {
            decay,
            means: Vec::new(),
        }
    }

    /// The penalty, shape `[1]`, of one mini-batch for each of at least one domain, the same in
    /// every step and in the same order.
    pub fn penalty(&mut self, domains: &[AtHead]) -> Tensor<1> {
        let variances = domains.iter().map(AtHead::gradient_variance);
        let means: Vec<Tensor<1>> = variances
            .enumerate()
            .map(|(domain, variance)| {
                let new = variance.mul_scalar(1.0 - self.decay);
                match self.means.get(domain) {
                    Some(mean) => new + mean.clone().mul_scalar(self.decay),
                    None => new,
                }
            })
            .collect();
        // Only the newest variance is differentiated.
        self.means = means.iter().map(|mean| mean.clone().detach()).collect();
        let compared = Tensor::stack::<2>(means, 0).div_scalar(1.0 - self.decay);
        let away = compared.clone() - compared.mean_dim(0);
        away.square().sum_dim(1).mean()
    }
}
