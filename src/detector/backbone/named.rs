use std::{fmt, str::FromStr};

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

use super::{
    classifier::Classifier,
    convnext::{ConvNext, ConvNextConfig},
    efficientnet::{EfficientNet, EfficientNetConfig},
    frequency::{FrequencyConfig, FrequencyNet},
    normalization::Normalization,
    resnet::{ResNet, ResNetConfig},
    xception::{Xception, XceptionConfig},
};
use crate::{Error, Result};

/// A backbone by its name, as it is parsed, printed and serialized.
///
/// ```
/// use roga::detector::backbone::BackboneConfig;
///
/// let config: BackboneConfig = "efficientnet-b4".parse()?;
/// assert_eq!(config, BackboneConfig::EfficientNetB4);
/// assert_eq!(config.size(), 380);
/// # Ok::<(), roga::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
#[non_exhaustive]
pub enum BackboneConfig {
    /// `small`: [`ResNetConfig::small`].
    Small,
    /// `resnet-18`: [`ResNetConfig::resnet18`].
    ResNet18,
    /// `resnet-34`: [`ResNetConfig::resnet34`].
    ResNet34,
    /// `resnet-50`: [`ResNetConfig::resnet50`].
    ResNet50,
    /// `xception`: [`XceptionConfig`].
    Xception,
    /// `efficientnet-b0`: [`EfficientNetConfig::b0`].
    EfficientNetB0,
    /// `efficientnet-b1`: [`EfficientNetConfig::b1`].
    EfficientNetB1,
    /// `efficientnet-b2`: [`EfficientNetConfig::b2`].
    EfficientNetB2,
    /// `efficientnet-b3`: [`EfficientNetConfig::b3`].
    EfficientNetB3,
    /// `efficientnet-b4`: [`EfficientNetConfig::b4`].
    EfficientNetB4,
    /// `convnext-tiny`: [`ConvNextConfig::tiny`].
    ConvNextTiny,
    /// `frequency`: [`FrequencyConfig`].
    Frequency,
}

impl BackboneConfig {
    /// Every backbone.
    pub const ALL: [Self; 12] = [
        Self::Small,
        Self::ResNet18,
        Self::ResNet34,
        Self::ResNet50,
        Self::Xception,
        Self::EfficientNetB0,
        Self::EfficientNetB1,
        Self::EfficientNetB2,
        Self::EfficientNetB3,
        Self::EfficientNetB4,
        Self::ConvNextTiny,
        Self::Frequency,
    ];

    /// The backbone's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::ResNet18 => "resnet-18",
            Self::ResNet34 => "resnet-34",
            Self::ResNet50 => "resnet-50",
            Self::Xception => "xception",
            Self::EfficientNetB0 => "efficientnet-b0",
            Self::EfficientNetB1 => "efficientnet-b1",
            Self::EfficientNetB2 => "efficientnet-b2",
            Self::EfficientNetB3 => "efficientnet-b3",
            Self::EfficientNetB4 => "efficientnet-b4",
            Self::ConvNextTiny => "convnext-tiny",
            Self::Frequency => "frequency",
        }
    }

    /// Initialises the net with a head for $K$ classes.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for no classes.
    pub fn init(self, classes: usize, device: &Device) -> Result<Backbone> {
        let resnet = |config: ResNetConfig| config.init(device).map(Backbone::ResNet);
        let efficientnet =
            |config: EfficientNetConfig| config.init(device).map(Backbone::EfficientNet);
        match self {
            Self::Small => resnet(ResNetConfig::small(classes)),
            Self::ResNet18 => resnet(ResNetConfig::resnet18(classes)),
            Self::ResNet34 => resnet(ResNetConfig::resnet34(classes)),
            Self::ResNet50 => resnet(ResNetConfig::resnet50(classes)),
            Self::Xception => XceptionConfig::new(classes)
                .init(device)
                .map(Backbone::Xception),
            Self::EfficientNetB0 => efficientnet(EfficientNetConfig::b0(classes)),
            Self::EfficientNetB1 => efficientnet(EfficientNetConfig::b1(classes)),
            Self::EfficientNetB2 => efficientnet(EfficientNetConfig::b2(classes)),
            Self::EfficientNetB3 => efficientnet(EfficientNetConfig::b3(classes)),
            Self::EfficientNetB4 => efficientnet(EfficientNetConfig::b4(classes)),
            Self::ConvNextTiny => ConvNextConfig::tiny(classes)
                .init(device)
                .map(Backbone::ConvNext),
            Self::Frequency => FrequencyConfig::new(classes)
                .init(device)
                .map(Backbone::Frequency),
        }
    }

    /// How pictures are normalized that the net is given: as in the training of the published
    /// weights, and where there are none, from −1 to 1. Some of timm's later trainings, the one of
    /// its B1 among them, used [`Normalization::SYMMETRIC`] too: their model cards say so.
    pub fn normalization(self) -> Normalization {
        match self {
            Self::Small | Self::Frequency | Self::Xception => Normalization::SYMMETRIC,
            _ => Normalization::IMAGENET,
        }
    }

    /// The side in pixels of the pictures that the net was made for. It takes others too.
    pub fn size(self) -> usize {
        match self {
            Self::Small => 64,
            Self::EfficientNetB1 => 240,
            Self::Frequency => 256,
            Self::EfficientNetB2 => 260,
            Self::Xception => 299,
            Self::EfficientNetB3 => 300,
            Self::EfficientNetB4 => 380,
            _ => 224,
        }
    }
}

