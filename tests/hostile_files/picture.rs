//! Pictures, by their headers and to their ends, within the limits.

use roga::{
    Error,
    detector::{
        data::{CheckConfig, Label, Listing, PictureRecord},
        faces::{MAX_SIDE, read_picture},
    },
};

use crate::{place, printed};

pub fn read(bytes: &[u8]) {
    let file = place::write("a.png", bytes);
    let root = place::folder().canonicalize().expect("it is there");
    let record = PictureRecord {
        id: "a.png".into(),
        file: root.join("a.png"),
        root: root.into(),
        label: Label::Fake,
        domain: "swap".into(),
        dataset: "set".into(),
        persons: Vec::new(),
        video: "set/swap/a".into(),
        frame: None,
        split: None,
        compression: None,
        landmarks: None,
        mask: None,
    };
    let check = CheckConfig::new().with_both_classes(false).with_threads(1);
    let header = Listing::new(vec![record]).check(&check);
    let header = header.map(|set| set.headers().next());
    match (header, read_picture(&file)) {
        (Ok(Some(header)), Ok(picture)) => {
            assert_eq!((header.width, header.height), picture.dimensions());
            assert!(header.width.max(header.height) <= MAX_SIDE);
            assert_eq!(header.bytes, bytes.len() as u64);
        }
        (header, picture) => {
            // What can be decoded has a header that can.
            assert!(picture.is_err(), "{header:?}");
            [header.err(), picture.err()]
                .into_iter()
                .flatten()
                .for_each(|error: Error| printed::is_plain(error));
        }
    }
}
