//! What happened, in words: kept only while a failing seed is played again, so that passing schedules cost nothing.

/// The lines of a trace, if anybody wants them.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
    step: usize,
}

impl Trace {
    /// A trace that is kept.
    #[must_use]
    pub fn kept() -> Self {
        Self {
            lines: Some(Vec::new()),
            step: 0,
        }
    }

    /// The step that the next lines belong to.
    pub fn at(&mut self, step: usize) {
        self.step = step;
    }

    /// Adds a line.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>5}  {}", self.step, line()));
        }
    }

    /// The lines, oldest first.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
