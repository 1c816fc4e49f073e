//! Methods × domains left out × seeds, and tables of what came out.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use burn::tensor::Device;
use roga::{
    domain::{Candidate, DomainSplit, Protocol, Selection},
    search::Cost,
};

use crate::{
    data::{Data, Domain},
    detector::{self, Net},
    device::device,
    interrupt,
    method::Method,
    output::{self, Provenance, Results, Run},
    progress::Progress,
    search::{Searched, Setting},
    settings::{ProtocolName, SelectionName, Settings},
    stranger, terminal,
    training::{self, Aucs, Finished, Job, Trained},
};

/// Trains and tests everything that the settings ask for, but for what an earlier run of the same
/// command has finished.
pub fn compare(settings: &Settings, output: &Path, restart: bool) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let device = device(&settings.device)?.autodiff();
    let _lock = output::prepare(output, "compare", settings, restart)?;
    let progress = Progress::new();
    progress.say("the pictures are made or listed");
    let data = Data::new(settings)?;
    progress.say(&data.description());
    Provenance::new("compare", &data).write(output)?;

    let turns = turns(settings, &data)?;
    check_selection(settings, &data)?;
    let mut comparison = Comparison {
        settings,
        output,
        device,
        data: &data,
        progress,
        results: Results::new(settings.clone(), data.counts()),
        warm: BTreeSet::new(),
        over: BTreeMap::new(),
    };
    comparison.announce(&turns)?;
    interrupt::listen()?;
    for turn in &turns {
        for method in settings.methods() {
            comparison.method(turn, method)?;
            comparison.results.took(begin.elapsed());
            comparison.results.save(output)?;
        }
    }
    let Comparison {
        progress,
        mut results,
        ..
    } = comparison;
    progress.finish();
    let paths = results.save(output)?;
    terminal::say(&format!("\n{}", results.tables()));
    for path in paths {
        terminal::say(&stranger::path(&path));
    }
    results.check_alone()
}

/// What is trained on and tested on, one after the other.
fn turns(settings: &Settings, data: &Data) -> Result<Vec<DomainSplit>, Box<dyn Error>> {
    let names = |domains: &[Domain]| domains.iter().map(|d| d.name.clone()).collect::<Vec<_>>();
    let train = names(&data.train);
    let other: Vec<Arc<str>> = names(&data.test)
        .into_iter()
        .filter(|name| !train.contains(name))
        .collect();
    check_folders(train.iter().chain(&other))?;
    let protocol = match settings.protocol {
        ProtocolName::LeaveOneOut => Protocol::LeaveOneDomainOut,
        ProtocolName::Within => Protocol::WithinDomain,
        ProtocolName::Cross if other.is_empty() => {
            return Err("--protocol cross needs --test-faces or --test-data".into());
        }
        ProtocolName::Cross => Protocol::CrossDomain {
            train: train.clone(),
            test: other.clone(),
        },
    };
    let turns = match settings.protocol {
        ProtocolName::Cross => protocol.turns(train.into_iter().chain(other))?,
        _ => protocol.turns(train)?,
    };
    let names: Vec<&str> = turns.iter().map(|turn| &*turn.test()[0]).collect();
    let unknown = |name: &&String| *name != "all" && !names.contains(&name.as_str());
    if let Some(name) = settings.leave_out.iter().find(unknown) {
        let [names, name] = [&names.join(", "), name].map(|text| stranger::name(text));
        return Err(
            format!("--leave-out must be `all` or some of {names}, but is `{name}`").into(),
        );
    }
    let chosen = turns.into_iter().enumerate().filter(|(place, turn)| {
        settings.protocol != ProtocolName::LeaveOneOut
            || settings.leaves_out(*place, &turn.test()[0])
    });
    Ok(chosen.map(|(_, turn)| turn).collect())
}

/// Refuses, before anything is trained, a selection that has nothing to choose by.
fn check_selection(settings: &Settings, data: &Data) -> Result<(), Box<dyn Error>> {
    let chooses = match settings.selection {
        SelectionName::Last => false,
        SelectionName::TrainingDomain => true,
        SelectionName::HeldOutDomain | SelectionName::Oracle => settings.draws > 1,
    };
    if chooses && data.valid.is_empty() {
        return Err(
            "--selection needs pictures to validate on: a --valid-share above 0, or a `val` \
                    part of the data"
                .into(),
        );
    }
    if chooses
        && (settings.selection, settings.protocol) == (SelectionName::Oracle, ProtocolName::Cross)
    {
        return Err(
            "--selection oracle needs validation parts of the test domains, which --protocol \
                    cross has not"
                .into(),
        );
    }
    Ok(())
}

