use burn::tensor::Tensor;

use crate::{Error, Result};

/// The number $s$ that is explained, of a picture's logits $y \in \mathbb{R}^K$.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The logit of a class, $s = y_c$.
    Logit(usize),
    /// How far the logit of one class lies above that of another, $s = y_c - y_d$: what decides
    /// between two classes.
    Difference {
        /// The class $c$.
        of: usize,
        /// The class $d$.
        to: usize,
    },
}

impl Target {
    /// The sum of $s$ over the pictures of a batch. A picture's gradient of the sum is that of its
    /// own $s$, as long as the net treats every picture by itself.
    pub(super) fn sum(self, logits: Tensor<2>) -> Result<Tensor<1>> {
        let classes = logits.dims()[1];
        let (of, to) = match self {
            Target::Logit(of) => (of, None),
            Target::Difference { of, to } => (of, Some(to)),
        };
        if let Some(class) = [Some(of), to].into_iter().flatten().max()
            && class >= classes
        {
            return Err(Error::Setting {
                field: "target",
                rule: "be a class of the net",
                value: format!("class {class} of a net with {classes} logits"),
            });
        }
        let logit = |class: usize| logits.clone().narrow(1, class, 1).sum();
        Ok(match to {
            None => logit(of),
            Some(to) => logit(of) - logit(to),
        })
    }
}
