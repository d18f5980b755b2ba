//! Drawings of a part of the graph, as text for Graphviz and for Mermaid.
//!
//! Labels are users' text: whatever they hold, they stay labels. They are cleaned (no controls, nothing that turns the direction of
//! writing, no line breaks), cut, and escaped for the language they are written into.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::ground::Node;

/// How many characters a label has at most.
const LONGEST: usize = 40;

/// What a label ends with where it was cut.
const CUT: &str = "...";

/// How many lines are written between two pauses.
const PAUSE: usize = 4096;

/// A node as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drawn {
    pub depth: u32,
    pub node: Node,
    pub label: String,
    pub context_type: String,
}

/// An edge as it is drawn, from one place among the boxes to another.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct Arrow {
    pub from: u32,
    pub to: u32,
    pub kind: String,
    pub strength: f32,
}

/// What is drawn, in the order in which it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawing {
    pub boxes: Vec<Drawn>,
    pub arrows: Vec<Arrow>,
}

/// A label: the first of the texts that has something to show.
pub fn label(texts: &[Option<&str>]) -> String {
    let shown = texts
        .iter()
        .flatten()
        .map(|text| clean(text))
        .find(|text| !text.is_empty());
    shown.unwrap_or_else(|| "node".to_owned())
}

/// Without what is not shown as it stands, and at most 40 characters long.
fn clean(text: &str) -> String {
    let mut kept = Vec::with_capacity(LONGEST + 1);
    for character in text.chars() {
        match character {
            space if space.is_whitespace() || space.is_control() => {
                if kept.last().is_some_and(|last| *last != ' ') {
                    kept.push(' ');
                }
            }
            // Marks and overrides of the direction; what is not to be seen; what is no character.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {}
            other => kept.push(other),
        }
        // One more may be a space that goes.
        if kept.len() > LONGEST + 1 {
            break;
        }
    }
    if kept.last() == Some(&' ') {
        kept.pop();
    }
    if kept.len() <= LONGEST {
        return kept.into_iter().collect();
    }
    let start: String = kept[..LONGEST - CUT.len()].iter().collect();
    start.trim_end().to_owned() + CUT
}

/// A text, line by line.
struct Lines<'p> {
    text: String,
    lines: usize,
    pause: &'p mut dyn FnMut(),
}

impl Lines<'_> {
    fn push(&mut self, line: std::fmt::Arguments<'_>) {
        self.lines += 1;
        if self.lines.is_multiple_of(PAUSE) {
            (self.pause)();
        }
        self.text.write_fmt(line).expect("a String takes everything");
        self.text.push('\n');
    }
}

/// For Graphviz: one column per depth.
pub fn dot(drawing: &Drawing, pause: &mut dyn FnMut()) -> String {
    let mut lines = Lines {
        text: String::new(),
        lines: 0,
        pause,
    };
    lines.push(format_args!("digraph memory {{"));
    lines.push(format_args!("  graph [rankdir=LR, charset=\"UTF-8\"];"));
    lines.push(format_args!(
        "  node [shape=box, style=\"rounded,filled\", color=\"#666666\", fontname=\"Helvetica\", fontsize=11];"
    ));
    lines.push(format_args!(
        "  edge [color=\"#666666\", fontname=\"Helvetica\", fontsize=9];"
    ));
    for (i, drawn) in drawing.boxes.iter().enumerate() {
        if i == 0 || drawing.boxes[i - 1].depth != drawn.depth {
            lines.push(format_args!("  {{ rank=same;"));
        }
        lines.push(format_args!(
            "    n{i} [label=\"{}\", fillcolor=\"{}\", penwidth={}, tooltip=\"{}\", id=\"{}\"];",
            in_dot(&drawn.label),
            colour(&drawn.context_type),
            if drawn.depth == 0 { 2 } else { 1 },
            in_dot(&clean(&drawn.context_type)),
            uuid::Uuid::from_u128(drawn.node)
        ));
        if drawing.boxes.get(i + 1).is_none_or(|next| next.depth != drawn.depth) {
            lines.push(format_args!("  }}"));
        }
    }
    let depth = |place: u32| drawing.boxes[place as usize].depth;
    for arrow in &drawing.arrows {
        // Graphviz ranks by its edges: written from the lesser depth to the greater, whichever way they point.
        let (tail, head, back) = if depth(arrow.from) > depth(arrow.to) {
            (arrow.to, arrow.from, ", dir=back")
        } else {
            (arrow.from, arrow.to, "")
        };
        lines.push(format_args!(
            "  n{tail} -> n{head} [label=\"{}\", penwidth={:.2}{back}];",
            in_dot(&clean(&arrow.kind)),
            width(arrow.strength)
        ));
    }
    lines.push(format_args!("}}"));
    lines.text
}

