//! The journal of a search, which goes on with it.

use std::fs;

use roga::search::{Distribution, Journal, Parameter, SearchSpace};
use serde_json::Value;

use crate::{place, printed};

pub fn space() -> SearchSpace {
    let rho = Parameter::new(0.05, Distribution::Uniform(0.0, 0.3));
    SearchSpace::new([("rho", rho)]).expect("it can be drawn from")
}

pub fn read(bytes: &[u8]) {
    let path = place::write("search.jsonl", bytes);
    let mut journal = match Journal::<Value>::open(&path, space(), 5) {
        Ok(journal) => journal,
        Err(error) => {
            printed::is_plain(error);
            assert_eq!(
                fs::read(&path).expect("it is there"),
                bytes,
                "it was left as it was"
            );
            return;
        }
    };
    journal.torn().into_iter().for_each(printed::is_plain);
    let finished = journal.trials().len();
    let pending = journal.pending(3);
    for drawn in &pending {
        let auc = serde_json::json!({"auc": 0.1});
        let written = journal.finish(drawn.index(), &auc);
        written.expect("it is pending");
    }
    let trials: Vec<_> = journal.trials().cloned().collect();
    assert_eq!(trials.len(), finished + pending.len());
    drop(journal);
    let journal = Journal::<Value>::open(&path, space(), 5).expect("it was just written");
    assert!(journal.torn().is_none());
    assert!(journal.trials().eq(&trials));
}
