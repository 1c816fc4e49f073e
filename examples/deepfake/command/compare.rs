//! Methods × domains left out × seeds, and tables of what came out.

use std::{error::Error, path::Path, sync::Arc, time::Instant};

use burn::tensor::Device;
use roga::{
    domain::{Candidate, DomainSplit, Protocol, Selection},
    search::Cost,
};

use crate::{
    data::{Data, Domain},
    detector::{self, Net},
    method::Method,
    output::{self, Provenance, Results, Run},
    progress::Progress,
    search::Setting,
    settings::{self, ProtocolName, SelectionName, Settings},
    terminal,
    training::{self, Aucs, Job, Trained},
};

/// Trains and tests everything that the settings ask for, but for what an earlier run of the same
/// command has finished.
pub fn compare(settings: &Settings, output: &Path, restart: bool) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let device = settings::device(&settings.device)?.autodiff();
    output::prepare(output, "compare", settings, restart)?;
    let progress = Progress::new();
    progress.say("the pictures are made or listed");
    let data = Data::new(settings)?;
    progress.say(&data.description());
    Provenance::new("compare", &data).write(output)?;

    let turns = turns(settings, &data)?;
    let mut comparison = Comparison {
        settings,
        output,
        device,
        data: &data,
        progress,
        results: Results::new(settings.clone(), data.counts()),
    };
    comparison.announce(&turns)?;
    for turn in &turns {
        for method in settings.methods() {
            comparison.method(turn, method)?;
            comparison.results.took(begin.elapsed());
            comparison.results.save(output)?;
        }
    }
    let Comparison {
        progress, results, ..
    } = comparison;
    progress.finish();
    terminal::say(&format!("\n{}", results.tables()));
    for path in results.save(output)? {
        terminal::say(&path.display().to_string());
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
        let names = names.join(", ");
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
}

impl<'a> Comparison<'a> {
    /// Says what all of it costs before it starts.
    fn announce(&mut self, turns: &[DomainSplit]) -> Result<(), Box<dyn Error>> {
        let mut total = Cost::default();
        for turn in turns {
            for method in self.settings.methods() {
                total = total + self.cost(turn, method)?;
            }
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
        let cost = |steps, domains| Cost::of(&config, steps as u64, domains);
        let mut total = Cost::default();
        for steps in self.steps(turn, method)? {
            total = total + cost(steps, turn.train().len())?.times(settings.seeds.len() as u64);
        }
        if self.draws(method) > 1 {
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
                let trained = self.train(turn, turn.train(), method, &setting, (seed, steps))?;
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
            let trained = self.train(turn, turn.train(), method, &setting, run)?;
            let mut candidate = Candidate::new(setting.draw, trained.finished.step)
                .with_validation(trained.finished.validation);
            if self.selection() == Selection::Oracle {
                candidate = candidate.with_oracle(trained.finished.oracle);
            }
            if self.selection() == Selection::HeldOutDomain {
                candidate = candidate.with_held_out(self.held_out(turn, method, &setting, run)?);
            }
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
            let trained = self.train(turn, fold.train(), method, setting, run)?;
            let of_fold = trained.finished.oracle.into_iter().next();
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
        let domains = format!("{turn}{held_out}").replace('/', "-");
        format!("runs/{domains}/{method}{draw}/seed-{seed}-steps-{steps}")
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
    ) -> Result<Trained, Box<dyn Error>> {
        let start = self.start(run.0)?;
        let title = turn_name(turn, self.settings.protocol).replace('-', " ");
        self.progress.title(format!("{title}, {method}"));
        let job = self.job(turn, train, method, setting, run, &start);
        training::train(&job, &mut self.progress)
    }

    /// A training on some of the turn's domains; one that another is held out of is tested on that
    /// one's validation part alone.
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
        let mut test = Vec::new();
        if held_out.is_none() {
            test = of(&data.test, turn.test());
            let seen = data.test_seen.iter();
            test.extend(
                seen.filter(|domain| !turn.test().contains(&domain.name))
                    .cloned(),
            );
        }
        let held_out = held_out.map(|name| &**name);
        let folder = self.folder(turn, held_out, method, setting, (seed, steps));
        Job {
            settings: self.settings,
            method,
            setting: setting.clone(),
            seed,
            steps,
            start,
            train: of(&data.train, train),
            valid: of(&data.valid, train),
            oracle: of(&data.valid, &oracle),
            test,
            folder: self.output.join(folder),
        }
    }
}
