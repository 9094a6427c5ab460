//! Starting and greeting the daemons while the command starts.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::setup::Setup;
use crate::daemon;
use crate::error::Error;

/// How long a command that has ended waits for an answer that has not come.
const PATIENCE: Duration = Duration::from_millis(200);

/// Daemons on their way.
#[derive(Debug)]
pub struct Opening {
    answers: Receiver<Result<daemon::Opened, Error>>,
    answer: Option<Result<daemon::Opened, Error>>,
}

impl Opening {
    /// Starts the daemons in a thread. The worker's socket is known before: programs that need it wait for it.
    pub fn start(setup: &Setup) -> Self {
        let (sender, receiver) = channel();
        let (home, project, vriftd) = (setup.home.clone(), setup.project.clone(), setup.vriftd.clone());
        // A closed channel tells the other side where no thread could be had.
        let _ = thread::Builder::new().name("daemons".into()).spawn(move || {
            let _ = sender.send(daemon::open(&home, &vriftd, &project));
        });
        Self { answers: receiver, answer: None }
    }

    /// The daemons, once they are there; `None` where that takes longer than `patience`, or fails.
    pub fn wait(&mut self, patience: Duration) -> Option<&daemon::Opened> {
        if self.answer.is_none() {
            self.answer = self.answers.recv_timeout(patience).ok();
        }
        self.answer.as_ref()?.as_ref().ok()
    }

    /// What came of it.
    ///
    /// # Errors
    /// Why there is no worker.
    pub fn finish(self) -> Result<daemon::Opened, Error> {
        if let Some(answer) = self.answer {
            return answer;
        }
        match self.answers.recv_timeout(PATIENCE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(Error::Daemon("vriftd does not answer".into())),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Daemon("cannot start a thread that calls vriftd".into())),
        }
    }
}
