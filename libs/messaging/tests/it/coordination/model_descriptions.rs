//! The descriptions of models.

use domain::{LabelMap, ModelName};
use messaging::{DESCRIPTION_TTL, DescribedInput, ModelDescription};
use time::OffsetDateTime;

use crate::fixture::Fixture;

#[tokio::test]
async fn a_description_is_kept_for_weeks_and_replaced_by_the_next() {
    let fixture = Fixture::start().await;
    let bucket = fixture.raw().await.get_stream("KV_model_descriptions").await.unwrap();
    assert_eq!(bucket.cached_info().config.max_age, DESCRIPTION_TTL);

    let descriptions = fixture.messaging.model_descriptions();
    let model = "helmets".parse().unwrap();
    assert_eq!(descriptions.get(&model).await.unwrap(), None);
    assert_eq!(descriptions.list().await.unwrap().len(), 0);
    let one = ModelDescription {
        model_digest: [1; 32].into(),
        head: "yolov8-cut".to_owned(),
        input: DescribedInput::LongSide(640),
        labels: LabelMap::new(vec!["helmet".to_owned(), "head".to_owned()]),
        license: "Apache-2.0".to_owned(),
        producer: "pytorch 2.8".to_owned(),
        source_sha256: [2; 32].into(),
        stored_at: OffsetDateTime::UNIX_EPOCH,
    };
    let fixed = DescribedInput::Fixed { width: 416, height: 320 };
    let other = ModelDescription { model_digest: [3; 32].into(), input: fixed, ..one.clone() };
    for description in [one.clone(), other.clone()] {
        descriptions.store(&model, &description).await.unwrap();
        assert_eq!(descriptions.get(&model).await.unwrap(), Some(description));
    }

    let another = "gloves".parse().unwrap();
    descriptions.store(&another, &one).await.unwrap();
    // One that cannot be parsed is only a name.
    let bucket = fixture.raw().await.get_key_value("model_descriptions").await.unwrap();
    bucket.put("broken", "nonsense".into()).await.unwrap();
    let names: Vec<_> = descriptions.names().await.unwrap().into_iter().collect();
    assert_eq!(
        names.iter().map(ModelName::as_str).collect::<Vec<_>>(),
        ["broken", "gloves", "helmets"]
    );
    let list: Vec<_> = descriptions.list().await.unwrap().into_iter().collect();
    assert_eq!(list, [(another, one), (model, other)]);
}
