//! One file per verb. A command returns its exit code, or the error that is
//! printed here.

mod adopt;
mod completions;
mod config;
mod doctor;
mod each;
mod engines;
mod issue;
mod kill;
mod logs;
mod prune;
mod ps;
mod reconcile;
mod resume;
mod rm;
mod roles;
pub(crate) mod run;
mod serve;
pub(crate) mod service;
mod show;
mod stop;
mod suspend;
mod wait;

use std::path::Path;

use crate::args::{Args, Verb};
use crate::exit::Exit;
use crate::{output, project};

/// Does what was asked, and says so if it cannot be done.
pub(crate) fn execute(args: Args) -> Exit {
    let project = args.project().map(Path::to_owned);
    let project = project.as_deref();
    let result = match args.verb {
        Verb::Run(args) => run::run(project, *args),
        Verb::Engines(args) => {
            project::find(project).and_then(|project| engines::engines(project.as_deref(), &args))
        }
        Verb::Completions(completions) => completions::completions(&completions),
        Verb::Roles(args) => {
            project::find(project).and_then(|project| roles::roles(project.as_deref(), &args))
        }
        Verb::Config(args) => {
            project::find(project).and_then(|project| config::config(project.as_deref(), &args))
        }
        Verb::Serve(args) => serve::serve(&args.options),
        Verb::Service(args) => service::service(args),
        Verb::Issue(args) => issue::issue(project, &args),
        verb => project::open(project).and_then(|manager| match verb {
            Verb::Ps(args) => ps::ps(&manager, args),
            Verb::Show(args) => show::show(&manager, &args),
            Verb::Logs(args) => logs::logs(&manager, &args),
            Verb::Wait(args) => wait::wait(&manager, &args),
            Verb::Stop(args) => stop::stop(&manager, &args),
            Verb::Kill(args) => kill::kill(&manager, &args),
            Verb::Suspend(args) => suspend::suspend(&manager, &args),
            Verb::Resume(args) => resume::resume(&manager, &args),
            Verb::Rm(args) => rm::rm(&manager, &args),
            Verb::Prune(args) => prune::prune(&manager, &args),
            Verb::Adopt(args) => adopt::adopt(&manager, &args),
            Verb::Reconcile(args) => reconcile::reconcile(&manager, &args),
            Verb::Doctor(args) => doctor::doctor(&manager, &args),
            Verb::Run(_)
            | Verb::Engines(_)
            | Verb::Completions(_)
            | Verb::Roles(_)
            | Verb::Config(_)
            | Verb::Serve(_)
            | Verb::Service(_)
            | Verb::Issue(_) => unreachable!("matched above"),
        }),
    };
    match result {
        Ok(exit) => exit,
        Err(error) if error.is_reader_gone() => Exit::SUCCESS,
        Err(error) => {
            output::failure(&error);
            Exit::of_error(&error)
        }
    }
}