impl fmt::Display for BackboneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BackboneConfig {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|config| config.name() == name);
        found.ok_or_else(|| Error::Setting {
            field: "backbone",
            rule: "be small, resnet-18, resnet-34, resnet-50, xception, efficientnet-b0 to \
                   efficientnet-b4, convnext-tiny or frequency",
            value: name.into(),
        })
    }
}

impl TryFrom<String> for BackboneConfig {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<BackboneConfig> for &'static str {
    fn from(config: BackboneConfig) -> Self {
        config.name()
    }
}

/// A net of any family. Made by [`BackboneConfig::init`], or from a net of its family.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one net, not a list of them"
)]
pub enum Backbone {
    /// A residual net.
    ResNet(ResNet),
    /// A net of separable convolutions.
    Xception(Xception),
    /// A net of inverted residual blocks.
    EfficientNet(EfficientNet),
    /// A convolutional net after the manner of transformers.
    ConvNext(ConvNext),
    /// A net that sees a picture's frequencies.
    Frequency(FrequencyNet),
}

impl Backbone {
    fn net(&self) -> &dyn Classifier {
        match self {
            Self::ResNet(net) => net,
            Self::Xception(net) => net,
            Self::EfficientNet(net) => net,
            Self::ConvNext(net) => net,
            Self::Frequency(net) => net,
        }
    }

    /// Patterns of the published names of parameters, and what stands for them here.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        match self {
            Self::ResNet(net) => net.names(),
            Self::Xception(net) => net.names(),
            Self::EfficientNet(_) => EfficientNet::names(),
            Self::ConvNext(net) => net.names(),
            Self::Frequency(_) => Vec::new(),
        }
    }
}

impl Classifier for Backbone {
    fn feature_map(&self, pictures: Tensor<4>) -> Tensor<4> {
        self.net().feature_map(pictures)
    }

    fn head(&self) -> &Linear {
        self.net().head()
    }

    fn pool(&self, map: Tensor<4>) -> Tensor<2> {
        self.net().pool(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for config in BackboneConfig::ALL {
            assert_eq!(
                config.to_string().parse::<BackboneConfig>().unwrap(),
                config
            );
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(json, format!("\"{config}\""));
            assert_eq!(
                serde_json::from_str::<BackboneConfig>(&json).unwrap(),
                config
            );
        }
        assert!("resnet-19".parse::<BackboneConfig>().is_err());
        assert!(serde_json::from_str::<BackboneConfig>("\"resnet18\"").is_err());
    }
}
