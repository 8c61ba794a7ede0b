//! Values of a client's JSON, of which only so many are kept: a body of a few megabytes may have millions.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// How many values may be read, with those in lists and objects.
#[derive(Debug)]
pub(super) struct ValueBudget {
    most: usize,
    left: usize,
}

impl ValueBudget {
    pub(super) fn of(most: usize) -> Self {
        Self { most, left: most }
    }

    /// The JSON object `text`.
    ///
    /// # Errors
    /// [`serde_json::Error`] if it is none, or has more values.
    pub(super) fn object(mut self, text: &[u8]) -> serde_json::Result<Map<String, Value>> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let object = deserializer.deserialize_map(ObjectVisitor(&mut self))?;
        deserializer.end()?;
        Ok(object)
    }
}

impl<'de> DeserializeSeed<'de> for &mut ValueBudget {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.checked_sub(1);
        let most = self.most;
        self.left = left
            .ok_or_else(|| D::Error::custom(format_args!("there are more than {most} values")))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut ValueBudget {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(&mut *self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Value, A::Error> {
        ObjectVisitor(self).visit_map(object).map(Value::Object)
    }
}

/// An object, whose members count.
struct ObjectVisitor<'a>(&'a mut ValueBudget);

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Map<String, Value>, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key()? {
            members.insert(name, object.next_value_seed(&mut *self.0)?);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, most: usize) -> Result<Value, String> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = ValueBudget::of(most).deserialize(&mut deserializer);
        value.map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read_as_they_are_without_a_budget() {
        let text = r#"{"a":[1,-1,0.5,"b\n",true,null,{}],"c":[],"a":{"d":18446744073709551615}}"#;
        assert_eq!(read(text, 100).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn each_value_of_lists_and_objects_counts() {
        for (text, values) in [("1", 1), ("[]", 1), ("[1,2]", 3), (r#"{"a":[1],"b":{}}"#, 4)] {
            assert!(read(text, values).is_ok(), "{text}");
            let error = read(text, values - 1).unwrap_err();
            let expected = format!("there are more than {} values", values - 1);
            assert!(error.starts_with(&expected), "{text}: {error}");
        }
    }
}