/// For Mermaid, which places nodes itself.
pub fn mermaid(drawing: &Drawing, pause: &mut dyn FnMut()) -> String {
    let mut lines = Lines {
        text: String::new(),
        lines: 0,
        pause,
    };
    lines.push(format_args!("flowchart LR"));
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    for drawn in &drawing.boxes {
        classes.insert(&drawn.context_type, 0);
    }
    for (number, (context_type, class)) in classes.iter_mut().enumerate() {
        *class = number;
        lines.push(format_args!(
            "  classDef c{number} fill:{},stroke:#666666,color:#000000",
            colour(context_type)
        ));
    }
    for (i, drawn) in drawing.boxes.iter().enumerate() {
        let class = classes[drawn.context_type.as_str()];
        lines.push(format_args!("  n{i}[\"{}\"]:::c{class}", in_mermaid(&drawn.label)));
    }
    let mut widths: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (i, arrow) in drawing.arrows.iter().enumerate() {
        lines.push(format_args!(
            "  n{} -->|\"{}\"| n{}",
            arrow.from,
            in_mermaid(&clean(&arrow.kind)),
            arrow.to
        ));
        let width = format!("{:.2}", width(arrow.strength));
        widths.entry(width).or_default().push(i.to_string());
    }
    for (width, arrows) in &widths {
        lines.push(format_args!("  linkStyle {} stroke-width:{width}px", arrows.join(",")));
    }
    lines.text
}

/// As a quoted string of DOT has it. A backslash would begin an escape such as \N (the node's name), an ampersand an entity.
fn in_dot(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '&' => escaped.push_str("&amp;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// As a quoted string of Mermaid has it: of ASCII only what means nothing to it, to Markdown or to HTML; the rest by number.
fn in_mermaid(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            plain if plain.is_ascii_alphanumeric() || !plain.is_ascii() => escaped.push(plain),
            ' ' | ',' | '_' | '/' | '(' | ')' | '?' | '!' => escaped.push(character),
            other => write!(escaped, "#{};", u32::from(other)).expect("a String takes everything"),
        }
    }
    escaped
}

/// From 0.4 for a strength of 0 to 2 for 1.
fn width(strength: f32) -> f32 {
    0.4 + 1.6 * strength
}

/// A light colour, the same for a context type in every drawing.
fn colour(context_type: &str) -> String {
    let known = match context_type {
        "search_result" => "#fff3bf",
        "user_selection" => "#ffd8a8",
        "tool_output" => "#e9ecef",
        "domain_entity" => "#cfe8ff",
        "completed_action" => "#d3f9d8",
        "conversation_fact" => "#e5dbff",
        "temporary_state" => "#ffe3e3",
        "knowledge_atom" => "#c5f6fa",
        other => return hue(other),
    };
    known.to_owned()
}