/// Two domains in one folder would be taken for one training; some file systems tell no case.
fn check_folders<'a>(domains: impl Iterator<Item = &'a Arc<str>>) -> Result<(), String> {
    let mut folders = BTreeMap::new();
    for name in domains {
        let folder = output::file_name(name).to_lowercase();
        if let Some(other) = folders.insert(folder, name) {
            return Err(format!(
                "domains must have names that differ as folders, but `{}` and `{}` do not",
                stranger::name(other),
                stranger::name(name)
            ));
        }
    }
    Ok(())
}

/// What so many plain steps cost, which are no training of their own.
fn plain(steps: usize) -> Cost {
    Cost {
        trials: 0,
        steps: steps as u64,
        passes: steps as f64,
        seconds_per_pass: None,
    }
}

/// The turn's name, in folders and tables.
pub fn turn_name(turn: &DomainSplit, protocol: ProtocolName) -> String {
    match protocol {
        ProtocolName::LeaveOneOut => format!("without-{}", turn.test()[0]),
        ProtocolName::Within => format!("within-{}", turn.test()[0]),
        ProtocolName::Cross => "cross".into(),
    }
}

struct Comparison<'a> {
    settings: &'a Settings,
    output: &'a Path,
    device: Device,
    data: &'a Data,
    progress: Progress,
    results: Results,
    /// The warm-ups that are made.
    warm: BTreeSet<PathBuf>,
    /// The trainings that are over, by their folders: that of the chosen draw is one of the results, too.
    over: BTreeMap<PathBuf, Finished>,
}

impl<'a> Comparison<'a> {
    /// Says what all of it costs before it starts.
    fn announce(&mut self, turns: &[DomainSplit]) -> Result<(), Box<dyn Error>> {
        let mut total = Cost::default();
        for turn in turns {
            for method in self.settings.methods() {
                total = total + self.cost(turn, method)?;
            }
            total = total + plain(self.warmups(turn)? * self.settings.warmup_steps);
        }
        if let Some(turn) = turns.first() {
            let (seed, setting) = (self.settings.seeds[0], self.settings.setting(0)?);
            let start = self.start(seed)?;
            let job = self.job(turn, turn.train(), Method::Erm, &setting, (seed, 1), &start);
            total = total.at(training::time_pass(&job)?)?;
        }
        self.progress.begin(total);
        self.progress.say(&total.to_string());
        Ok(())
    }

    fn cost(&self, turn: &DomainSplit, method: Method) -> Result<Cost, Box<dyn Error>> {
        let settings = self.settings;
        let config = method.config(&settings.setting(0)?, 0);
        let cost = |steps, domains| {
            let all = Cost::of(&config, steps as u64, domains)?;
            let shared = match self.shares_warmup(steps) {
                true => plain(settings.warmup_steps),
                false => Cost::default(),
            };
            let (steps, passes) = (all.steps - shared.steps, all.passes - shared.passes);
            Ok::<_, roga::Error>(Cost {
                steps,
                passes,
                ..all
            })
        };
        let mut total = Cost::default();
        for steps in self.steps(turn, method)? {
            total = total + cost(steps, turn.train().len())?.times(settings.seeds.len() as u64);
        }
        if self.draws(method) > 1 && self.selection() != Selection::HeldOutDomain {
            // The chosen draw's training is one of the first seed's.
            let more = self.draws(method) as u64 - 1;
            total = total + cost(settings.steps, turn.train().len())?.times(more);
        }
        if self.selection() == Selection::HeldOutDomain && self.draws(method) > 1 {
            let folds = turn.folds()?.len();
            let all = (self.draws(method) * folds) as u64;
            total = total + cost(settings.steps, folds - 1)?.times(all);
        }
        Ok(total)
    }

    /// How many warm-ups the trainings of a turn share.
    fn warmups(&self, turn: &DomainSplit) -> Result<usize, Box<dyn Error>> {
        let mut all = BTreeSet::new();
        for method in self.settings.methods() {
            all.extend(self.steps(turn, method)?);
        }
        all.retain(|steps| self.shares_warmup(*steps));
        let searches = |method: &Method| self.draws(*method) > 1;
        let folds = self.selection() == Selection::HeldOutDomain
            && self.settings.methods().iter().any(searches)
            && self.shares_warmup(self.settings.steps);
        let folds = if folds { turn.folds()?.len() } else { 0 };
        Ok(all.len() * self.settings.seeds.len() + folds)
    }

