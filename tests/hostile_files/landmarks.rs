//! Landmarks as NumPy writes them.

use roga::detector::landmark::Landmarks;

use crate::{place, printed};

pub fn read(bytes: &[u8]) {
    match Landmarks::read_npy(place::write("face.npy", bytes)) {
        Ok(landmarks) => {
            let numbers = landmarks.points().iter().flatten();
            assert!(numbers.clone().all(|number| number.is_finite()));
            assert_eq!(numbers.count(), 2 * landmarks.scheme().len());
        }
        Err(error) => printed::is_plain(error),
    }
}
