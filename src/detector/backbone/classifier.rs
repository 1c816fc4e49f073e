use burn::{
    nn::Linear,
    tensor::{Tensor, module::adaptive_avg_pool2d},
};

/// A net that sees a picture as a map of features, pools the map and classifies what it pooled.
///
/// $$ \text{forward} = \text{head} \circ \text{pool} \circ \text{feature map} $$
///
/// An explanation that needs the last map and its gradient (Selvaraju et al., "Grad-CAM", ICCV
/// 2017, arXiv 1610.02391) splits the net there and nothing of it changes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use roga::detector::backbone::{Classifier, ResNetConfig};
///
/// let device = Device::default();
/// let net = ResNetConfig::small(2).init(&device)?;
/// let map = net.feature_map(Tensor::zeros([4, 3, 64, 64], &device));
/// assert_eq!(map.dims(), [4, net.features_len(), 8, 8]);
/// assert_eq!(net.classify(map).dims(), [4, 2]);
/// # Ok::<(), roga::Error>(())
/// ```
pub trait Classifier {
    /// The last map before it is pooled, `[batch, features, h, w]`, of pictures
    /// `[batch, channels, height, width]`.
    fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4>;

    /// The last layer, from features to logits.
    fn head(&self) -> &Linear;

    /// What the head sees of a feature map, `[batch, features]`: its mean over height and width,
    /// and where the net has a norm before its head, that of the mean.
    fn pool(&self, map: Tensor<4>) -> Tensor<2> {
        adaptive_avg_pool2d(map, [1, 1]).flatten(1, 3)
    }

    /// The logits, `[batch, classes]`, of a feature map.
    fn classify(&self, map: Tensor<4>) -> Tensor<2> {
        self.head().forward(self.pool(map))
    }

    /// What the head sees of pictures, `[batch, features]`.
    fn features(&self, pictures: Tensor<4>) -> Tensor<2> {
        self.pool(self.feature_map(pictures))
    }

    /// The logits, `[batch, classes]`, of pictures `[batch, channels, height, width]`.
    fn forward(&self, pictures: Tensor<4>) -> Tensor<2> {
        self.classify(self.feature_map(pictures))
    }

    /// The number of features that the head sees.
    fn features_len(&self) -> usize {
        let [features, _] = self.head().weight.lazy_shape().dims();
        features
    }

    /// The number of classes $K$.
    fn classes(&self) -> usize {
        let [_, classes] = self.head().weight.lazy_shape().dims();
        classes
    }
}