    /// Whether the plain steps of a warm-up are made once for all trainings of so many steps: not
    /// where the draws differ in them.
    fn shares_warmup(&self, steps: usize) -> bool {
        let plain = |searched: &Searched| searched.concerns([false, false]);
        (1..steps).contains(&self.settings.warmup_steps) && !self.settings.search.iter().any(plain)
    }

    /// The numbers of steps that the method is trained for: one for each table, if they differ.
    fn steps(&self, turn: &DomainSplit, method: Method) -> Result<Vec<usize>, Box<dyn Error>> {
        let mut all = Vec::new();
        for equal in self.settings.tables() {
            let steps = self.settings.steps_of(method, turn.train().len(), equal)?;
            if !all.contains(&steps) {
                all.push(steps);
            }
        }
        Ok(all)
    }

    /// All of a method's runs on a turn.
    fn method(&mut self, turn: &DomainSplit, method: Method) -> Result<(), Box<dyn Error>> {
        let setting = self.choose(turn, method)?;
        for steps in self.steps(turn, method)? {
            for &seed in &self.settings.seeds {
                let trained = self.test(turn, method, &setting, (seed, steps))?;
                let run = Run {
                    seed,
                    turn: turn_name(turn, self.settings.protocol),
                    train: turn.train().to_vec(),
                    test: turn.test().to_vec(),
                    method,
                    steps,
                    setting: setting.clone(),
                    config: method.config(&setting, seed),
                    folder: self.folder(turn, None, method, &setting, (seed, steps)),
                };
                self.results.push(run, trained)?;
            }
        }
        Ok(())
    }

    fn selection(&self) -> Selection {
        match self.settings.selection {
            SelectionName::Last => Selection::Last,
            SelectionName::TrainingDomain => Selection::TrainingDomainValidation,
            SelectionName::HeldOutDomain => Selection::HeldOutDomain,
            SelectionName::Oracle => Selection::Oracle,
        }
    }

    /// How many settings of a method differ in what they do.
    fn draws(&self, method: Method) -> usize {
        let mut searched = self.settings.search.iter();
        match searched.any(|searched| searched.concerns(method.depends_on())) {
            true => self.settings.draws,
            false => 1,
        }
    }

    /// The draw that the selection takes, by trainings from the first seed.
    fn choose(&mut self, turn: &DomainSplit, method: Method) -> Result<Setting, Box<dyn Error>> {
        let draws = self.draws(method);
        if draws == 1 {
            return Ok(self.settings.setting(0)?);
        }
        let run = (self.settings.seeds[0], self.settings.steps);
        let mut candidates = Vec::new();
        for draw in 0..draws {
            let setting = self.settings.setting(draw)?;
            if self.selection() == Selection::HeldOutDomain {
                let held_out = self.held_out(turn, method, &setting, run)?;
                let candidate = Candidate::new(setting.draw, run.1 as u64);
                candidates.push(candidate.with_held_out(held_out));
                continue;
            }
            let Finished {
                step,
                validation,
                oracle,
                ..
            } = self.train(turn, turn.train(), method, &setting, run)?;
            let candidate = Candidate::new(setting.draw, step);
            let candidate = candidate.with_validation(validation).with_oracle(oracle);
            candidates.push(candidate);
        }
        let chosen = self.selection().choose(turn, &candidates)?;
        self.results.chose(turn, method, &candidates, chosen);
        Ok(self.settings.setting(chosen.setting as usize)?)
    }

    /// The AUC of each training domain, of a training that it was held out of.
    fn held_out(
        &mut self,
        turn: &DomainSplit,
        method: Method,
        setting: &Setting,
        run: (u64, usize),
    ) -> Result<Aucs, Box<dyn Error>> {
        let mut held_out = Vec::new();
        for fold in turn.folds()? {
            let finished = self.train(turn, fold.train(), method, setting, run)?;
            let of_fold = finished.oracle.into_iter().next();
            held_out.push(of_fold.ok_or("--valid-share must leave people to validate on")?);
        }
        Ok(held_out)
    }