/// A colour for a word that an operator added: its hue by the FNV-1a hash of the word.
fn hue(word: &str) -> String {
    let hash = word.bytes().fold(0x811c_9dc5u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let sixth = f64::from(hash % 360) / 60.0;
    let channel = |shift: f64| {
        let k = (shift + sixth) % 6.0;
        let value = 1.0 - 0.3 * k.min(4.0 - k).clamp(0.0, 1.0);
        (value * 255.0).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", channel(5.0), channel(3.0), channel(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxed(depth: u32, label: &str, context_type: &str) -> Drawn {
        Drawn {
            depth,
            node: u128::from(depth),
            label: super::label(&[Some(label)]),
            context_type: context_type.to_owned(),
        }
    }

    fn arrow(from: u32, to: u32, kind: &str, strength: f32) -> Arrow {
        Arrow {
            from,
            to,
            kind: kind.to_owned(),
            strength,
        }
    }

    fn drawing() -> Drawing {
        Drawing {
            boxes: vec![
                boxed(0, "Ann, \"the\" customer", "domain_entity"),
                boxed(1, "a\\N & <b>", "x"),
            ],
            arrows: vec![arrow(0, 1, "led_to", 1.0), arrow(1, 0, "relates_to", 0.0)],
        }
    }

    #[test]
    fn a_drawing_for_graphviz() {
        let expected = concat!(
            "digraph memory {\n",
            "  graph [rankdir=LR, charset=\"UTF-8\"];\n",
            "  node [shape=box, style=\"rounded,filled\", color=\"#666666\", fontname=\"Helvetica\", fontsize=11];\n",
            "  edge [color=\"#666666\", fontname=\"Helvetica\", fontsize=9];\n",
            "  { rank=same;\n",
            "    n0 [label=\"Ann, \\\"the\\\" customer\", fillcolor=\"#cfe8ff\", penwidth=2, tooltip=\"domain_entity\", ",
            "id=\"00000000-0000-0000-0000-000000000000\"];\n",
            "  }\n",
            "  { rank=same;\n",
            "    n1 [label=\"a\\\\N &amp; <b>\", fillcolor=\"#b3ffc6\", penwidth=1, tooltip=\"x\", ",
            "id=\"00000000-0000-0000-0000-000000000001\"];\n",
            "  }\n",
            "  n0 -> n1 [label=\"led_to\", penwidth=2.00];\n",
            "  n0 -> n1 [label=\"relates_to\", penwidth=0.40, dir=back];\n",
            "}\n",
        );
        assert_eq!(dot(&drawing(), &mut || ()), expected);
    }

    #[test]
    fn a_drawing_for_mermaid() {
        let expected = concat!(
            "flowchart LR\n",
            "  classDef c0 fill:#cfe8ff,stroke:#666666,color:#000000\n",
            "  classDef c1 fill:#b3ffc6,stroke:#666666,color:#000000\n",
            "  n0[\"Ann, #34;the#34; customer\"]:::c0\n",
            "  n1[\"a#92;N #38; #60;b#62;\"]:::c1\n",
            "  n0 -->|\"led_to\"| n1\n",
            "  n1 -->|\"relates_to\"| n0\n",
            "  linkStyle 1 stroke-width:0.40px\n",
            "  linkStyle 0 stroke-width:2.00px\n",
        );
        assert_eq!(mermaid(&drawing(), &mut || ()), expected);
    }

    #[test]
    fn a_label_is_the_first_text_with_something_to_show_cut_at_40_characters() {
        assert_eq!(
            label(&[None, Some(" \n\u{202e}\u{200b}"), Some("b\n\tc\u{0}d ")]),
            "b c d"
        );
        assert_eq!(label(&[None, Some("")]), "node");
        assert_eq!(label(&[Some(&"é".repeat(40))]), "é".repeat(40));
        assert_eq!(label(&[Some(&("é".repeat(40) + "  "))]), "é".repeat(40));
        assert_eq!(label(&[Some(&"é".repeat(41))]), "é".repeat(37) + "...");
        assert_eq!(
            label(&[Some(&("é".repeat(36) + " and more of it"))]),
            "é".repeat(36) + "..."
        );
    }

    /// What stands between quotes, with `\"` and `\\` as DOT has them; the rest of the text with each string as `""`.
    fn strings_of_dot(text: &str) -> (Vec<String>, String) {
        let (mut strings, mut rest, mut inside) = (Vec::new(), String::new(), None::<String>);
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match (&mut inside, character) {
                (Some(string), '\\') => string.push(characters.next().unwrap()),
                (Some(_), '"') => strings.extend(inside.take()),
                (Some(string), other) => string.push(other),
                (None, '"') => {
                    inside = Some(String::new());
                    rest.push_str("\"\"");
                }
                (None, other) => rest.push(other),
            }
        }
        assert!(inside.is_none());
        (strings, rest)
    }

    proptest! {
        #[test]
        fn a_label_is_nothing_but_a_label(text in any::<String>(), more in "[\"\\\\<>{}|;#%&\n`:a-]{0,60}") {
            let plain = Drawing { boxes: vec![boxed(0, "x", "x")], arrows: vec![] };
            for text in [text, more] {
                let hostile = Drawing { boxes: vec![boxed(0, &text, "x")], arrows: vec![] };
                let label = &hostile.boxes[0].label;
                prop_assert!(label.chars().count() <= 40 && !label.contains(char::is_control));
                let (strings, rest) = strings_of_dot(&dot(&hostile, &mut || ()));
                prop_assert_eq!(rest, strings_of_dot(&dot(&plain, &mut || ())).1);
                prop_assert!(strings.iter().any(|string| string.replace("&amp;", "&") == *label));
                let written = mermaid(&hostile, &mut || ());
                let (start, end) = ("  n0[\"", "\"]:::c0");
                let line = written.lines().find(|line| line.starts_with(start)).unwrap();
                prop_assert_eq!(written.lines().count(), 3);
                let inner = &line[start.len()..line.len() - end.len()];
                let inert = !inner.contains(['"', '<', '>', '&', '%', '{', '}', '`', ':', '\\']);
                prop_assert!(line.ends_with(end) && inert, "{}", line);
            }
        }

        #[test]
        fn a_colour_is_light_and_the_same_again(word in any::<String>()) {
            let colour = colour(&word);
            prop_assert_eq!(colour.len(), 7);
            let least = (1..7).step_by(2).map(|i| u8::from_str_radix(&colour[i..i + 2], 16).unwrap()).min().unwrap();
            prop_assert!(least >= 0xa0);
        }
    }
}
