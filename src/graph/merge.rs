//! Merging an entity's content when it is stored again.
//!
//! Pure: it knows objects by their fields and writes into a sink, so the same code runs over jsonb in the server and over
//! plain values in tests.

/// The content's key that is merged deep.
const ENTITY_DATA: &str = "entity_data";
/// How often the entity was stored again.
const UPDATE_COUNT: &str = "update_count";
/// When it last was.
const LAST_UPDATED: &str = "last_updated";

/// An object as something to read.
pub trait Object<'a>: Copy {
    type Value: Copy;

    fn field(self, key: &str) -> Option<Self::Value>;

    /// Each key once.
    fn fields(self) -> impl Iterator<Item = (&'a str, Self::Value)>;

    fn as_object(value: Self::Value) -> Option<Self>;

    /// A whole number of at least 0; None for anything else.
    fn as_count(value: Self::Value) -> Option<i64>;
}

/// An object as something to write. Each key comes once, right before its value.
pub trait Sink<'a, V> {
    fn begin(&mut self);
    fn end(&mut self);
    fn key(&mut self, key: &'a str);
    fn value(&mut self, value: V);
    fn number(&mut self, number: i64);
    fn text(&mut self, text: &'a str);
}

/// The content of an entity that is new: as given, with update_count 0 and last_updated.
pub fn first<'a, O: Object<'a>>(content: O, now: &'a str, sink: &mut impl Sink<'a, O::Value>) {
    sink.begin();
    for (key, value) in content.fields() {
        if key != UPDATE_COUNT && key != LAST_UPDATED {
            sink.key(key);
            sink.value(value);
        }
    }
    sink.key(UPDATE_COUNT);
    sink.number(0);
    sink.key(LAST_UPDATED);
    sink.text(now);
    sink.end();
}

/// The content of an entity that was stored before. `new` comes from `first` (or from merging several such): it stands for
/// `stores` stores. entity_data is merged deep, of the other keys new wins, update_count grows by `stores`.
pub fn again<'a, O: Object<'a>>(old: O, new: O, stores: i64, sink: &mut impl Sink<'a, O::Value>) {
    let count = old.field(UPDATE_COUNT).and_then(O::as_count).unwrap_or(0);
    sink.begin();
    for (key, value) in old.fields() {
        if new.field(key).is_none() && key != UPDATE_COUNT {
            sink.key(key);
            sink.value(value);
        }
    }
    for (key, value) in new.fields() {
        if key == UPDATE_COUNT {
            continue;
        }
        sink.key(key);
        let before = old.field(key).filter(|_| key == ENTITY_DATA);
        match (before.and_then(O::as_object), O::as_object(value)) {
            (Some(old), Some(new)) => deep(old, new, sink),
            _ => sink.value(value),
        }
    }
    sink.key(UPDATE_COUNT);
    sink.number(count.saturating_add(stores));
    sink.end();
}

/// Whether storing `new` after `old` can be told from storing their merger. It can where new brings an object for what is
/// none in old: over an older object, old would have replaced it first.
pub fn hides<'a, O: Object<'a>>(old: O, new: O) -> bool {
    match (old.field(ENTITY_DATA), new.field(ENTITY_DATA)) {
        (Some(old), Some(new)) => hides_value::<O>(old, new),
        _ => false,
    }
}

fn hides_value<'a, O: Object<'a>>(old: O::Value, new: O::Value) -> bool {
    match (O::as_object(old), O::as_object(new)) {
        (Some(old), Some(new)) => new
            .fields()
            .any(|(key, newer)| old.field(key).is_some_and(|value| hides_value::<O>(value, newer))),
        (None, Some(_)) => true,
        _ => false,
    }
}

/// Two objects, key by key at the top; new wins.
pub fn flat<'a, O: Object<'a>>(old: O, new: O, sink: &mut impl Sink<'a, O::Value>) {
    sink.begin();
    for (key, value) in old.fields() {
        if new.field(key).is_none() {
            sink.key(key);
            sink.value(value);
        }
    }
    for (key, value) in new.fields() {
        sink.key(key);
        sink.value(value);
    }
    sink.end();
}

/// Key by key, objects inside objects alike; everything else (arrays too) is replaced by the new.
fn deep<'a, O: Object<'a>>(old: O, new: O, sink: &mut impl Sink<'a, O::Value>) {
    sink.begin();
    for (key, value) in old.fields() {
        match new.field(key) {
            None => {
                sink.key(key);
                sink.value(value);
            }
            Some(newer) => {
                sink.key(key);
                match (O::as_object(value), O::as_object(newer)) {
                    (Some(old), Some(new)) => deep(old, new, sink),
                    _ => sink.value(newer),
                }
            }
        }
    }
    for (key, value) in new.fields() {
        if old.field(key).is_none() {
            sink.key(key);
            sink.value(value);
        }
    }
    sink.end();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    impl<'a> Object<'a> for &'a Map<String, Value> {
        type Value = &'a Value;

        fn field(self, key: &str) -> Option<&'a Value> {
            self.get(key)
        }

        fn fields(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
            self.iter().map(|(key, value)| (key.as_str(), value))
        }

        fn as_object(value: &'a Value) -> Option<Self> {
            value.as_object()
        }

        fn as_count(value: &'a Value) -> Option<i64> {
            value.as_i64().filter(|count| *count >= 0)
        }
    }

    /// Objects that are open, each with the key that it will stand under.
    #[derive(Default)]
    struct Tree {
        open: Vec<(Option<String>, Map<String, Value>)>,
        key: Option<String>,
        whole: Option<Value>,
    }

    impl Tree {
        fn put(&mut self, value: Value) {
            let key = self.key.take().expect("a key comes before its value");
            let before = self.open.last_mut().expect("inside an object").1.insert(key, value);
            assert!(before.is_none(), "each key once");
        }
    }

    impl<'a> Sink<'a, &'a Value> for Tree {
        fn begin(&mut self) {
            self.open.push((self.key.take(), Map::new()));
        }
        fn end(&mut self) {
            let (key, map) = self.open.pop().unwrap();
            if self.open.is_empty() {
                self.whole = Some(Value::Object(map));
            } else {
                self.key = key;
                self.put(Value::Object(map));
            }
        }
        fn key(&mut self, key: &'a str) {
            self.key = Some(key.to_owned());
        }
        fn value(&mut self, value: &'a Value) {
            self.put(value.clone());
        }
        fn number(&mut self, number: i64) {
            self.put(json!(number));
        }
        fn text(&mut self, text: &'a str) {
            self.put(json!(text));
        }
    }

    fn stored(content: &Value, now: &str) -> Value {
        let mut tree = Tree::default();
        first(content.as_object().unwrap(), now, &mut tree);
        tree.whole.unwrap()
    }

    fn merged(old: &Value, new: &Value, stores: i64) -> Value {
        let mut tree = Tree::default();
        again(old.as_object().unwrap(), new.as_object().unwrap(), stores, &mut tree);
        tree.whole.unwrap()
    }

    #[test]
    fn a_new_entity_was_updated_never() {
        let content = json!({"entity_id": "1", "update_count": 7, "last_updated": "long ago"});
        let expected = json!({"entity_id": "1", "update_count": 0, "last_updated": "now"});
        assert_eq!(stored(&content, "now"), expected);
    }

    #[test]
    fn entity_data_merges_deep_and_other_keys_are_replaced() {
        let old = json!({"entity_data": {"a": {"b": 1, "c": [1, 2]}, "d": 1}, "other": {"x": 1}, "kept": 1,
                         "update_count": 3, "last_updated": "then"});
        let new = json!({"entity_data": {"a": {"c": [3], "e": 2}, "d": {"f": 1}}, "other": {"y": 2},
                         "update_count": 0, "last_updated": "now"});
        let expected = json!({"entity_data": {"a": {"b": 1, "c": [3], "e": 2}, "d": {"f": 1}}, "other": {"y": 2},
                              "kept": 1, "update_count": 4, "last_updated": "now"});
        assert_eq!(merged(&old, &new, 1), expected);
    }

    #[test]
    fn entity_data_that_is_no_object_is_replaced() {
        for (old, new) in [(json!([1]), json!({"a": 1})), (json!({"a": 1}), Value::Null)] {
            let merged = merged(&json!({ "entity_data": old }), &json!({ "entity_data": new }), 1);
            assert_eq!(merged["entity_data"], new);
        }
    }

    #[test]
    fn an_object_over_a_scalar_hides_what_was_before() {
        let hides = |old: Value, new: Value| super::hides(old.as_object().unwrap(), new.as_object().unwrap());
        assert!(hides(
            json!({"entity_data": {"a": 1}}),
            json!({"entity_data": {"a": {}}})
        ));
        assert!(hides(json!({"entity_data": 1}), json!({"entity_data": {}})));
        assert!(!hides(
            json!({"entity_data": {"a": {}}}),
            json!({"entity_data": {"a": 1}})
        ));
        assert!(!hides(json!({"a": 1}), json!({"a": {}, "entity_data": {}})));
    }

    #[test]
    fn a_count_that_is_none_starts_anew() {
        for count in [json!("x"), json!(-1), json!(0.5), Value::Null] {
            assert_eq!(
                merged(&json!({ "update_count": count }), &json!({}), 2)["update_count"],
                2
            );
        }
        assert_eq!(
            merged(&json!({"update_count": i64::MAX}), &json!({}), 1)["update_count"],
            i64::MAX
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i8>().prop_map(|n| json!(n)),
            "[a-c]".prop_map(|s| json!(s))
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                object(inner),
            ]
        })
    }

    fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", value, 0..5).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    /// Content, mostly with entity_data and mostly an object.
    fn content() -> impl Strategy<Value = Value> {
        let data = prop_oneof![4 => object(value()).prop_map(Some), 1 => value().prop_map(Some), 1 => Just(None)];
        (object(value()), data).prop_map(|(mut content, data)| {
            if let Some(data) = data {
                content["entity_data"] = data;
            }
            content
        })
    }

    /// What deep merging means, said another way.
    fn deep_model(old: &Value, new: &Value) -> Value {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                let mut all = old.clone();
                for (key, value) in new {
                    let merged = old.get(key).map_or(value.clone(), |before| deep_model(before, value));
                    all.insert(key.clone(), merged);
                }
                Value::Object(all)
            }
            _ => new.clone(),
        }
    }

    proptest! {
        #[test]
        fn merging_is_what_the_contract_says(old in content(), new in content()) {
            let merged = merged(&stored(&old, "then"), &stored(&new, "now"), 1);
            let mut expected = stored(&old, "then");
            for (key, value) in new.as_object().unwrap() {
                let before = &old[key];
                expected[key] = if key == "entity_data" { deep_model(before, value) } else { value.clone() };
            }
            expected["update_count"] = json!(1);
            expected["last_updated"] = json!("now");
            prop_assert_eq!(merged, expected);
        }

        /// Folding a batch first, then merging it, is storing its elements one by one, unless it hides something.
        #[test]
        fn merging_is_associative(a in content(), b in content(), c in content()) {
            let (a, b, c) = (stored(&a, "1"), stored(&b, "2"), stored(&c, "3"));
            prop_assume!(!hides(b.as_object().unwrap(), c.as_object().unwrap()));
            prop_assert_eq!(merged(&merged(&a, &b, 1), &c, 1), merged(&a, &merged(&b, &c, 1), 2));
        }
    }
}
