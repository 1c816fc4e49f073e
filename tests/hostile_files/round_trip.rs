//! What is written is read as it was.

use std::collections::BTreeMap;

use burn::{
    module::{Module, Param, ParamId},
    optim::AdamConfig,
    tensor::{Device, Tensor},
};
use proptest::prelude::*;
use roga::{
    averaging::AverageRecord,
    detector::data::{Label, ManifestConfig},
    optim::{RobustGradientAlignmentConfig, RobustGradientAlignmentRecord as Record},
    search::Journal,
};
use serde_json::{Value, json};

use crate::{average_record, listing, net::Net, place, search_journal};

/// Also none, and numbers beyond all.
fn numbers() -> impl Strategy<Value = [f32; 4]> {
    prop::array::uniform4(prop::num::f32::ANY)
}

fn net([a, b, c, d]: [f32; 4]) -> Net {
    let weight = Tensor::from_floats([[a, b], [c, d]], &Device::flex().autodiff());
    Net {
        weight: Param::initialized(ParamId::from(1), weight.require_grad()),
        ..Net::new()
    }
}

fn bits(net: &Net) -> Vec<u32> {
    let weight = net.weight.val().into_data();
    weight.iter::<f32>().map(f32::to_bits).collect()
}

/// Names of strangers: any text, some of it with what a terminal would obey.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z|,;\"'\\\\/=\n\r\t\u{1b}\u{9b}\u{202e}\u{2028}]{0,12}"
    ]
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        names().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_training(
        weights in numbers(), position in any::<u64>(),
        notes in prop::collection::btree_map(names(), names(), 0..4), rho in 0.0..100.0f64,
    ) {
        let net = net(weights);
        let optim = RobustGradientAlignmentConfig::new().with_rho(rho);
        let optim = optim.init(AdamConfig::new().init()).unwrap();
        let mut record = optim.to_record().unwrap().with_model(&net).unwrap().with_position(position);
        for (name, text) in &notes {
            record = record.with_note(name, text);
        }
        let path = place::folder().join("training.bpk");
        record.clone().save(&path).unwrap();
        let in_memory = Record::from_bytes(record.into_bytes().unwrap()).unwrap();
        for read in [Record::load(&path).unwrap(), in_memory] {
            prop_assert_eq!(read.position().unwrap(), position);
            let found: BTreeMap<String, String> = notes
                .keys()
                .filter_map(|name| Some((name.clone(), read.note(name)?.to_string())))
                .collect();
            prop_assert_eq!(&found, &notes);
            let loaded = read.load_model(Net::new()).unwrap();
            prop_assert_eq!(bits(&loaded), bits(&net));
        }
    }

    #[test]
    fn an_average(weights in numbers(), updates in 1..4usize) {
        let net = net(weights);
        let mut average = average_record::exponential().init().unwrap();
        (0..updates).for_each(|_| average.update(&net).unwrap());
        let path = place::folder().join("average.bpk");
        average.to_record().unwrap().save(&path).unwrap();
        let record = AverageRecord::load(&path).unwrap();
        let mut read = average_record::exponential().init().unwrap();
        read.load_record(&record, &net).unwrap();
        prop_assert_eq!(read.updates(), average.updates());
        let [read, average] = [read, average].map(|it| bits(&it.average(&net).unwrap()));
        prop_assert_eq!(read, average);
    }

    #[test]
    fn trained_weights(weights in numbers()) {
        let net = net(weights);
        let path = place::folder().join("weights.bpk");
        net.clone().save_file(&path).unwrap();
        let read = Net::new().try_load_file(&path).unwrap();
        prop_assert_eq!(bits(&read), bits(&net));
    }

    #[test]
    fn a_search(results in prop::collection::vec(json_values(), 0..4)) {
        let path = place::folder().join("trials.jsonl");
        std::fs::remove_file(&path).ok();
        let open = || Journal::<Value>::open(&path, search_journal::space(), 5);
        let mut journal = open().unwrap();
        for (index, result) in (0..).zip(&results) {
            journal.finish(index, result).unwrap();
        }
        drop(journal);
        let journal = open().unwrap();
        let read: Vec<Value> = journal.trials().map(|trial| trial.result.clone()).collect();
        prop_assert_eq!(read, results);
    }

    #[test]
    fn a_manifest_of_either_kind(
        domain in names(), group in names(), video in names(), frame in any::<u32>(),
    ) {
        let manifest = |name: &str, text: &[u8]| {
            let path = place::write(name, text);
            let config = ManifestConfig::new().with_root(Some(listing::root()));
            config.read(path).unwrap()
        };
        // Cells are trimmed, and what is empty says nothing.
        let [domain, group, video] = [domain, group, video].map(|text| format!("x{}x", text.trim()));
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["path", "label", "domain", "group", "video", "frame"]).unwrap();
        csv.write_record(["a/1.png", "fake", &domain, &group, &video, &frame.to_string()]).unwrap();
        let line = json!({"path": "a/1.png", "label": 1, "domain": domain, "group": group,
            "video": video, "frame": frame});
        for listing in [
            manifest("round.csv", &csv.into_inner().unwrap()),
            manifest("round.jsonl", line.to_string().as_bytes()),
        ] {
            prop_assert!(listing.problems().is_empty(), "{}", listing.problems());
            let record = &listing.records()[0];
            prop_assert_eq!((&*record.domain, record.label), (&*domain, Label::Fake));
            prop_assert_eq!(&*record.video, format!("round/{domain}/{video}"));
            prop_assert_eq!(record.frame, Some(frame));
            let people: Vec<&str> = record.persons.iter().map(|person| &**person).collect();
            let written = group.split(';').map(str::trim).filter(|person| !person.is_empty());
            prop_assert_eq!(people, written.collect::<Vec<_>>());
        }
    }
}
