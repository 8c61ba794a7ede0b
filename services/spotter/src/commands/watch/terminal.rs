//! The terminal: its keys, and that it is left as it was.

use std::{
    io::{self, IsTerminal},
    thread,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// The whole screen. Dropping it restores what was there; a panic does so before its message.
pub(super) struct Screenful {
    pub(super) terminal: DefaultTerminal,
}

impl Screenful {
    pub(super) fn take() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                // A part of it may have been done.
                ratatui::restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screenful {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Whether there is a person who can see the screen and press keys.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// What a person has done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Quit,
    /// The window has another size.
    Resize,
}

/// What a person does, until the process ends. The thread waits for keys, which nothing can interrupt.
pub(super) fn inputs() -> mpsc::UnboundedReceiver<Input> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if input(&event).is_some_and(|input| sender.send(input).is_err()) {
                return;
            }
        }
    });
    receiver
}

fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Resize),
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => {
            let ctrl_c = *code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL);
            (ctrl_c || matches!(code, KeyCode::Char('q' | 'Q') | KeyCode::Esc))
                .then_some(Input::Quit)
        }
        _ => None,
    }
}

/// The signals that would otherwise end the process with the screen still taken.
pub(super) struct EndingSignals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
}

impl EndingSignals {
    /// From now on, none of them ends the process.
    pub(super) fn register() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Returns at the first one since they were registered.
    pub(super) async fn first(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_ctrl_c_end_the_view() {
        let key = |code, modifiers| input(&Event::Key(KeyEvent::new(code, modifiers)));
        let none = KeyModifiers::NONE;
        assert_eq!(key(KeyCode::Char('q'), none), Some(Input::Quit));
        assert_eq!(key(KeyCode::Esc, none), Some(Input::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Input::Quit));
        assert_eq!(key(KeyCode::Char('c'), none), None);
        assert_eq!(input(&Event::Resize(1, 1)), Some(Input::Resize));
    }
}
