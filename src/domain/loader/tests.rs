use std::{collections::BTreeSet, sync::atomic::AtomicUsize, thread, time::Duration};

use burn::data::{
    dataloader::{DataLoaderBuilder, batcher::Batcher, split::split_dataloader},
    dataset::{Dataset, InMemDataset},
};

use super::*;
use crate::domain::{EpochLength, LeaveOneDomainOut};

/// Hands over the items as they are, with the device they would be put on.
#[derive(Clone)]
struct Keep;

impl Batcher<usize, (Vec<usize>, Device)> for Keep {
    fn batch(&self, items: Vec<usize>, device: &Device) -> (Vec<usize>, Device) {
        (items, device.clone())
    }
}

type Batch = (Vec<usize>, Device);
type Builder = DomainDataLoaderBuilder<usize, Batch>;
type Steps = Vec<Vec<(String, Vec<usize>)>>;

fn items(range: std::ops::Range<usize>) -> InMemDataset<usize> {
    InMemDataset::new(range.collect())
}

/// 23 items and 7.
fn two() -> Builder {
    Builder::new(Keep)
        .batch_size(4)
        .seed(42)
        .domain("long", items(0..23))
        .domain("short", items(100..107))
}

fn named(batches: DomainBatches<Batch>) -> Vec<(String, Vec<usize>)> {
    let named = |(name, batch): (&Arc<str>, &Batch)| (name.to_string(), batch.0.clone());
    batches.iter().map(named).collect()
}

fn epoch(loader: &dyn DataLoader<DomainBatches<Batch>>) -> Steps {
    loader.iter().map(|step| named(step.unwrap())).collect()
}

fn of(steps: &Steps, domain: usize) -> Vec<usize> {
    steps
        .iter()
        .flat_map(|step| step[domain].1.clone())
        .collect()
}

fn sorted(mut items: Vec<usize>) -> Vec<usize> {
    items.sort_unstable();
    items
}

#[test]
fn small_domains_cycle_and_every_batch_is_full() {
    let loader = two().build().unwrap();
    assert_eq!(loader.steps_per_epoch(), 6);
    assert_eq!(loader.num_items(), 6 * 8);
    let steps: Steps = (0..7).flat_map(|_| epoch(&loader)).collect();
    assert_eq!(steps.len(), 42);
    assert!(steps.iter().flatten().all(|(_, batch)| batch.len() == 4));
    // 168 items of 7 are 24 whole cycles, each in an order of its own.
    let short = of(&steps, 1);
    for cycle in short.chunks(7) {
        assert_eq!(sorted(cycle.to_vec()), (100..107).collect::<Vec<_>>());
    }
    assert!(short.chunks(7).collect::<BTreeSet<_>>().len() > 20);
}

#[test]
fn lengths_of_an_epoch() {
    let steps = |epoch| two().epoch(epoch).build().unwrap().iter().count();
    assert_eq!(steps(EpochLength::Longest), 6);
    assert_eq!(steps(EpochLength::Shortest), 1);
    assert_eq!(steps(EpochLength::Steps(9)), 9);
}

#[test]
fn workers_change_nothing() {
    let run = |workers| -> Steps {
        let loader = two().num_workers(workers).build().unwrap();
        (0..3).flat_map(|_| epoch(&loader)).collect()
    };
    let expected = run(0);
    for workers in [1, 2, 4] {
        assert_eq!(run(workers), expected, "{workers} workers");
    }
}

#[test]
fn the_other_domains_change_nothing() {
    let both = epoch(&two().build().unwrap());
    let alone = Builder::new(Keep)
        .batch_size(4)
        .seed(42)
        .epoch(EpochLength::Steps(6))
        .domain("short", items(100..107))
        .build()
        .unwrap();
    assert_eq!(of(&epoch(&alone), 0), of(&both, 1));
}

