//! What is on the screen.

use client::{Operations, QueueState};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Text},
    widgets::{Block, Gauge, Paragraph, RenderDirection, Row, Sparkline, Table},
};
use time::macros::format_description;

use super::rates::Rates;

/// What is known at the moment.
#[derive(Debug)]
pub(super) struct Screen {
    /// The API's address, without a password.
    pub(super) api: String,
    /// `None` before the first one.
    pub(super) latest: Option<Operations>,
    pub(super) rates: Rates,
    /// Why no snapshots come.
    pub(super) problem: Option<String>,
}

impl Screen {
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [title, content, keys] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
                .areas(frame.area());
        frame.render_widget(self.title(), title);
        match &self.latest {
            Some(snapshot) => self.draw_snapshot(frame, content, snapshot),
            None => frame.render_widget("waiting for the first state", content),
        }
        frame.render_widget(Line::from("q ends").dim(), keys);
    }

    fn title(&self) -> Line<'static> {
        let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
        let at = self.latest.as_ref().map(|snapshot| snapshot.at.to_utc());
        let at = at.and_then(|at| at.format(format).ok()).unwrap_or_default();
        let title = format!("{}  {at}", self.api);
        match &self.problem {
            Some(problem) => Line::from(format!("{title}  {problem}; trying again")).red(),
            None => Line::from(title).bold(),
        }
    }

    fn draw_snapshot(&self, frame: &mut Frame<'_>, area: Rect, snapshot: &Operations) {
        let lanes = snapshot.queue.lanes.as_ref().map_or(0, Vec::len);
        let tables = lanes.max(snapshot.stages.len()) + 3;
        let [queue, tasks, plot, tables, workers] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(2),
            Constraint::Length(5),
            Constraint::Length(u16::try_from(tables).unwrap_or(u16::MAX)),
            Constraint::Fill(1),
        ])
        .areas(area);
        let [left, right] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(1).areas(tables);
        frame.render_widget(queue_gauge(&snapshot.queue), queue);
        frame.render_widget(self.totals(snapshot), tasks);
        self.draw_plot(frame, plot);
        frame.render_widget(lanes_table(&snapshot.queue), left);
        frame.render_widget(stages_table(snapshot), right);
        frame.render_widget(workers_table(snapshot), workers);
    }

    fn totals(&self, snapshot: &Operations) -> Paragraph<'static> {
        let tasks = snapshot.tasks;
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        let first = format!(
            "tasks: {} accepted ({}/s), {} ended ({}/s)",
            tasks.accepted,
            rate(self.rates.accepted()),
            tasks.ended(),
            rate(self.rates.ended()),
        );
        let second = format!(
            "{} failed, {} cancelled, {} expired; {} dead letters",
            tasks.failed,
            tasks.revoked,
            tasks.expired,
            or_unknown(snapshot.dead_letters),
        );
        Paragraph::new(vec![Line::from(first), Line::from(second)])
    }

    fn draw_plot(&self, frame: &mut Frame<'_>, area: Rect) {
        let newest_first = self.rates.plotted.iter().rev();
        let most = newest_first.clone().fold(0.0, |most: f64, rate| most.max(*rate));
        let title = format!("tasks that ended a second, up to {most:.1}");
        // In tenths: a bar has whole numbers.
        let bars: Vec<u64> = newest_first.map(|rate| (rate * 10.0).round() as u64).collect();
        let plot = Sparkline::default().data(bars).direction(RenderDirection::RightToLeft);
        frame.render_widget(plot.block(Block::bordered().title(title)), area);
    }
}

/// A cell of a column of numbers.
fn number(text: impl Into<String>) -> Text<'static> {
    Text::from(text.into()).right_aligned()
}

fn or_unknown(count: Option<u64>) -> String {
    count.map_or("?".to_owned(), |count| count.to_string())
}

fn queue_gauge(queue: &QueueState) -> Gauge<'static> {
    let waiting = queue.waiting.unwrap_or(0);
    let share =
        if queue.max_waiting == 0 { 0.0 } else { waiting as f64 / queue.max_waiting as f64 };
    let oldest = queue.oldest_age_seconds.map_or("?".to_owned(), |age| format!("{age:.0} s"));
    let label = format!(
        "queue: {} of {} wait, {} run, the oldest for {oldest}{}",
        or_unknown(queue.waiting),
        queue.max_waiting,
        or_unknown(queue.running),
        if queue.accepting { "" } else { "; new jobs are refused" },
    );
    let colour = if queue.accepting { Color::Blue } else { Color::Red };
    // The API's numbers may not fit: a gauge takes from 0 to 1.
    Gauge::default().ratio(share.clamp(0.0, 1.0)).label(label).gauge_style(Style::new().fg(colour))
}

