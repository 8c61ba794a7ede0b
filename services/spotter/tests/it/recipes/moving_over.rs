//! Moving over from the Flask application, and from other servers.

use serde_json::{Value, json};
use testkit::{HttpServer, free_port, http_answer};

use super::{
    nginx::Nginx,
    page::{FLASK, OTHER_SERVERS, blocks, file},
    shell::Shell,
};
use crate::{harness::System, reference::assert_bus};

/// The Flask application: it accepts pictures, and has a result for each task.
fn flask() -> HttpServer {
    HttpServer::start(|request| {
        let answer = match request.path() {
            "/start_task" => {
                json!({ "image": "bus.jpg", "task_id": "f94c7d98-80c4-4e5d-b543-a6fa2ca332b3" })
            }
            path => json!({ "status": "SUCCESS", "of": "Flask", "path": path }),
        };
        let headers = "content-type: application/json\r\n";
        Some(http_answer("200 OK", headers, answer.to_string().as_bytes()))
    })
}

#[tokio::test]
async fn tasks_of_both_applications_are_found_at_one_address() {
    let system = System::start();
    let _worker = system.worker();
    let flask = flask();
    let port = free_port();
    let (listen, api) =
        (format!("listen 127.0.0.1:{port}"), system.base.trim_start_matches("http://"));
    let flask_address = flask.origin().replace("http://", "");
    let replaced =
        [("listen 80", &*listen), ("127.0.0.1:5000", api), ("127.0.0.1:5001", &*flask_address)];
    let site = file("moving.nginx.conf", &replaced);
    let Some(_nginx) = Nginx::start(&site, port).await else { return };
    let shell = Shell::new(&system.base)
        .showing("http://spotter.example.com", &format!("http://127.0.0.1:{port}"));
    let [commands] = blocks(FLASK, "bash");
    let (submit, ask) = commands.trim_end().split_once('\n').unwrap();
    let run = |command: &str| serde_json::from_str::<Value>(&shell.run(command)).unwrap();

    let accepted = run(submit);
    let id = accepted["task_id"].as_str().unwrap();
    assert_eq!(accepted["image"], "bus.jpg");
    system.terminal(id.parse().unwrap()).await;
    let result = run(&ask.replace("f94c7d98-80c4-4e5d-b543-a6fa2ca332b3", id));
    assert_bus(&result["result"]);
    assert_eq!(flask.requests().len(), 0);

    let old = run(ask);
    assert_eq!(old["of"], "Flask", "{old}");
    assert_eq!(old["path"], "/task_result/f94c7d98-80c4-4e5d-b543-a6fa2ca332b3");
    let hidden = shell.ended("curl http://spotter.example.com/metrics");
    assert_eq!(hidden.code, Some(22), "{hidden:?}");
}

#[tokio::test]
async fn a_share_of_the_pictures_may_stay_with_flask() {
    let system = System::start();
    let flask = flask();
    let port = free_port();
    let (listen, api) =
        (format!("listen 127.0.0.1:{port}"), system.base.trim_start_matches("http://"));
    let flask_address = flask.origin().replace("http://", "");
    let replaced = [
        ("listen 80", &*listen),
        ("127.0.0.1:5000", api),
        ("127.0.0.1:5001", &*flask_address),
        ("# 90% flask;", "100% flask;"),
    ];
    let Some(_nginx) = Nginx::start(&file("moving.nginx.conf", &replaced), port).await else {
        return;
    };
    let shell = Shell::new(&system.base)
        .showing("http://spotter.example.com", &format!("http://127.0.0.1:{port}"));
    let [commands] = blocks(FLASK, "bash");
    shell.run(commands.lines().next().unwrap());
    assert_eq!(flask.requests().len(), 1);
    let listed = system.v1_get("/v1/tasks").await;
    assert_eq!(listed["tasks"], json!([]));
}

#[test]
fn clients_of_other_servers_are_served() {
    let system = System::start();
    let _worker = system.worker();
    let shell = Shell::new(&system.base);
    let [commands] = blocks(OTHER_SERVERS, "bash");
    let answers: Vec<Value> = commands
        .lines()
        .map(|command| serde_json::from_str(&shell.run(command)).unwrap())
        .collect();
    let [deepstack, triton, roboflow, huggingface] = &*answers else { panic!("{answers:?}") };
    assert_eq!(deepstack["predictions"][0]["label"], "bus");
    assert_eq!(triton["outputs"][4]["data"][0], "bus");
    assert_eq!(roboflow["predictions"][0]["class"], "bus");
    assert_eq!(huggingface[0]["label"], "bus");
    // The default thresholds: 0.4, 0.25, 0.4 and 0.5.
    let found = [
        deepstack["predictions"].as_array().unwrap().len(),
        triton["outputs"][4]["data"].as_array().unwrap().len(),
        roboflow["predictions"].as_array().unwrap().len(),
        huggingface.as_array().unwrap().len(),
    ];
    assert_eq!(found, [4, 6, 4, 4]);
}