#[test]
fn the_seed_changes_the_batches() {
    let run = |seed| epoch(&two().seed(seed).build().unwrap());
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn resumed_equals_uninterrupted() {
    for workers in [0, 2] {
        let whole = two().num_workers(workers).build().unwrap();
        let expected: Steps = (0..2).flat_map(|_| epoch(&whole)).collect();
        assert_eq!(whole.position(), 12);
        for stop in 0..12 {
            let first = two().num_workers(workers).build().unwrap();
            let mut steps = Steps::new();
            while steps.len() < stop {
                let left = stop - steps.len();
                steps.extend(first.iter().take(left).map(|step| named(step.unwrap())));
            }
            assert_eq!(first.position(), stop as u64);

            let second = two().num_workers(workers).build().unwrap();
            second.set_position(first.position());
            while steps.len() < 12 {
                steps.extend(epoch(&second));
            }
            assert_eq!(steps, expected, "stopped after {stop}");
            assert_eq!(second.position(), 12);
        }
    }
}

#[test]
fn progress_counts_items_from_the_beginning_of_the_epoch() {
    let loader = two().build().unwrap();
    loader.set_position(8);
    let mut iterator = loader.iter();
    let counted = |iterator: &dyn DataLoaderIterator<DomainBatches<Batch>>| {
        let progress = iterator.progress();
        (progress.items_processed, progress.items_total)
    };
    assert_eq!(counted(&*iterator), (16, 48));
    iterator.next();
    assert_eq!(counted(&*iterator), (24, 48));
    iterator.by_ref().for_each(drop);
    assert!(iterator.progress().is_completed());
}

#[test]
fn classes_are_balanced_whether_read_or_named() {
    // Item 0 is alone in its class in the first domain, item 200 in the second.
    let build = |named: bool| {
        let builder = Builder::new(Keep)
            .batch_size(4)
            .epoch(EpochLength::Steps(10));
        if named {
            let source = |range: std::ops::Range<usize>| {
                let classes: Vec<bool> = range.clone().map(|item| item % 200 == 0).collect();
                DomainSource::new(items(range)).with_classes(classes)
            };
            builder
                .domain_with("a", source(0..9))
                .domain_with("b", source(199..205))
        } else {
            builder
                .class_balanced(|item| item % 200 == 0)
                .domain("a", items(0..9))
                .domain("b", items(199..205))
        }
    };
    let steps = epoch(&build(false).build().unwrap());
    for (_, batch) in steps.iter().flatten() {
        assert_eq!(batch.iter().filter(|&item| item % 200 == 0).count(), 2);
    }
    // The other class of the first domain has 8 items: two of them a step, all after four.
    let others = of(&steps, 0).into_iter().filter(|&item| item != 0).take(8);
    assert_eq!(sorted(others.collect()), (1..9).collect::<Vec<_>>());
    assert_eq!(epoch(&build(true).build().unwrap()), steps);
}

#[test]
fn batch_size_of_one_domain() {
    let loader = Builder::new(Keep)
        .batch_size(4)
        .domain("a", items(0..8))
        .domain_with("b", DomainSource::new(items(0..9)).with_batch_size(3))
        .build()
        .unwrap();
    assert_eq!(loader.num_items(), 3 * 7);
    let lens: Vec<usize> = epoch(&loader)[0]
        .iter()
        .map(|(_, batch)| batch.len())
        .collect();
    assert_eq!(lens, [4, 3]);
}

#[test]
fn augmentation_is_random_but_the_same_for_any_number_of_workers() {
    let run = |workers, position| {
        let loader = Builder::new(Keep)
            .batch_size(3)
            .num_workers(workers)
            .augment(|item, random| item * 1000 + (random % 1000) as usize)
            .domain("a", items(0..6))
            .build()
            .unwrap();
        loader.set_position(position);
        epoch(&loader)
    };
    assert_eq!(run(0, 0), run(3, 0));
    let (first, second) = (of(&run(0, 0), 0), of(&run(0, 2), 0));
    let plain = |items: &[usize]| sorted(items.iter().map(|item| item / 1000).collect());
    assert_eq!(plain(&first), plain(&second));
    assert_ne!(sorted(first), sorted(second));
}

#[test]
fn what_cannot_work_is_refused() {
    let message = |builder: Builder| builder.build().unwrap_err().to_string();
    let base = || Builder::new(Keep).batch_size(2);
    assert_eq!(
        message(base()),
        "domains must be at least one, but there is none"
    );
    assert_eq!(
        message(base().domain("a", items(0..0))),
        "domains must hold an item each, but `a` holds none"
    );
    assert_eq!(
        message(base().domain("a", items(0..2)).domain("a", items(0..2))),
        "domains must have names of their own, but `a` stands twice"
    );
    assert_eq!(
        message(base().batch_size(0).domain("a", items(0..2))),
        "batch_size must be from 1 to 16777216, but is 0"
    );
    assert_eq!(
        message(base().epoch(EpochLength::Steps(0)).domain("a", items(0..2))),
        "epoch must have at least one step, but is Steps(0)"
    );
    assert_eq!(
        message(base().class_balanced(|_| 0).domain("a", items(0..2))),
        "domains must have two classes each to be drawn class by class, but `a` has one"
    );
    let source = DomainSource::new(items(0..2)).with_classes([0, 1, 1]);
    assert_eq!(
        message(base().domain_with("a", source)),
        "domains must have one class an item, but `a` has 2 items and 3 classes for them"
    );
}

/// Fails or panics at one item, and counts what it was asked for.
struct Flaky {
    fails: usize,
    panics: usize,
    read: Arc<AtomicUsize>,
}

impl Dataset<usize> for Flaky {
    fn get(&self, index: usize) -> Result<usize, DatasetError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        assert_ne!(index, self.panics, "item {index} is broken");
        if index == self.fails {
            return Err(DatasetError::new(std::io::Error::other("no such file")));
        }
        Ok(index)
    }

    fn len(&self) -> usize {
        20
    }
}