fn lanes_table(queue: &QueueState) -> Table<'static> {
    let rows = queue.lanes.iter().flatten().map(|lane| {
        let row = Row::new([
            Text::from(lane.model.clone()),
            Text::from(lane.priority.to_string()),
            number(lane.waiting.to_string()),
            number(lane.running.to_string()),
        ]);
        if lane.waiting + lane.running == 0 { row.dim() } else { row }
    });
    let widths =
        [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(7), Constraint::Length(7)];
    Table::new(rows, widths)
        .header(heading(["model", "priority"], ["waiting", "running"]))
        .block(Block::bordered().title("lanes"))
}

fn stages_table(snapshot: &Operations) -> Table<'static> {
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    let rows = snapshot.stages.iter().map(|stage| {
        Row::new([
            Text::from(stage.stage.clone()),
            number(stage.count.to_string()),
            number(ms(stage.p50_ms)),
            number(ms(stage.p95_ms)),
            number(ms(stage.p99_ms)),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    Table::new(rows, widths)
        .header(heading(["stage"], ["runs", "p50 ms", "p95 ms", "p99 ms"]))
        .block(Block::bordered().title("stages, last minute"))
}

fn workers_table(snapshot: &Operations) -> Table<'static> {
    let rows = snapshot.workers.iter().map(|worker| {
        let models = worker.models.iter().filter(|model| model.in_memory);
        let models: Vec<_> = models.map(|model| model.name.as_str()).collect();
        Row::new([
            Text::from(worker.name.clone()),
            Text::from(worker.version.clone()),
            Text::from(models.join(", ")),
            number(format!("{} of {}", worker.busy, worker.slots)),
            number(worker.pictures.to_string()),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    let title = format!("workers: {}, APIs: {}", snapshot.workers.len(), snapshot.apis.len());
    Table::new(rows, widths)
        .header(heading(["worker", "version", "models in memory"], ["busy", "pictures"]))
        .block(Block::bordered().title(title))
}

/// The headings of columns of texts, and then of numbers.
fn heading<const TEXTS: usize, const NUMBERS: usize>(
    texts: [&'static str; TEXTS],
    numbers: [&'static str; NUMBERS],
) -> Row<'static> {
    Row::new(texts.map(Text::from).into_iter().chain(numbers.map(number))).bold()
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};
    use time::Duration;

    use super::*;

    fn recorded() -> Operations {
        serde_json::from_str(include_str!("recorded.json")).unwrap()
    }

    fn screen(latest: Option<Operations>) -> Screen {
        let api = "http://127.0.0.1:5000".to_owned();
        Screen { api, latest, rates: Rates::default(), problem: None }
    }

    /// The lines of a terminal of this size.
    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let cells: Vec<_> = terminal.backend().buffer().content().iter().collect();
        let rows = cells.chunks(usize::from(width));
        let line = |row: &[&ratatui::buffer::Cell]| -> String {
            row.iter().map(|cell| cell.symbol()).collect()
        };
        rows.map(|row| format!("{}\n", line(row).trim_end())).collect()
    }

    #[test]
    fn a_recorded_state_is_drawn_as_it_was_looked_at() {
        let mut screen = screen(None);
        for second in 0..40 {
            let mut snapshot = recorded();
            snapshot.at += Duration::seconds(second);
            snapshot.tasks.succeeded += (second * second / 4).unsigned_abs();
            screen.rates.add(&snapshot);
            screen.latest = Some(snapshot);
        }
        let drawn = drawn(&screen, 100, 30);
        assert_eq!(drawn, include_str!("drawn.txt"), "it is drawn as:\n{drawn}");
    }

    #[test]
    fn what_did_not_answer_is_not_shown_as_zero() {
        let mut snapshot = recorded();
        snapshot.queue.waiting = None;
        snapshot.queue.oldest_age_seconds = None;
        snapshot.queue.lanes = None;
        snapshot.queue.accepting = false;
        snapshot.dead_letters = None;
        let drawn = drawn(&screen(Some(snapshot)), 100, 30);
        let words = [
            "? of 10000 wait",
            "the oldest for ?; new jobs are refused",
            "? dead letters",
            "(-/s)",
        ];
        for words in words {
            assert!(drawn.contains(words), "{words}:\n{drawn}");
        }
    }

    #[test]
    fn a_lost_connection_is_said_beside_the_last_state() {
        let mut screen = screen(None);
        assert!(drawn(&screen, 100, 30).contains("waiting for the first state"));
        (screen.latest, screen.problem) = (Some(recorded()), Some("connection refused".to_owned()));
        let drawn = drawn(&screen, 100, 30);
        assert!(drawn.contains("connection refused; trying again"), "{drawn}");
        assert!(drawn.contains("4190 accepted"), "{drawn}");
    }

    #[test]
    fn any_size_and_any_numbers_can_be_drawn() {
        let mut snapshot = recorded();
        snapshot.queue.waiting = Some(u64::MAX);
        snapshot.queue.max_waiting = 0;
        snapshot.workers[0].name = "\u{1b}[2J猫".repeat(100);
        snapshot.stages = vec![snapshot.stages[0].clone(); 70_000];
        for (width, height) in [(1, 1), (3, 2), (10, 100), (300, 3)] {
            let drawn = drawn(&screen(Some(snapshot.clone())), width, height);
            assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
        }
    }
}
