//! Contact sheets: pictures of a data set side by side, to be looked at before it is trained on.

use image::{RgbImage, imageops};

use super::dataset::{DomainConfig, FaceSource, in_parallel};
use crate::{Error, Result};

/// The largest side of a sheet, in pixels.
const MAX_SHEET: u32 = 1 << 14;

/// Real faces, their forgeries and the masks side by side.
///
/// Each face has a row: its crop, then for each domain the forged crop and the mask, white where
/// the picture was changed. Crops are uncompressed and $s$ pixels a side, the sheet of $f$ faces and
/// $d$ domains $(1 + 2d)s \times fs$. What is shown is the first copy that
/// [`DomainConfig::build`] makes.
///
/// ```
/// use roga::detector::{
///     dataset::DomainConfig,
///     forgery::Forgery,
///     portrait::{PortraitConfig, Portraits},
///     sheet::contact_sheet,
/// };
///
/// let portraits = Portraits::new(PortraitConfig::new(), 7, 3, 1)?;
/// let domains = [Forgery::FaceSwap, Forgery::Generator].map(DomainConfig::new);
/// let sheet = contact_sheet(&domains, &portraits, &[0, 1, 2])?;
/// assert_eq!(sheet.dimensions(), (5 * 64, 3 * 64));
/// # Ok::<(), roga::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Domains`] where there is no domain, or they do not share their encode chain and seed,
/// so that they have no real crops in common; [`Error::Setting`] for a sheet of more than 16384
/// pixels a side; what [`DomainConfig::build`] returns.
pub fn contact_sheet(
    domains: &[DomainConfig],
    source: &dyn FaceSource,
    faces: &[usize],
) -> Result<RgbImage> {
    let Some(first) = domains.first() else {
        return Err(Error::Domains {
            rule: "be one at least",
            found: "there is none".into(),
        });
    };
    for domain in domains {
        domain.check_faces(source, faces)?;
        if domain.encode != first.encode || domain.seed != first.seed {
            return Err(Error::Domains {
                rule: "share their encode chain and seed to stand on one sheet",
                found: format!("`{}` and `{}` do not", first.forgery, domain.forgery),
            });
        }
    }
    let size = first.encode.size;
    let side = |crops: usize| {
        let pixels = u32::try_from(crops).ok()?.checked_mul(size)?;
        (pixels <= MAX_SHEET).then_some(pixels)
    };
    let (Some(width), Some(height)) = (side(1 + 2 * domains.len()), side(faces.len())) else {
        return Err(Error::Setting {
            field: "faces",
            rule: "fit a sheet of at most 16384 pixels a side",
            value: format!("{} rows of {size} pixels", faces.len()),
        });
    };
    let rows = in_parallel(first.threads, faces, |&face| {
        let mut crops = Vec::with_capacity(1 + 2 * domains.len());
        for domain in domains {
            let [real, forged, mask] = domain.crops(source, faces, face)?;
            if crops.is_empty() {
                crops.push(real);
            }
            crops.extend([forged, mask]);
        }
        Ok(crops)
    })?;
    let mut sheet = RgbImage::new(width, height);
    for (row, crops) in (0i64..).zip(&rows) {
        for (column, crop) in (0i64..).zip(crops) {
            let size = i64::from(size);
            imageops::replace(&mut sheet, crop, column * size, row * size);
        }
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{
        encode::EncodeConfig,
        forgery::Forgery,
        portrait::{PortraitConfig, Portraits},
    };

    #[test]
    fn a_row_is_the_real_crop_and_each_forgery_with_its_mask() {
        let source = Portraits::new(PortraitConfig::new(), 11, 2, 1).unwrap();
        let domains = [Forgery::Mouth, Forgery::SelfBlending].map(DomainConfig::new);
        let sheet = contact_sheet(&domains, &source, &[1, 0]).unwrap();
        assert_eq!(sheet.dimensions(), (5 * 64, 2 * 64));
        let at = |column: u32, row: u32| {
            imageops::crop_imm(&sheet, 64 * column, 64 * row, 64, 64).to_image()
        };
        for (row, face) in [1, 0].into_iter().enumerate() {
            let row = row as u32;
            for (place, domain) in (0..).zip(&domains) {
                let [real, forged, mask] = domain.crops(&source, &[1, 0], face).unwrap();
                assert_eq!(at(0, row), real);
                assert_eq!(at(1 + 2 * place, row), forged);
                assert_eq!(at(2 + 2 * place, row), mask);
                // Nothing is changed where the mask is black.
                for ((r, f), m) in real.pixels().zip(forged.pixels()).zip(mask.pixels()) {
                    let change = r.0.iter().zip(f.0).map(|(r, f)| r.abs_diff(f)).max();
                    assert!(m[0] > 0 || change <= Some(1));
                }
            }
        }
    }

    #[test]
    fn what_has_no_sheet_is_refused() {
        let source = Portraits::new(PortraitConfig::new(), 11, 2, 1).unwrap();
        let domain = DomainConfig::new(Forgery::Generator);
        assert!(contact_sheet(&[], &source, &[0]).is_err());
        assert!(contact_sheet(std::slice::from_ref(&domain), &source, &[2]).is_err());
        let other = domain.clone().with_seed(1);
        let error = contact_sheet(&[domain.clone(), other], &source, &[0]).unwrap_err();
        assert!(error.to_string().contains("share their encode"), "{error}");
        let large = domain.with_encode(EncodeConfig::new().with_size(1024));
        let error = contact_sheet(&[large], &source, &[0; 17]).unwrap_err();
        assert!(error.to_string().contains("17 rows of 1024"), "{error}");
    }
}