fn flaky(fails: usize, panics: usize) -> (Flaky, Arc<AtomicUsize>) {
    let read = Arc::<AtomicUsize>::default();
    let counter = read.clone();
    (
        Flaky {
            fails,
            panics,
            read,
        },
        counter,
    )
}

#[test]
fn errors_and_panics_come_in_their_place() {
    for (fails, panics) in [(5, usize::MAX), (usize::MAX, 5)] {
        let run = |workers| -> Vec<Result<Vec<usize>, String>> {
            let loader = Builder::new(Keep)
                .num_workers(workers)
                .domain("a", flaky(fails, panics).0)
                .build()
                .unwrap();
            let step = |step: Result<DomainBatches<Batch>, DatasetError>| match step {
                Ok(batches) => Ok(named(batches).remove(0).1),
                Err(error) => Err(std::error::Error::source(&error)
                    .map_or_else(String::new, |error| {
                        format!("{error}: {}", error.source().unwrap())
                    })),
            };
            loader.iter().map(step).collect()
        };
        let expected = run(0);
        assert_eq!(expected.len(), 20);
        let failed: Vec<_> = expected
            .iter()
            .filter_map(|step| step.as_ref().err())
            .collect();
        assert_eq!(failed.len(), 1);
        assert!(failed[0].starts_with("domain `a` could not be read"));
        let told = if fails == 5 {
            "no such file"
        } else {
            "item 5 is broken"
        };
        assert!(failed[0].contains(told), "{}", failed[0]);
        for workers in [1, 2, 4] {
            assert_eq!(run(workers), expected);
        }
    }
}

#[test]
fn the_position_waits_at_a_step_that_failed() {
    let loader = Builder::new(Keep)
        .domain("a", flaky(5, usize::MAX).0)
        .build()
        .unwrap();
    let good = loader.iter().take_while(Result::is_ok).count();
    assert_eq!(loader.position(), good as u64);
    assert!(loader.iter().next().unwrap().is_err());
    // Who goes on behind it gets to the end.
    assert_eq!(loader.iter().filter(Result::is_ok).count(), 19 - good);
    assert_eq!(loader.position(), 20);
}

/// Panics in the batcher.
struct Broken;

impl Batcher<usize, Batch> for Broken {
    fn batch(&self, _: Vec<usize>, _: &Device) -> Batch {
        panic!("broken")
    }
}

#[test]
fn a_panic_in_the_batcher_is_an_error() {
    for workers in [0, 2] {
        let loader = Builder::new(Broken)
            .num_workers(workers)
            .domain("a", items(0..5))
            .build()
            .unwrap();
        assert_eq!(loader.iter().filter(Result::is_err).count(), 5);
    }
}

#[test]
fn a_dropped_iterator_stops_the_workers() {
    let (dataset, read) = flaky(usize::MAX, usize::MAX);
    let loader = Builder::new(Keep)
        .num_workers(2)
        .epoch(EpochLength::Steps(100_000))
        .augment(|item, _| {
            thread::sleep(Duration::from_millis(50));
            item
        })
        .domain("a", dataset)
        .build()
        .unwrap();
    loader.iter().take(2).for_each(drop);
    // Two steps are in work and are finished; one is in the queue and is not begun.
    thread::sleep(Duration::from_millis(25));
    let begun = read.load(Ordering::SeqCst);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(read.load(Ordering::SeqCst), begun);
    assert_eq!(loader.position(), 2);
    assert_eq!(loader.iter().take(5).filter(Result::is_ok).count(), 5);
    assert_eq!(loader.position(), 7);
    // Dropping the loader ends its threads, or this test would hang.
    drop(loader);
}

