//! The body of a request for a batch.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use serde_json::json;

use crate::{
    batches::Batches,
    routes::v1::parameters,
    upload::{BatchUpload, UploadError, UploadRules},
};

const DESCRIPTION: &str = "The pictures: each file of a form, in any field; or the entries of a zip archive; or URLs in \
    JSON, that the API fetches before it answers. Parameters for all pictures may be in the query, in fields of the form \
    before its files, or in the JSON object. Parameters of single pictures are in the items of the list, or in the field \
    `items` of the form, a JSON object by file name; they stand in for those of the batch.";

/// It never fails: the route renders errors.
pub(super) struct BatchBody(pub(super) Result<BatchUpload, UploadError>);

impl<'a> ApiExtractor<'a> for BatchBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let media = |content_type, schema| MetaMediaType { content_type, schema: inline(schema) };
        let content = vec![
            media("multipart/form-data", form()),
            media("application/zip", binary("A zip archive of pictures.")),
            media("application/json", list()),
        ];
        Some(MetaRequest { description: Some(DESCRIPTION), content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let rules = request.data::<UploadRules>().zip(request.data::<Batches>());
        let (rules, batches) = rules.ok_or_else(|| {
            let status = poem::http::StatusCode::INTERNAL_SERVER_ERROR;
            poem::Error::from_string("no upload rules", status)
        })?;
        Ok(Self(BatchUpload::of(request, body, rules, batches.limits, parameters::NAMES)))
    }
}

fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}

fn binary(description: &'static str) -> MetaSchema {
    let description = Some(description);
    MetaSchema { description, ..MetaSchema::new_with_format("string", "binary") }
}

fn form() -> MetaSchema {
    let file = binary("A picture, or a zip archive of pictures.");
    let files = MetaSchema {
        items: Some(Box::new(inline(file))),
        description: Some("The pictures. Files in other fields are pictures, too."),
        min_items: Some(1),
        ..MetaSchema::new("array")
    };
    let of_items = MetaSchema {
        description: Some("Parameters of single pictures, by file name, before the files."),
        example: Some(json!({ "bus.jpg": { "confidence": 0.5 } })),
        ..MetaSchema::new("object")
    };
    let own = [("file", inline(files)), ("items", inline(of_items))];
    let properties = own.into_iter().chain(parameters::schemas()).collect();
    MetaSchema { required: vec!["file"], properties, ..MetaSchema::new("object") }
}

fn list() -> MetaSchema {
    let url = MetaSchema {
        description: Some("An `https` URL of a public server."),
        ..MetaSchema::new_with_format("string", "uri")
    };
    let name = MetaSchema {
        description: Some("The name of the picture. Default: as its server or the URL says."),
        ..MetaSchema::new("string")
    };
    let own = [("url", inline(url.clone())), ("name", inline(name))];
    let with_parameters = MetaSchema {
        required: vec!["url"],
        properties: own.into_iter().chain(parameters::schemas()).collect(),
        ..MetaSchema::new("object")
    };
    let item = MetaSchema { any_of: vec![inline(url), inline(with_parameters)], ..MetaSchema::ANY };
    let items = MetaSchema {
        items: Some(Box::new(inline(item))),
        description: Some("The pictures."),
        min_items: Some(1),
        ..MetaSchema::new("array")
    };
    MetaSchema {
        required: vec!["items"],
        properties: [("items", inline(items))].into_iter().chain(parameters::schemas()).collect(),
        example: Some(json!({
            "items": [
                "https://example.com/pictures/bus.jpg",
                { "url": "https://example.com/pictures/door.jpg", "confidence": 0.5 },
            ],
            "classes": "person,bus",
        })),
        ..MetaSchema::new("object")
    }
}
