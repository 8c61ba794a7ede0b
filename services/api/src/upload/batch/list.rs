//! A batch as a JSON object: `items`, each of which is a URL or an object with one, and parameters.

use bytes::BytesMut;
use serde_json::{Map, Value};

use super::{
    arrived::{Arrived, ArrivedPicture, Given},
    content::{Body, Reader},
    limits::BatchLimits,
};
use crate::upload::{
    error::{UploadError, json_error},
    fetch::PictureUrl,
    multipart::{printable, without_controls},
    rules::{ITEMS, MAX_FILE_NAME_CHARS, MAX_PARAMETER_VALUES, NAME, URL},
    value_budget::ValueBudget,
};

/// How many values each picture may add to those that parameters may have: 100 classes, and some more.
const ITEM_VALUES: usize = 128;

/// A list that has been read.
pub(super) struct ListPictures<'a> {
    items: Vec<Item>,
    /// The index of the next one.
    next: usize,
    parameters: Given,
    reader: Reader<'a>,
}

/// One picture of the list.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    url: String,
    name: Option<String>,
    parameters: Given,
}

impl<'a> ListPictures<'a> {
    /// Reads the whole list.
    ///
    /// # Errors
    /// [`UploadError`] if it is none.
    pub(super) async fn read(
        mut body: Body<'a>,
        reader: Reader<'a>,
        limits: BatchLimits,
        parameters: &'static [&'static str],
    ) -> Result<Self, UploadError> {
        // It is in memory as long as it is parsed.
        let slot = reader.slot().await?;
        let text = body.read_to_end(BytesMut::new(), None).await?;
        let max_items = limits.max_items;
        let parsing = tokio::task::spawn_blocking(move || parse(&text, max_items, parameters));
        let parsed = parsing.await.map_err(|error| UploadError::Json(error.to_string()))?;
        let (items, parameters) = parsed?;
        drop(slot);
        let list = Self { items, next: 0, parameters, reader };
        list.check_urls()?;
        Ok(list)
    }

    pub(super) fn parameters(&self) -> &[(&'static str, Value)] {
        &self.parameters
    }

    pub(super) fn item_parameters(&self) -> Vec<(String, &Given)> {
        let numbered = self.items.iter().enumerate();
        numbered.map(|(index, item)| (format!("/{ITEMS}/{index}"), &item.parameters)).collect()
    }

    /// Nothing is accepted of a list with URLs that cannot be used.
    fn check_urls(&self) -> Result<(), UploadError> {
        let fetcher = self.reader.rules.fetcher.as_ref().ok_or(UploadError::NoFetching)?;
        for (index, item) in self.items.iter().enumerate() {
            if let Err(error) = fetcher.client().rules().check(&item.url) {
                return Err(of_item(index, URL, format!("{URL} cannot be used: {error}")));
            }
        }
        Ok(())
    }

    pub(super) async fn next(&mut self) -> Result<Option<Arrived>, UploadError> {
        let Some(Item { url, name, parameters }) = self.items.get(self.next).cloned() else {
            return Ok(None);
        };
        self.next += 1;
        let slot = self.reader.slot().await?;
        let (rules, hasher) = (self.reader.rules.clone(), self.reader.hasher.clone());
        let picture = PictureUrl::new(&url, rules, hasher, slot)?;
        let name = name.unwrap_or_default();
        Ok(Some(Arrived { name, picture: ArrivedPicture::At(Box::new(picture)), parameters }))
    }
}

/// An error of the member `name` of an item.
fn of_item(index: usize, name: &str, detail: String) -> UploadError {
    let pointer = match name {
        "" => format!("/{ITEMS}/{index}"),
        name => format!("/{ITEMS}/{index}/{name}"),
    };
    UploadError::Item { pointer, detail }
}

/// Bounds what is kept of a body, whose bytes may be millions of values.
fn values_of(max_items: usize) -> ValueBudget {
    ValueBudget::of(max_items.saturating_mul(ITEM_VALUES).saturating_add(MAX_PARAMETER_VALUES))
}

fn parse(
    text: &[u8],
    max_items: u32,
    parameters: &'static [&'static str],
) -> Result<(Vec<Item>, Given), UploadError> {
    let most_items = usize::try_from(max_items).unwrap_or(usize::MAX);
    let parsed = values_of(most_items).object(text);
    let mut object = parsed.map_err(|error| UploadError::Json(json_error(&error)))?;
    let Some(Value::Array(items)) = object.remove(ITEMS) else { return Err(UploadError::NoItems) };
    if items.is_empty() {
        return Err(UploadError::NoItems);
    }
    if items.len() > most_items {
        return Err(UploadError::TooManyItems { max_items });
    }
    let given = known(object, parameters)
        .map_err(|(name, detail)| UploadError::Parameter { name, detail })?;
    let items =
        items.into_iter().enumerate().map(|(index, item)| Item::parse(index, item, parameters));
    Ok((items.collect::<Result<_, _>>()?, given))
}