#[test]
fn workers_do_not_run_ahead_without_bound() {
    let (dataset, read) = flaky(usize::MAX, usize::MAX);
    let loader = Builder::new(Keep)
        .num_workers(3)
        .domain("a", dataset)
        .build()
        .unwrap();
    let mut iterator = loader.iter();
    iterator.next();
    thread::sleep(Duration::from_millis(100));
    assert!(read.load(Ordering::SeqCst) <= 6);
}

#[test]
fn slices_share_no_item_and_leave_none_out() {
    let loader = two().batch_size(1).build().unwrap();
    let slices = split_dataloader::<DomainBatches<Batch>>(
        Arc::new(two().batch_size(1).build().unwrap()),
        &[Device::default(), Device::default(), Device::default()],
    );
    let epochs: Vec<Steps> = slices.iter().map(|slice| epoch(&**slice)).collect();
    assert_eq!(
        epochs.iter().map(Vec::len).sum::<usize>(),
        loader.steps_per_epoch()
    );
    // An epoch of a slice is as long as its part of the longest domain, rounded.
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    for slice in &slices {
        let mut own = [BTreeSet::new(), BTreeSet::new()];
        for step in (0..3).flat_map(|_| epoch(&**slice)) {
            for (domain, (_, batch)) in step.into_iter().enumerate() {
                own[domain].extend(batch);
            }
        }
        for domain in 0..2 {
            assert!(seen[domain].is_disjoint(&own[domain]));
            seen[domain].append(&mut own[domain]);
        }
    }
    assert_eq!(seen[0].len(), 23);
    assert_eq!(seen[1].len(), 7);
}

#[test]
fn a_slice_goes_on_in_the_same_epoch() {
    let loader = two().epoch(EpochLength::Steps(10)).build().unwrap();
    loader.set_position(25);
    let slice = loader.slice(0, 40);
    assert_eq!(slice.num_items(), 40);
    assert_eq!(slice.iter().count(), 3);
    assert_eq!(slice.iter().count(), 5);
}

#[test]
fn a_slice_without_items_says_so() {
    let loader = two().build().unwrap();
    for slice in [
        loader.slice(0, 1),
        loader.slice(9, 3),
        loader.slice(1000, 2000),
    ] {
        let steps: Vec<_> = slice.iter().collect();
        assert_eq!(steps.len(), 1);
        let error = steps[0].as_ref().unwrap_err().to_string();
        assert!(error.contains("a slice of `"), "{error}");
    }
    assert_eq!(epoch(&*loader.slice(0, loader.num_items())), epoch(&loader));
}

#[test]
fn slices_of_balanced_domains_divide_every_class() {
    let build = || {
        Builder::new(Keep)
            .batch_size(2)
            .class_balanced(|item| item % 4 == 0)
    };
    let loader = build().domain("a", items(0..16)).build().unwrap();
    let mut seen = Vec::new();
    for slice in [loader.slice(0, 8), loader.slice(8, 16)] {
        let drawn = of(&(0..2).flat_map(|_| epoch(&*slice)).collect(), 0);
        assert!(
            drawn
                .chunks(2)
                .all(|batch| (batch[0] % 4 == 0) != (batch[1] % 4 == 0))
        );
        let rare: BTreeSet<usize> = drawn.into_iter().filter(|item| item % 4 == 0).collect();
        assert_eq!(rare.len(), 2);
        seen.extend(rare);
    }
    assert_eq!(sorted(seen), [0, 4, 8, 12]);

    let loader = build().domain("a", items(0..4)).build().unwrap();
    assert!(loader.slice(0, 2).iter().next().unwrap().is_err());
}

#[test]
fn a_class_that_cannot_be_read_is_an_error() {
    let loader = Builder::new(Keep)
        .class_balanced(|item| item % 2)
        .domain("a", flaky(5, usize::MAX).0)
        .build();
    assert!(matches!(loader, Err(Error::Data { domain, .. }) if domain == "a"));
}

