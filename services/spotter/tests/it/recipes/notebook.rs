//! The notebook, run as a program.

use std::fs;

use super::{
    page::{NOTEBOOK, blocks},
    shell::{Shell, python_path},
};
use crate::harness::System;

#[test]
fn the_cells_run_one_after_another() {
    let Some(packages) = python_path("notebook.py") else { return };
    let system = System::start();
    let _worker = system.worker();
    let shell = Shell::new(&system.base).with("PYTHONPATH", &packages);
    let [command] = blocks(NOTEBOOK, "bash");
    let printed = shell.run(&command);
    assert!(printed.starts_with("bus        0.87"), "{printed}");
    assert_eq!(printed.lines().count(), 4, "no picture has failed: {printed}");
    let drawn = fs::read(shell.path("drawn.png")).unwrap();
    assert!(drawn.starts_with(b"\x89PNG") && drawn.len() > 100_000);
    let table = fs::read_to_string(shell.path("objects.csv")).unwrap();
    assert!(table.starts_with("picture,label,confidence,x1,y1,x2,y2\r\n"), "{table}");
    for (start, count) in [("bus.jpg,person,0.8", 3), ("coffee.png,cup,0.9", 1)] {
        let found = table.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(found, count, "{start}: {table}");
    }
}
