//! Parses queries, with one function per grammar rule.

use crate::{
    QueryError,
    field::Field,
    syntax::{Condition, Expression, Operator, Path, Subject, Value, Word, is_keyword, is_of_name},
};

/// The maximum nesting depth of parentheses, which bounds the stack.
pub const MAX_DEPTH: usize = 50;

pub fn parse(text: &str) -> Result<Expression, QueryError> {
    let mut parser = Parser { rest: text.trim_start(), depth: 0 };
    if parser.rest.is_empty() {
        return Ok(Expression::default());
    }
    let query = parser.either()?;
    if parser.rest.is_empty() { Ok(query) } else { Err(QueryError::ClosingParenthesis) }
}

/// The unparsed text. `rest` starts with white space only directly before an operator.
struct Parser<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn either(&mut self) -> Result<Expression, QueryError> {
        let mut parts = vec![self.all()?];
        while self.takes_keyword("or") {
            parts.push(self.all()?);
        }
        Ok(Expression::either(parts))
    }

    fn all(&mut self) -> Result<Expression, QueryError> {
        let mut parts = vec![self.item()?];
        loop {
            let is_joined = self.takes_keyword("and");
            if !is_joined && (self.is_at_end() || self.keyword("or").is_some()) {
                return Ok(Expression::all(parts));
            }
            parts.push(self.item()?);
        }
    }

    fn item(&mut self) -> Result<Expression, QueryError> {
        let mut is_negated = false;
        while self.takes_keyword("not") || self.takes_minus() {
            is_negated = !is_negated;
        }
        let item = self.primary()?;
        Ok(if is_negated { item.not() } else { item })
    }

    fn primary(&mut self) -> Result<Expression, QueryError> {
        if self.is_at_end() {
            return Err(QueryError::Nothing("behind `(`, `and`, `or` or `not`"));
        }
        if ["and", "or"].iter().any(|keyword| self.keyword(keyword).is_some()) {
            return Err(QueryError::Nothing("before `and` or `or`"));
        }
        if let Some(rest) = self.rest.strip_prefix('(') {
            return self.enclosed(rest);
        }
        if self.rest.starts_with('"') {
            let word = self.quoted()?;
            if operator(self.rest).is_some() || self.rest.starts_with('.') {
                return Err(QueryError::QuotedName);
            }
            self.skip_space();
            return if word.is_empty() { Err(QueryError::Empty) } else { Ok(Expression::Word(Word::new(&word))) };
        }
        if let Some(condition) = self.condition()? {
            return Ok(Expression::Condition(condition));
        }
        let word = self.bare();
        match operator(word) {
            Some((operator, "")) => Err(QueryError::LoneOperator(operator)),
            _ => Ok(Expression::Word(Word::new(word))),
        }
    }

    fn enclosed(&mut self, rest: &'t str) -> Result<Expression, QueryError> {
        if self.depth == MAX_DEPTH {
            return Err(QueryError::TooDeep);
        }
        self.depth += 1;
        self.rest = rest.trim_start();
        let expression = self.either()?;
        self.rest = self.rest.strip_prefix(')').ok_or(QueryError::OpenParenthesis)?;
        self.skip_space();
        self.depth -= 1;
        Ok(expression)
    }

    /// Parses a condition, if a path and an operator are next.
    fn condition(&mut self) -> Result<Option<Condition>, QueryError> {
        let begin = self.rest;
        let Some(path) = self.path()? else { return Ok(None) };
        let spaced = self.rest.trim_start();
        let is_spaced = spaced.len() < self.rest.len();
        let operator = operator(spaced).filter(|(operator, _)| !(is_spaced && *operator == Operator::Is));
        // `http://` starts a word.
        let Some((operator, rest)) =
            operator.filter(|(operator, rest)| *operator != Operator::Is || !rest.starts_with("//"))
        else {
            self.rest = begin;
            return Ok(None);
        };
        let subject = subject(path)?;
        self.rest = if operator == Operator::Is { rest } else { rest.trim_start() };
        if self.rest.is_empty() || self.rest.starts_with(|next: char| next == ')' || next.is_whitespace()) {
            return Err(QueryError::NoValue { subject: subject.to_string(), operator });
        }
        let value = self.value(operator)?;
        Condition::new(subject, operator, value).map(Some)
    }

    /// Parses a path, if one is next.
    fn path(&mut self) -> Result<Option<Path>, QueryError> {
        let begin = self.rest;
        let is_own = begin.starts_with('.');
        let is_path = is_own || begin.starts_with(|first: char| first.is_alphabetic() || first == '_');
        let mut names = Vec::new();
        self.rest = begin.strip_prefix('.').unwrap_or(begin);
        while let Some(name) = if is_path { self.name()? } else { None } {
            names.push(name);
            match self.rest.strip_prefix('.') {
                Some(rest) => self.rest = rest,
                None => return Ok(Some(Path { is_own, names })),
            }
        }
        self.rest = begin;
        Ok(None)
    }

    fn name(&mut self) -> Result<Option<String>, QueryError> {
        if self.rest.starts_with('"') {
            return self.quoted().map(Some);
        }
        let end = self.rest.find(|character| !is_of_name(character)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
    }

    fn value(&mut self, operator: Operator) -> Result<Value, QueryError> {
        let takes_prefix = operator == Operator::Is;
        if !self.rest.starts_with('"') {
            let text = self.bare();
            let prefix = text.strip_suffix('*').filter(|_| takes_prefix);
            return Ok(Value { text: prefix.unwrap_or(text).to_owned(), is_prefix: prefix.is_some() });
        }
        let text = self.quoted()?;
        let prefix = self.rest.strip_prefix('*').filter(|_| takes_prefix);
        self.rest = prefix.unwrap_or(self.rest);
        self.skip_space();
        Ok(Value { text, is_prefix: prefix.is_some() })
    }

    /// Takes the text up to white space or an unmatched `)`, and skips the white space.
    fn bare(&mut self) -> &'t str {
        let mut open = 0_usize;
        let end = self.rest.find(|character: char| {
            open += usize::from(character == '(');
            let is_over = character.is_whitespace() || character == ')' && open == 0;
            open -= usize::from(character == ')' && !is_over);
            is_over
        });
        let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        text
    }

    /// Parses quoted text, but does not skip white space after it.
    fn quoted(&mut self) -> Result<String, QueryError> {
        let (begin, mut text) = (self.rest, String::new());
        let mut characters = begin.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &begin[at + 1..];
                    return Ok(text);
                }
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => text.push(character),
            }
        }
        Err(QueryError::OpenQuote(text))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty() || self.rest.starts_with(')')
    }

    /// Returns the text after `keyword`, if the keyword is next.
    fn keyword(&self, keyword: &str) -> Option<&'t str> {
        let end = self.rest.find(|character| !is_of_name(character)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let is_whole = rest.is_empty() || rest.starts_with(|next: char| "()\"".contains(next) || next.is_whitespace());
        (is_whole && is_keyword(word) && word.eq_ignore_ascii_case(keyword)).then_some(rest)
    }

    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let rest = self.keyword(keyword);
        self.rest = rest.unwrap_or(self.rest).trim_start();
        rest.is_some()
    }

    /// Takes a `-` that directly precedes something it can negate. Any other `-`, such as in `->` or `--all`, belongs
    /// to a word.
    fn takes_minus(&mut self) -> bool {
        let begins_item = |next: char| next.is_alphanumeric() || "_.(\"".contains(next);
        let rest = self.rest.strip_prefix('-').filter(|rest| rest.starts_with(begins_item));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

/// Returns the operator that a string starts with, and the rest.
fn operator(text: &str) -> Option<(Operator, &str)> {
    Operator::ALL.iter().find_map(|(operator, name)| Some((*operator, text.strip_prefix(name)?)))
}

fn subject(path: Path) -> Result<Subject, QueryError> {
    let first = path.names.first().map_or("", String::as_str);
    if !path.is_own {
        if let (Some(field), 1) = (Field::named(first), path.names.len()) {
            return Ok(Subject::Field(field));
        }
        if !Field::MEMBERS.contains(&first) {
            return Err(QueryError::UnknownField { name: first.to_owned() });
        }
    }
    Ok(Subject::Member(path))
}