#[test]
fn the_domains_of_a_split_are_those_of_a_loader() {
    let split = LeaveOneDomainOut::new(["a", "b", "c"])
        .unwrap()
        .nth(1)
        .unwrap();
    let data = [("a", items(0..5)), ("b", items(5..9)), ("c", items(9..12))];
    let parts = split.partition(data).unwrap();
    let loader = Builder::new(Keep).domains(parts.train).build().unwrap();
    assert_eq!(
        loader.names().map(|name| &**name).collect::<Vec<_>>(),
        ["a", "c"]
    );
    let steps = epoch(&loader);
    assert!(
        steps
            .iter()
            .flatten()
            .all(|(_, batch)| !(5..9).contains(&batch[0]))
    );
}

/// Hands over fewer items than it is asked for.
struct Short;

impl Dataset<usize> for Short {
    fn get(&self, index: usize) -> Result<usize, DatasetError> {
        Ok(index)
    }

    fn get_many(&self, indexes: Vec<usize>) -> Result<Vec<usize>, DatasetError> {
        Ok(indexes[1..].to_vec())
    }

    fn len(&self) -> usize {
        5
    }
}

#[test]
fn a_batch_that_is_not_full_is_an_error() {
    let loader = Builder::new(Keep).batch_size(3).domain("a", Short).build();
    assert!(loader.unwrap().iter().next().unwrap().is_err());
}

#[test]
fn any_position_can_be_set() {
    let loader = two().build().unwrap();
    for position in [u64::MAX, u64::MAX - 7] {
        loader.set_position(position);
        assert!(loader.iter().all(|step| step.is_ok()));
        assert!(loader.slice(0, 24).iter().all(|step| step.is_ok()));
    }
}

#[test]
fn batches_are_made_on_the_loaders_device() {
    let device = Device::default().autodiff();
    for workers in [0, 1] {
        let loader = two().num_workers(workers).build().unwrap();
        let on = |loader: &dyn DataLoader<DomainBatches<Batch>>, device: &Device| {
            let batches = loader.iter().next().unwrap().unwrap();
            batches.iter().all(|(_, batch)| batch.1 == *device)
        };
        assert!(on(&loader, &Device::default()));
        loader.set_position(1);
        let moved = loader.to_device(&device);
        assert_eq!(epoch(&*moved), epoch(&loader));
        assert!(on(&*moved, &device));
        let set = two().set_device(device.clone()).build().unwrap();
        assert!(on(&set, &device));
    }
}

/// A loader of burn's own.
fn burns(range: std::ops::Range<usize>, batch_size: usize) -> Arc<dyn DataLoader<Batch>> {
    DataLoaderBuilder::new(Keep)
        .batch_size(batch_size)
        .shuffle(1)
        .build(items(range))
}

fn joined(epoch: EpochLength) -> JoinedDataLoader<Batch> {
    let loaders = [("a", burns(0..10, 3)), ("b", burns(100..104, 2))];
    JoinedDataLoader::new(loaders, epoch).unwrap()
}

#[test]
fn joined_loaders_cycle() {
    let loader = joined(EpochLength::Longest);
    let steps = epoch(&loader);
    assert_eq!(steps.len(), 4);
    assert_eq!(sorted(of(&steps, 0)), (0..10).collect::<Vec<_>>());
    let twice = sorted(of(&steps, 1));
    assert_eq!(twice, [100, 100, 101, 101, 102, 102, 103, 103]);
    assert_ne!(epoch(&loader), steps);

    assert_eq!(epoch(&joined(EpochLength::Shortest)).len(), 2);
    assert_eq!(epoch(&joined(EpochLength::Steps(11))).len(), 11);
}

#[test]
fn joined_loaders_progress_slice_and_move() {
    let loader = joined(EpochLength::Longest);
    assert_eq!(loader.num_items(), 10);
    let mut iterator = loader.iter();
    assert_eq!(iterator.progress().items_processed, 0);
    iterator.next();
    assert_eq!(iterator.progress().items_processed, 3);
    iterator.by_ref().for_each(drop);
    assert!(iterator.progress().is_completed());

    let (left, right) = (loader.slice(0, 5), loader.slice(5, 10));
    let (left, right) = (epoch(&*left), epoch(&*right));
    assert_eq!(
        sorted([of(&left, 0), of(&right, 0)].concat()),
        (0..10).collect::<Vec<_>>()
    );
    let device = Device::default().autodiff();
    let batches = loader.to_device(&device).iter().next().unwrap().unwrap();
    assert!(batches.iter().all(|(_, batch)| batch.1 == device));
}

