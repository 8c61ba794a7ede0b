//! What the document says of webhooks: the requests that `callback_url` asks for, as callbacks of the routes that take it
//! (OpenAPI 3.0.0, "Callback Object"). docs/webhooks.md describes them.

use serde_json::{Map, Value, json};

/// The name of the callback.
const NAME: &str = "ended";
/// Where the URL is taken from. It may also be in the body, which an expression says only of one kind of body.
const URL: &str = "{$request.query.callback_url}";

/// The members of a task that its webhook leaves out.
const NOT_OF_TASKS: [&str; 3] = ["timings", "object_count", "retry_reason"];
/// The same of a batch.
const NOT_OF_BATCHES: [&str; 1] = ["refused"];

/// Adds the callbacks to the operations of `document` that have them.
pub(super) fn add(document: &mut Value) {
    let schemas = &document["components"]["schemas"];
    let task = without(&schemas["Task"]["example"], &NOT_OF_TASKS);
    let mut batch = without(&schemas["Batch"]["example"], &NOT_OF_BATCHES);
    batch["state"] = "FINISHED".into();
    batch["finished_at"] = task["finished_at"].clone();
    batch["counts"] = json!({
        "pending": 0, "succeeded": 2, "failed": 0, "revoked": 0, "expired": 0, "refused": 1
    });
    let of_task = Webhook {
        path: "/v1/tasks",
        summary: "The task has ended",
        description: "Once the task is SUCCESS, FAILURE, EXPIRED or REVOKED.",
        types: &["task.success", "task.failure", "task.expired", "task.revoked"],
        schema: "#/components/schemas/Task",
        data: "The task as `GET /v1/tasks/{task_id}` shows it, without `timings`. Where the body would have more than \
            20,000 bytes, `objects` is left out too: `links` leads to them.",
        example: task,
    };
    let of_batch = Webhook {
        path: "/v1/batches",
        summary: "The batch has ended",
        description: "Once each task of the batch has ended. A batch that goes on after that, because its client \
            continues it, ends again.",
        types: &["batch.finished"],
        schema: "#/components/schemas/Batch",
        data: "The batch as `GET /v1/batches/{batch_id}` shows it, without `refused`.",
        example: batch,
    };
    for webhook in [of_task, of_batch] {
        if let Some(operation) = document["paths"][webhook.path]["post"].as_object_mut() {
            operation.insert(
                "callbacks".to_owned(),
                json!({ NAME: { URL: { "post": webhook.operation() } } }),
            );
        }
    }
}

fn without(example: &Value, members: &[&str]) -> Value {
    let mut members_left = example.as_object().cloned().unwrap_or_else(Map::new);
    members_left.retain(|name, _| !members.contains(&name.as_str()));
    Value::Object(members_left)
}

/// A webhook, and the route whose `callback_url` it is sent to.
struct Webhook {
    path: &'static str,
    summary: &'static str,
    description: &'static str,
    types: &'static [&'static str],
    /// What `data` is.
    schema: &'static str,
    data: &'static str,
    example: Value,
}

impl Webhook {
    /// The request that the receiver gets, and what its answers mean.
    fn operation(&self) -> Value {
        let Self { summary, description, types, schema, data, example, .. } = self;
        let about = "A signed request to `callback_url`, which may also be given in the body. Delivery is at least once: \
            `webhook-id` tells a repetition. It follows Standard Webhooks 1.0.0, whose libraries verify the signature.";
        json!({
            "summary": summary,
            "description": format!("{description} {about}"),
            "parameters": [
                header("webhook-id", "The same for each try of the same end.", "string", "msg_01a2087f-74c2-74a2-bf59-fa7182395328".into()),
                header("webhook-timestamp", "When it was tried, in seconds since 1970.", "integer", 1_767_225_600.into()),
                header(
                    "webhook-signature",
                    "`v1,` and the base64 of an HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`; one by each \
                        secret, separated by spaces.",
                    "string",
                    "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=".into(),
                ),
            ],
            "requestBody": {
                "required": true,
                "content": { "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["type", "timestamp", "data"],
                        "properties": {
                            "type": { "type": "string", "enum": types, "description": "What has happened." },
                            "timestamp": {
                                "type": "string", "format": "date-time", "description": "When it happened."
                            },
                            "data": { "allOf": [{ "$ref": schema }], "description": data },
                        },
                    },
                    "example": { "type": types[0], "timestamp": example["finished_at"], "data": example },
                } },
            },
            "responses": {
                "2XX": { "description": "The webhook was received. Answer within 20 seconds." },
                "410": { "description": "The receiver wants no more: the webhook is given up." },
                "default": {
                    "description": "Any other answer, also a redirect, and none in time: the webhook is tried again, up to \
                        nine times within four days.",
                    "headers": { "Retry-After": {
                        "description": "The next try comes no earlier: seconds, or a date.",
                        "schema": { "type": "string" },
                    } },
                },
            },
        })
    }
}

fn header(name: &str, description: &str, kind: &str, example: Value) -> Value {
    json!({
        "name": name, "in": "header", "required": true, "description": description,
        "schema": { "type": kind }, "example": example,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::openapi::parsed;

    #[test]
    fn both_routes_that_take_a_callback_url_describe_the_callback() {
        let document = parsed().unwrap();
        let schemas = &document["components"]["schemas"];
        for (path, of, kind) in
            [("/v1/tasks", "Task", "task.success"), ("/v1/batches", "Batch", "batch.finished")]
        {
            let operation = &document["paths"][path]["post"]["callbacks"][NAME][URL]["post"];
            let headers: Vec<_> = operation["parameters"].as_array().unwrap().iter().collect();
            assert!(
                headers.iter().all(|header| header["in"] == "header" && header["required"] == true)
            );
            assert_eq!(headers.len(), 3, "{path}");
            let content = &operation["requestBody"]["content"]["application/json"];
            let (schema, example) = (&content["schema"], &content["example"]);
            assert_eq!(example["type"], kind);
            assert!(
                schema["properties"]["type"]["enum"].as_array().unwrap().contains(&example["type"])
            );
            assert_eq!(
                schema["properties"]["data"]["allOf"][0]["$ref"],
                format!("#/components/schemas/{of}")
            );
            let data = example["data"].as_object().unwrap();
            for required in schemas[of]["required"].as_array().unwrap() {
                assert!(data.contains_key(required.as_str().unwrap()), "{path}: no {required}");
            }
            assert!(data.keys().all(|name| !schemas[of]["properties"][name].is_null()), "{data:?}");
            let answers: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
            assert_eq!(answers, ["2XX", "410", "default"]);
        }
        let paths = document["paths"].as_object().unwrap();
        let described = paths.values().filter(|path| !path["post"]["callbacks"].is_null()).count();
        let takes = |parameter: &Value| parameter["name"] == "callback_url";
        let taking = paths.values().filter(|path| {
            path["post"]["parameters"].as_array().is_some_and(|all| all.iter().any(takes))
        });
        assert_eq!(described, taking.count(), "each route with a callback_url has a callback");
    }
}
