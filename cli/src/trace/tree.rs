//! A trace for a person: a line a message, below what brought it about.

use std::io::Write;

use ambrosia_host::without_controls;
use serde_json::Value;

use super::span::{Answer, Span};
use crate::style::{Style, Tone};

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 160;

pub(super) fn print(out: &mut impl Write, spans: &[Span], style: Style) -> std::io::Result<()> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    for span in spans {
        if let Some(parent) = span.parent {
            children[parent].push(span.number);
        }
    }
    children.iter_mut().for_each(|of| of.sort_by_key(|child| (spans[*child].time, *child)));
    // Each with what stands in front of it, and of those below it. A trace may be deep.
    let mut open = vec![(0, String::new(), String::new())];
    while let Some((number, own, below)) = open.pop() {
        let Some(span) = spans.get(number) else { break };
        let since = seconds(spans[0].time.0, span.time.0);
        writeln!(out, "{} {own}{}", style.paint(Tone::Aside, format!("{since:>10}")), line(span, style))?;
        for (at, child) in children[number].iter().enumerate().rev() {
            let (here, further) =
                if at + 1 == children[number].len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            open.push((*child, format!("{below}{here}"), format!("{below}{further}")));
        }
    }
    Ok(())
}

fn line(span: &Span, style: Style) -> String {
    let place = span.place.map(|place| format!(" {}.{}", place.lsn, place.index)).unwrap_or_default();
    let place = style.paint(Tone::Place, format!("{}{place}", span.instance));
    let mut line = format!("{place}  {}", style.paint(Tone::Method, without_controls(&span.title())));
    if span.arguments != Value::Null {
        line += &format!(" {}", shortened(&span.arguments));
    }
    if let Some(request) = &span.request {
        line += &format!(", request {}", without_controls(request));
    }
    if let Some(traceparent) = &span.traceparent {
        line += &format!(", traceparent {traceparent}");
    }
    if let Some(Answer { time, value, success, .. }) = &span.answer {
        let after = style.paint(Tone::Aside, format!("after {}", seconds(span.time.0, time.0).trim_start_matches('+')));
        let value = shortened(value);
        let value = if *success { value } else { style.paint(Tone::Fault, format!("failed: {value}")) };
        line += &format!(" → {value} {after}");
    }
    if let Some(note) = &span.note {
        line += &format!(" {}", style.paint(Tone::Fault, format!("({note})")));
    }
    line
}

/// From a time to a later one, with microseconds.
fn seconds(from: u64, to: u64) -> String {
    let micros = to.saturating_sub(from) / 1000;
    format!("+{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    let text = without_controls(&text);
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_core::{Lsn, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::trace::span::Place;

    fn span(number: usize, parent: Option<usize>, lsn: u64, micros: u64) -> Span {
        Span {
            number,
            parent,
            instance: "shop".to_owned(),
            uuid: None,
            place: Some(Place { lsn: Lsn(lsn), index: 0 }),
            time: Timestamp(micros * 1000),
            kind: "call".to_owned(),
            source: "outside".to_owned(),
            method: Some("order".to_owned()),
            call_id: None,
            request: None,
            traceparent: None,
            arguments: json!(["tea"]),
            answer: None,
            note: None,
        }
    }

    #[test]
    fn each_message_stands_below_what_brought_it_about() {
        let answer = Answer { lsn: Lsn(9), time: Timestamp(2_500_000), value: json!(3), success: true };
        let spans = [
            Span {
                request: Some("r1".to_owned()),
                traceparent: Some("00-1-2-01".to_owned()),
                answer: Some(answer),
                ..span(0, None, 3, 1000)
            },
            Span { place: None, note: Some("was not delivered".to_owned()), ..span(1, Some(0), 0, 1000) },
            span(2, Some(0), 4, 1001),
            Span { arguments: Value::Null, kind: "reply".to_owned(), method: None, ..span(3, Some(1), 5, 2_001_000) },
        ];
        let mut out = Vec::new();
        print(&mut out, &spans, Style::plain()).expect("memory takes all");
        let wanted = " +0.000000 shop 3.0  call order [\"tea\"], request r1, traceparent 00-1-2-01 → 3 after 0.001500
 +0.000000 ├─ shop  call order [\"tea\"] (was not delivered)
 +2.000000 │  └─ shop 5.0  reply
 +0.000001 └─ shop 4.0  call order [\"tea\"]
";
        assert_eq!(String::from_utf8(out).expect("text"), wanted);
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        let shown = shortened(&json!("ä".repeat(1000)));
        assert_eq!(shown, format!("\"{}…", "ä".repeat(VALUE_CHARS_MAX - 1)));
    }
}