#[test]
fn joined_loaders_of_several_threads() {
    let threaded = DataLoaderBuilder::new(Keep)
        .batch_size(3)
        .shuffle(1)
        .num_workers(2)
        .build(items(0..10));
    let loaders = [("a", burns(0..50, 2)), ("b", threaded)];
    let loader = JoinedDataLoader::new(loaders, EpochLength::Longest).unwrap();
    let steps = epoch(&loader);
    assert_eq!(steps.len(), 25);
    assert_eq!(sorted(of(&steps, 0)), (0..50).collect::<Vec<_>>());
}

#[test]
fn joined_loaders_that_cannot_work_are_refused() {
    let refused = |loaders: Vec<(&'static str, Arc<dyn DataLoader<Batch>>)>, epoch| {
        JoinedDataLoader::new(loaders, epoch)
            .unwrap_err()
            .to_string()
    };
    let longest = EpochLength::Longest;
    assert!(refused(vec![], longest).contains("at least one"));
    assert!(refused(vec![("a", burns(0..0, 2))], longest).contains("`a` holds none"));
    let twice = vec![("a", burns(0..2, 2)), ("a", burns(0..2, 2))];
    assert!(refused(twice, longest).contains("stands twice"));
    assert!(refused(vec![("a", burns(0..2, 2))], EpochLength::Steps(0)).contains("Steps(0)"));
}

#[test]
fn an_error_of_a_joined_loader_ends_its_epoch() {
    let flaky = DataLoaderBuilder::new(Keep).build(flaky(5, usize::MAX).0);
    let loaders = [("a", burns(0..50, 1)), ("b", flaky)];
    let loader = JoinedDataLoader::new(loaders, EpochLength::Longest).unwrap();
    let steps: Vec<_> = loader.iter().collect();
    assert_eq!(steps.len(), 6);
    assert!(steps[5].is_err());
    // A slice that leaves a loader empty.
    let slice = joined(EpochLength::Longest).slice(0, 1);
    let steps: Vec<_> = slice.iter().collect();
    assert_eq!(steps.len(), 1);
    assert!(steps[0].is_err());
}

/// 7 steps are 4 and 3 of two slices: over the epochs their numbers must not drift apart.
#[test]
fn slices_of_uneven_length_number_alike() {
    let loader = Builder::new(Keep)
        .batch_size(2)
        .epoch(EpochLength::Steps(7))
        .domain("long", items(0..23))
        .domain("short", items(100..107))
        .build()
        .unwrap();
    let half = loader.num_items() / 2;
    let slices = [loader.slice(0, half), loader.slice(half, 2 * half)];
    for epoch in 0..3u64 {
        for slice in &slices {
            let numbers: Vec<u64> = slice
                .iter()
                .map(|step| step.unwrap().step().unwrap())
                .collect();
            assert!(numbers.len() == 3 || numbers.len() == 4);
            assert_eq!(numbers[0], 4 * epoch);
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
    }
    // Unsliced, the number is the position.
    let numbers = loader.iter().map(|step| step.unwrap().step().unwrap());
    assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    let numbers = loader.iter().map(|step| step.unwrap().step().unwrap());
    assert_eq!(numbers.collect::<Vec<_>>(), [7, 8, 9, 10, 11, 12, 13]);
}

#[test]
fn joined_loaders_number_their_batches() {
    let loader = |range: std::ops::Range<usize>| {
        DataLoaderBuilder::new(Keep)
            .batch_size(2)
            .build(items(range))
    };
    let loaders = [("a", loader(0..4)), ("b", loader(4..10))];
    let joined = JoinedDataLoader::new(loaders, EpochLength::Longest).unwrap();
    let numbers = |joined: &JoinedDataLoader<Batch>| -> Vec<u64> {
        let steps = joined.iter().map(|step| step.unwrap().step().unwrap());
        steps.collect()
    };
    assert_eq!(numbers(&joined), [0, 1, 2]);
    assert_eq!(numbers(&joined), [3, 4, 5]);
    joined.set_step(60);
    assert_eq!(numbers(&joined), [60, 61, 62]);
}
