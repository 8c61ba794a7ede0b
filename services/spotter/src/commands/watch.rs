//! `spotter watch`: shows the state of the system as it changes.

mod rates;
mod terminal;
mod view;

use std::time::Duration;

use client::{Client, ClientError, Operations};
use service::config::address;
use tokio::{sync::mpsc, time::sleep};

use self::{
    rates::Rates,
    terminal::{EndingSignals, Input, Screenful, inputs},
    view::Screen,
};
use crate::{
    cli::ApiOptions,
    commands::api_connection::{connect, of_any_request},
    error::CliError,
};

/// The delay before the stream is opened again.
const PAUSE: Duration = Duration::from_secs(2);

pub(crate) fn watch(options: &ApiOptions) -> Result<(), CliError> {
    let api = address::redact(options.api.trim_end_matches('/'));
    if !terminal::is_there() {
        return Err(CliError::Usage(format!(
            "`spotter watch` needs a terminal; `curl -N {api}/v1/operations/events` prints the same as JSON, and \
             {api}/ shows it in a browser"
        )));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(show(options, api))
}

/// What happens to the stream.
enum Change {
    Snapshot(Box<Operations>),
    /// It is opened again.
    Lost(ClientError),
}

async fn show(options: &ApiOptions, api: String) -> Result<(), CliError> {
    let client = connect(options).await?;
    let (sender, mut changes) = mpsc::channel(1);
    let mut following = std::pin::pin!(follow(&client, sender));
    let mut screen = Screen { api, latest: None, rates: Rates::default(), problem: None };
    // Before the screen is taken: a signal in between would leave the terminal without echo and cursor.
    let mut signals = EndingSignals::register()?;
    let mut screenful = Screenful::take()?;
    let mut inputs = inputs();
    loop {
        screenful.terminal.draw(|frame| screen.draw(frame))?;
        tokio::select! {
            refused = &mut following => return Err(of_any_request(&refused)),
            Some(change) = changes.recv() => screen.apply(change),
            input = inputs.recv() => match input {
                Some(Input::Resize) => {}
                Some(Input::Quit) | None => return Ok(()),
            },
            () = signals.first() => return Ok(()),
        }
    }
}

/// Follows the state until the API refuses it, which is returned. Opens the stream again where it breaks.
async fn follow(client: &Client, changes: mpsc::Sender<Change>) -> ClientError {
    loop {
        let lost = match read_stream(client, &changes).await {
            Ok(()) => ClientError::NoAnswer("the API has ended the stream".to_owned()),
            Err(error) if error.is_transient() => error,
            Err(error) => return error,
        };
        let pause = lost.retry_after().unwrap_or(PAUSE);
        // The receiver lives as long as this.
        let _ = changes.send(Change::Lost(lost)).await;
        sleep(pause).await;
    }
}

async fn read_stream(client: &Client, changes: &mpsc::Sender<Change>) -> Result<(), ClientError> {
    let mut events = client.operations().await?;
    while let Some(snapshot) = events.next().await? {
        let _ = changes.send(Change::Snapshot(Box::new(snapshot))).await;
    }
    Ok(())
}

impl Screen {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Snapshot(snapshot) => {
                self.rates.add(&snapshot);
                (self.latest, self.problem) = (Some(*snapshot), None);
            }
            Change::Lost(error) => self.problem = Some(error.to_string()),
        }
    }
}
