//! `spotter up`: runs everything on one machine, until Ctrl-C.

use api::AuthMode;
use detector::ExecutionProvider;
use domain::ModelName;
use service::lifecycle::shutdown;

use crate::{
    cli::UpOptions,
    eight_bits::{self, EightBits},
    error::CliError,
    output::notice,
    supervisor::{Settings, Stopped, Supervisor, block_on},
};

pub(crate) fn up(options: UpOptions) -> Result<(), CliError> {
    let settings = Settings::read(options)?;
    // Before anything is started: a wrong name is reported at once.
    settings.paths.bundle(&settings.model)?;
    block_on(run(&settings))
}

async fn run(settings: &Settings) -> Result<(), CliError> {
    let mut system = Supervisor::in_folder(&settings.data_dir)?;
    let interrupted = shutdown::on_signal()?;
    let running = async {
        let address = system.start(settings).await?;
        print_addresses(&address, settings);
        print_faster_model(settings);
        system.ended().await
    };
    let outcome = tokio::select! {
        outcome = running => outcome,
        () = interrupted.cancelled() => Ok(()),
    };
    notice("stopping …");
    notice(match system.stop().await? {
        Stopped::InOrder => "stopped",
        Stopped::AtOnce => "stopped at once",
    });
    outcome
}

fn print_addresses(address: &str, settings: &Settings) {
    let Settings { workers, cores, model, .. } = settings;
    let concurrency = cores.slots;
    let (keys, header) = match settings.auth {
        AuthMode::Off => ("", ""),
        AuthMode::Keys => {
            ("\n  an API key  spotter key create --name NAME", "-H 'X-API-Key: KEY' ")
        }
    };
    notice(format_args!(
        "\nspotter is up: {workers} worker{s} × {concurrency} pictures at a time, model {model}\n\
         \n  API         {address}\
         \n  console     {address}/ in a browser\
         \n  Swagger UI  {address}/docs{keys}\
         \n  try         curl {header}-F file=@test_images/bus.jpg {address}/start_task\
         \n\nCtrl-C stops it; jobs in the queue are kept.\n",
        s = if workers.get() == 1 { "" } else { "s" },
    ));
}

fn print_faster_model(settings: &Settings) {
    if settings.model != ModelName::default() || settings.provider != ExecutionProvider::Cpu {
        return;
    }
    let hint = eight_bits::hint(&settings.paths.models_dir(), EightBits::on_this_cpu());
    if let Some(hint) = hint {
        notice(format_args!("{hint}\n"));
    }
}
