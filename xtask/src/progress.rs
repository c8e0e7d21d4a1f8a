//! What the person at the terminal sees while something takes long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Without a terminal a line is printed at most this often for each running piece of work.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Standard error: moving lines on a terminal, plain lines with a heartbeat elsewhere.
#[derive(Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Terminal,
    Plain,
    Silent,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let bars = MultiProgress::new();
        let mode = if bars.is_hidden() { Mode::Plain } else { Mode::Terminal };
        Self { bars, mode }
    }

    /// Makes a screen that shows nothing.
    pub(crate) fn silent() -> Self {
        Self { bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()), mode: Mode::Silent }
    }

    /// Announces a piece of work.
    pub(crate) fn line(&self, name: &str) -> Line {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if self.mode == Mode::Terminal {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:24} {elapsed:>4} {wide_msg:.dim}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        let line = Line {
            screen: self.clone(),
            bar,
            name: name.to_owned(),
            started: Instant::now(),
            printed: Arc::new(Mutex::new(Instant::now())),
        };
        if self.mode == Mode::Plain {
            eprintln!("… {name}");
        }
        line
    }

    /// Prints a line that stays.
    pub(crate) fn print(&self, text: &str) {
        match self.mode {
            Mode::Terminal => self.bars.suspend(|| eprintln!("{text}")),
            Mode::Plain => eprintln!("{text}"),
            Mode::Silent => {}
        }
    }
}

/// One running piece of work.
#[derive(Clone)]
pub(crate) struct Line {
    screen: Screen,
    bar: ProgressBar,
    name: String,
    started: Instant,
    printed: Arc<Mutex<Instant>>,
}

impl Line {
    /// Shows what is going on at the moment.
    pub(crate) fn say(&self, text: &str) {
        match self.screen.mode {
            Mode::Terminal => self.bar.set_message(text.to_owned()),
            Mode::Plain => {
                let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
                if printed.elapsed() >= HEARTBEAT {
                    *printed = Instant::now();
                    eprintln!("… {} ({} s): {text}", self.name, self.started.elapsed().as_secs());
                }
            }
            Mode::Silent => {}
        }
    }

    /// Ends the work with one line that stays, and returns how long it took.
    pub(crate) fn finish(&self, mark: &str, note: &str) -> Duration {
        let took = self.started.elapsed();
        self.bar.finish_and_clear();
        let text = format!("{mark} {:24} {:>7.1} s  {note}", self.name, took.as_secs_f64());
        self.screen.print(text.trim_end());
        took
    }
}
