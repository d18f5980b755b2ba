use proptest::prelude::*;

use super::super::document::Text;
use super::super::query::Query;
use super::super::terms::Places;
use super::super::text::{self, Plain};
use super::*;

const LUCENE: Constants = Constants { k1: 1.2, b: 0.75 };

struct Texts<'a>(&'a [String]);

impl Phrases for Texts<'_> {
    fn held(&mut self, _: u32, terms: &Terms, documents: &[Document]) -> Vec<u64> {
        let held = |document: &Document| {
            let mut places = Places::default();
            text::read(
                &self.0[document.node as usize],
                &mut Plain,
                &mut || (),
                &mut |term, place, _| {
                    places.add(term, place);
                },
            );
            terms
                .all_phrases()
                .enumerate()
                .map(|(i, phrase)| u64::from(places.hold(phrase, &mut || ())) << i)
                .sum()
        };
        documents.iter().map(held).collect()
    }
}

/// The texts' numbers and scores, best first.
fn search(texts: &[String], query: &str, most_bytes: usize) -> Vec<(u128, f64)> {
    let terms = Terms::new(&Query::parse(query), &mut Plain, &mut || ());
    let mut index = Index::new([(1, terms)]);
    for (node, text) in texts.iter().enumerate() {
        for part in Text::new(Some(text.into())).parts(1, most_bytes, &mut Plain, &mut || ()) {
            index.visit("u", node as u128, &Part::read(&part).unwrap());
        }
    }
    let mut found: Vec<(u128, f64)> = index
        .score(LUCENE, &mut Texts(texts))
        .iter()
        .map(|scored| (scored.node, scored.score))
        .collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    found
}

fn numbers(texts: &[&str], query: &str) -> Vec<u128> {
    let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
    search(&texts, query, 2500)
        .into_iter()
        .map(|(number, _)| number)
        .collect()
}

#[test]
fn any_word_may_match_and_rare_ones_weigh_more() {
    let texts = ["cat dog", "cat", "dog dog", "fish cat", "bird"];
    assert_eq!(numbers(&texts, "bird cat"), [4, 1, 0, 3]);
    assert_eq!(numbers(&texts, "nothing the of"), []);
    assert_eq!(numbers(&texts, "dog"), [2, 0]);
}

#[test]
fn a_phrase_matches_as_a_whole() {
    let texts = [
        "new york city",
        "york is new",
        "new things",
        "pizza",
        "city of new york",
    ];
    assert_eq!(numbers(&texts, "\"new york\" pizza"), [3, 0, 4]);
    assert_eq!(numbers(&texts, "\"new\""), [2, 0, 1, 4]);
    assert_eq!(numbers(&texts, "\"city of new\""), [4]);
    assert_eq!(numbers(&texts, "\"the of\""), []);
}

#[test]
fn what_is_excluded_is_not_found() {
    let texts = ["jaguar cat", "jaguar car", "jaguar sports car", "jaguar car sports"];
    assert_eq!(numbers(&texts, "jaguar -car"), [0]);
    assert_eq!(numbers(&texts, "jaguar -\"sports car\""), [0, 1, 3]);
    assert_eq!(numbers(&texts, "jaguar -sports-car"), [0, 1, 3]);
    assert_eq!(numbers(&texts, "-jaguar"), []);
    assert_eq!(numbers(&texts, "jaguar -the"), [0, 1, 2, 3]);
}

#[test]
fn documents_of_other_languages_are_named_and_counted() {
    let mut index = Index::new([(1, Terms::new(&Query::parse("cat"), &mut Plain, &mut || ()))]);
    for (node, language) in [(1, 1), (2, 9), (3, 9)] {
        let parts = Text::new(Some("cat".into())).parts(language, 2500, &mut Plain, &mut || ());
        index.visit("u", node, &Part::read(&parts[0]).unwrap());
    }
    assert_eq!(index.unknown_languages(), [9]);
    assert_eq!((index.count, index.score(LUCENE, &mut Texts(&[])).len()), (3, 1));
}

#[test]
fn one_node_id_of_two_users_is_two_documents() {
    let mut index = Index::new([(1, Terms::new(&Query::parse("cat"), &mut Plain, &mut || ()))]);
    let part = &Text::new(Some("cat".into())).parts(1, 2500, &mut Plain, &mut || ())[0];
    for user in ["a", "b"] {
        index.visit(user, 5, &Part::read(part).unwrap());
    }
    let users: Vec<u32> = index
        .score(LUCENE, &mut Texts(&[]))
        .iter()
        .map(|scored| scored.user)
        .collect();
    assert_eq!(
        (&users[..], index.users()),
        (&[0, 1][..], &["a".to_owned(), "b".to_owned()][..])
    );
}

/// BM25 as the formula has it, from the texts.
fn model(texts: &[String], query: &[&str]) -> Vec<(u128, f64)> {
    let words = |text: &String| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let full: Vec<Vec<String>> = texts.iter().map(words).filter(|words| !words.is_empty()).collect();
    let count = full.len() as f64;
    let average = full.iter().map(|words| words.len() as f64).sum::<f64>() / count.max(1.0);
    let mut query = query.to_vec();
    query.sort_unstable();
    query.dedup();
    let mut scores = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let words = words(text);
        let mut score = 0.0;
        for term in &query {
            let holding = full
                .iter()
                .filter(|words| words.iter().any(|word| word == term))
                .count() as f64;
            let idf = (1.0 + (count - holding + 0.5) / (holding + 0.5)).ln();
            let tf = words.iter().filter(|word| word == term).count() as f64;
            let norm = LUCENE.k1 * (1.0 - LUCENE.b + LUCENE.b * words.len() as f64 / average.max(1.0));
            score += idf * tf * (LUCENE.k1 + 1.0) / (tf + norm);
        }
        if score > 0.0 {
            scores.push((number as u128, score));
        }
    }
    scores
}

proptest! {
    #[test]
    fn scores_are_the_formulas(
        texts in prop::collection::vec(prop::collection::vec("[a-e]{1,2}", 0..30).prop_map(|words| words.join(" ")), 0..12),
        query in prop::collection::vec("[a-e]{1,2}", 0..40),
        most_bytes in 16usize..200,
    ) {
        let mut expected = model(&texts, &query.iter().map(String::as_str).collect::<Vec<_>>());
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut found = search(&texts, &query.join(" "), most_bytes);
        prop_assert_eq!(found.len(), expected.len());
        // What is equal but for rounding may stand in another order.
        found.sort_by_key(|(number, _)| *number);
        expected.sort_by_key(|(number, _)| *number);
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert_eq!(found.0, expected.0);
            prop_assert!((found.1 - expected.1).abs() < 1e-9);
        }
    }
}