    fn folder(
        &self,
        turn: &DomainSplit,
        held_out: Option<&str>,
        method: Method,
        setting: &Setting,
        (seed, steps): (u64, usize),
    ) -> String {
        let turn = turn_name(turn, self.settings.protocol);
        let held_out = held_out.map_or(String::new(), |name| format!("-nor-{name}"));
        let draw = match setting.draw {
            0 => String::new(),
            draw => format!("-draw-{draw}"),
        };
        let domains = output::file_name(&format!("{turn}{held_out}"));
        format!("runs/{domains}/{method}{draw}/seed-{seed}-steps-{steps}")
    }

    /// Where the warm-up of a training in this folder is shared.
    fn warmup(&self, folder: &str, steps: usize) -> Option<PathBuf> {
        let folder = Path::new(folder);
        let (domains, run) = (folder.parent()?.parent()?, folder.file_name()?);
        self.shares_warmup(steps)
            .then(|| self.output.join(domains).join("warm-up").join(run))
    }

    fn start(&self, seed: u64) -> Result<Net, Box<dyn Error>> {
        detector::start(self.settings, seed, &self.device)
    }

    fn train(
        &mut self,
        turn: &DomainSplit,
        train: &[Arc<str>],
        method: Method,
        setting: &Setting,
        run: (u64, usize),
    ) -> Result<Finished, Box<dyn Error>> {
        let start = self.start(run.0)?;
        let job = self.job(turn, train, method, setting, run, &start);
        self.title(turn, method);
        self.finished(&job)
    }

    /// A training, from its first step to the last.
    fn finished(&mut self, job: &Job) -> Result<Finished, Box<dyn Error>> {
        if let Some(finished) = self.over.get(&job.folder) {
            return Ok(finished.clone());
        }
        if let Some(warmup) = &job.warmup
            && self.warm.insert(warmup.clone())
        {
            training::warm_up(job, &mut self.progress)?;
        }
        let finished = training::train(job, &mut self.progress)?;
        self.over.insert(job.folder.clone(), finished.clone());
        Ok(finished)
    }

    fn title(&mut self, turn: &DomainSplit, method: Method) {
        let title = turn_name(turn, self.settings.protocol).replace('-', " ");
        let title = stranger::name(&title);
        self.progress.title(format!("{title}, {method}"));
    }

    /// Trains on all of the turn's domains, and tests.
    fn test(
        &mut self,
        turn: &DomainSplit,
        method: Method,
        setting: &Setting,
        run: (u64, usize),
    ) -> Result<Trained, Box<dyn Error>> {
        let start = self.start(run.0)?;
        let job = self.job(turn, turn.train(), method, setting, run, &start);
        self.title(turn, method);
        let finished = self.finished(&job)?;
        training::test(&job, finished)
    }

    /// A training on some of the turn's domains; where one of them is held out, its validation part
    /// is what settings are chosen by.
    fn job<'b>(
        &self,
        turn: &DomainSplit,
        train: &[Arc<str>],
        method: Method,
        setting: &Setting,
        (seed, steps): (u64, usize),
        start: &'b Net,
    ) -> Job<'b>
    where
        'a: 'b,
    {
        let held_out = turn.train().iter().find(|name| !train.contains(name));
        let oracle = match (held_out, self.selection()) {
            (Some(name), _) => vec![name.clone()],
            (None, Selection::Oracle) => turn.test().to_vec(),
            (None, _) => Vec::new(),
        };
        let of = |domains: &[Domain], names: &[Arc<str>]| -> Vec<Domain> {
            let named = domains.iter().filter(|domain| names.contains(&domain.name));
            named.cloned().collect()
        };
        let data = self.data;
        // One domain by itself: as many pictures a step as all but one would have.
        let times = match self.settings.protocol {
            ProtocolName::Within => data.train.len().saturating_sub(1).max(1),
            _ => 1,
        };
        let mut test = of(&data.test, turn.test());
        let seen = data.test_seen.iter();
        test.extend(
            seen.filter(|domain| !turn.test().contains(&domain.name))
                .cloned(),
        );
        let held_out = held_out.map(|name| &**name);
        let folder = self.folder(turn, held_out, method, setting, (seed, steps));
        Job {
            settings: self.settings,
            method,
            setting: setting.clone(),
            batch: setting.batch * times,
            seed,
            steps,
            start,
            train: of(&data.train, train),
            valid: of(&data.valid, train),
            oracle: of(&data.valid, &oracle),
            test,
            warmup: self.warmup(&folder, steps),
            folder: self.output.join(folder),
        }
    }
}
