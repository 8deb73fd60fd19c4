//! Measuring: several contenders in turn, so that what the machine does meanwhile
//! befalls all alike.

use std::time::{Duration, Instant};

/// What is compared, and one run of it; the figure is what it returns.
pub(crate) struct Contender<'a> {
    name: String,
    run: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contender<'a> {
    /// Measured by what `run` returns.
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut() -> f64 + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// The figures of one contender.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    figures: Vec<f64>,
}

impl Series {
    pub(crate) fn new(name: impl Into<String>, mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self {
            name: name.into(),
            figures,
        }
    }

    /// The same figures under another name.
    pub(crate) fn named(&self, name: &str) -> Self {
        Self::new(name, self.figures.clone())
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The figure below which this share of all are.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.figures.len() - 1;
        self.figures[(share * last as f64).round() as usize]
    }

    pub(crate) fn min(&self) -> f64 {
        self.figures[0]
    }

    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

/// Runs all in turn, so often; the first round only warms up.
pub(crate) fn in_turn(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Vec<Series> {
    let mut figures = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..=rounds {
        for (contender, figures) in contenders.iter_mut().zip(&mut figures) {
            let figure = (contender.run)();
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    let names = contenders.into_iter().map(|contender| contender.name);
    names.zip(figures).map(|(n, f)| Series::new(n, f)).collect()
}

/// How long `run` takes.
pub(crate) fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// In milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
