//! MNIST's pictures and labels: the first two bytes say how many of the others are pictures.
#![no_main]

#[path = "../../examples/colored_mnist/mnist.rs"]
mod mnist;
#[path = "../../tests/hostile_files/place.rs"]
mod place;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&[high, low], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let pictures = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
    let (pictures, labels) = rest.split_at(pictures);
    for names in mnist::FILES {
        place::write(names[0], pictures);
        place::write(names[1], labels);
    }
    let mut all = mnist::Digits::default();
    for names in mnist::FILES {
        match mnist::Digits::read(&place::folder(), names) {
            Ok(digits) => all = all.and(digits),
            Err(_) => return,
        }
    }
    for index in 0..all.len() {
        assert_eq!(all.picture(index).len(), mnist::PIXELS);
        assert!(all.label(index) < 10);
    }
});
