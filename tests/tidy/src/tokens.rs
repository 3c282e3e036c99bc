//! Rust as a sequence of tokens, without comments.

/// A piece of a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// A name or keyword.
    Word(String),
    /// What stands between quotes.
    Text(String),
    /// Anything else; `->`, `=>` and `::` are one.
    Mark(&'static str),
}

impl Token {
    pub(crate) fn word(&self) -> Option<&str> {
        if let Token::Word(word) = self { Some(word) } else { None }
    }

    pub(crate) fn is(&self, mark: &str) -> bool {
        matches!(self, Token::Mark(found) if *found == mark)
    }
}

const MARKS: [&str; 28] = [
    "->", "=>", "::", "{", "}", "(", ")", "[", "]", "<", ">", ";", ",", ":", "#", "!", "&", "*", "=", "|", ".", "?",
    "+", "-", "/", "$", "@", "'",
];

/// The tokens of `source`. What it does not know is left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some((text, length)) = quoted(rest) {
            found.push(Token::Text(text));
            length
        } else if let Some(length) = character_or_lifetime(rest) {
            length
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            found.push(Token::Word(rest[..length].to_owned()));
            length
        } else if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            found.push(Token::Mark(mark));
            mark.len()
        } else {
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let left = &rest[at..];
        if left.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if left.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += left.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A string of any form at the front, with the bytes that it takes.
fn quoted(rest: &str) -> Option<(String, usize)> {
    let prefix = ["br", "b", "r", "c", ""].into_iter().find(|prefix| {
        let behind = rest.strip_prefix(prefix);
        behind.is_some_and(|behind| behind.starts_with('"') || (prefix.ends_with('r') && raw_hashes(behind).is_some()))
    })?;
    let behind = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = raw_hashes(behind)?;
        let end = format!("\"{}", "#".repeat(hashes));
        let begin = hashes + 1;
        let length = behind[begin..].find(&end).unwrap_or(behind.len() - begin);
        return Some((behind[begin..begin + length].to_owned(), prefix.len() + begin + length + end.len()));
    }
    let mut escaped = false;
    for (at, c) in behind.char_indices().skip(1) {
        if c == '"' && !escaped {
            return Some((behind[1..at].to_owned(), prefix.len() + at + 1));
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// How many `#` stand before the quote of a raw string.
fn raw_hashes(behind: &str) -> Option<usize> {
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    behind[hashes..].starts_with('"').then_some(hashes)
}

/// Bytes of a character or a lifetime at the front.
fn character_or_lifetime(rest: &str) -> Option<usize> {
    let behind = rest.strip_prefix("b'").or_else(|| rest.strip_prefix('\''))?;
    let prefix = rest.len() - behind.len();
    let mut chars = behind.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        let end = behind[2..].find('\'')? + 3;
        return Some(prefix + end);
    }
    let (second_at, second) = chars.next()?;
    if second == '\'' {
        return Some(prefix + second_at + 1);
    }
    let length = behind.find(|c| !is_word(c)).unwrap_or(behind.len());
    Some(prefix + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_beside_comments_strings_characters_and_lifetimes() {
        let source =
            "fn a<'x>(b: &'x str) -> u8 { /* c /* d */ e */ // f\n let g = 'h'; b\"i\\\"\" r#\"j\"k\"# '\\n' b'l' }";
        let words: Vec<_> = tokens(source).iter().filter_map(|token| token.word().map(str::to_owned)).collect();
        assert_eq!(words, ["fn", "a", "b", "str", "u8", "let", "g"]);
        let texts: Vec<_> = tokens(source)
            .into_iter()
            .filter_map(|token| if let Token::Text(text) = token { Some(text) } else { None })
            .collect();
        assert_eq!(texts, ["i\\\"", "j\"k"]);
    }
}