impl Item {
    fn parse(
        index: usize,
        item: Value,
        parameters: &'static [&'static str],
    ) -> Result<Self, UploadError> {
        let expected = || {
            let detail = format!("an item must be a URL, or an object with one in '{URL}'");
            of_item(index, "", detail)
        };
        let mut members = match item {
            Value::String(url) => return Ok(Self { url, name: None, parameters: Vec::new() }),
            Value::Object(members) => members,
            _ => return Err(expected()),
        };
        let Some(Value::String(url)) = members.remove(URL) else { return Err(expected()) };
        let name = match members.remove(NAME) {
            Some(Value::String(name)) => {
                Some(without_controls(&name).chars().take(MAX_FILE_NAME_CHARS).collect())
            }
            Some(_) => return Err(of_item(index, NAME, format!("{NAME} must be a text"))),
            None => None,
        };
        let parameters =
            known(members, parameters).map_err(|(name, detail)| of_item(index, &name, detail))?;
        Ok(Self { url, name, parameters })
    }
}

/// The members of an object as parameters; the error has the name of one that is unknown.
pub(super) fn known(
    members: Map<String, Value>,
    parameters: &'static [&'static str],
) -> Result<Given, (String, String)> {
    let parameter =
        |(name, value): (String, Value)| match parameters.iter().find(|known| **known == name) {
            Some(known) => Ok((*known, value)),
            None => {
                let name = printable(&name).into_owned();
                let detail =
                    format!("there is no parameter '{name}'; there are {}", parameters.join(", "));
                Err((name, detail))
            }
        };
    members.into_iter().map(parameter).collect()
}

/// The parameters of single pictures, by their names, from the JSON object `text`.
pub(super) fn by_name(
    text: &[u8],
    max_items: usize,
    parameters: &'static [&'static str],
) -> Result<Vec<(String, Given)>, UploadError> {
    let wrong = |detail: String| UploadError::Parameter { name: ITEMS.to_owned(), detail };
    let parsed = values_of(max_items).object(text);
    let objects = parsed.map_err(|error| {
        wrong(format!(
            "{ITEMS} must be a JSON object of parameters by the name of a picture: {error}"
        ))
    })?;
    let item = |(name, value): (String, Value)| {
        let shown = printable(&name).into_owned();
        let Value::Object(members) = value else {
            return Err(wrong(format!("{ITEMS} must have an object for '{shown}'")));
        };
        let given = known(members, parameters);
        Ok((name, given.map_err(|(_, detail)| wrong(format!("{ITEMS}: '{shown}': {detail}")))?))
    };
    objects.into_iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: &[&str] = &["iou", "model"];

    fn parsed(body: &Value) -> Result<(Vec<Item>, Given), UploadError> {
        parse(body.to_string().as_bytes(), 3, KNOWN)
    }

    #[test]
    fn an_item_is_a_url_or_an_object_with_one() {
        let body = json!({
            "items": ["https://a/", { "url": "https://b/", "name": "b\n", "iou": 0.5 }],
            "model": "m",
        });
        let (items, given) = parsed(&body).unwrap();
        assert_eq!(given, [("model", json!("m"))]);
        let first = Item { url: "https://a/".to_owned(), name: None, parameters: Vec::new() };
        let second = Item {
            url: "https://b/".to_owned(),
            name: Some("b\u{FFFD}".to_owned()),
            parameters: vec![("iou", json!(0.5))],
        };
        assert_eq!(items, [first, second]);
    }

    #[test]
    fn other_lists_are_rejected_in_words() {
        let cases = [
            (json!([]), "JSON"),
            (json!({}), "items"),
            (json!({ "items": [] }), "items"),
            (json!({ "items": {} }), "items"),
            (json!({ "items": ["a", "b", "c", "d"] }), "3"),
            (json!({ "items": ["a", 7] }), "an item must be a URL"),
            (json!({ "items": [{ "image": "AAAA" }] }), "an item must be a URL"),
            (json!({ "items": [{ "url": "a", "iuo": 1 }] }), "'iuo'"),
            (json!({ "items": [{ "url": "a", "name": 1 }] }), "name must be a text"),
            (json!({ "items": ["a"], "iuo": 1 }), "'iuo'"),
        ];
        for (body, expected) in cases {
            let error = parsed(&body).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
        let error = parsed(&json!({ "items": ["a", { "url": "b", "iuo": 1 }] })).unwrap_err();
        let is_named =
            matches!(&error, UploadError::Item { pointer, .. } if pointer == "/items/1/iuo");
        assert!(is_named, "{error:?}");
    }

    #[test]
    fn millions_of_values_are_not_kept() {
        let list = vec![0; 3 * ITEM_VALUES + MAX_PARAMETER_VALUES];
        let error = parsed(&json!({ "items": ["a"], "model": list })).unwrap_err().to_string();
        assert!(error.contains("there are more than 1408 values"), "{error}");
        let text = json!({ "a": { "model": list } }).to_string();
        let error = by_name(text.as_bytes(), 3, KNOWN).unwrap_err().to_string();
        assert!(error.contains("there are more than 1408 values"), "{error}");
    }

    #[test]
    fn parameters_may_be_given_by_name() {
        let text = br#"{"a.jpg": {"iou": 1}, "b.jpg": {}}"#;
        let found = by_name(text, 3, KNOWN).unwrap();
        assert_eq!(found[0], ("a.jpg".to_owned(), vec![("iou", json!(1))]));
        for wrong in ["", "[]", "{\"a\": 1}", "{\"a\": {\"x\": 1}}"] {
            let error = by_name(wrong.as_bytes(), 3, KNOWN).unwrap_err();
            assert!(matches!(&error, UploadError::Parameter { name, .. } if name == "items"));
        }
    }
}
