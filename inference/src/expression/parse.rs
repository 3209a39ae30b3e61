//! From text to a tree, by recursive descent with a limit on depth.

use super::{Binary, Node, Unary};

const DEPTH_MAX: usize = 64;
const LENGTH_MAX: usize = 4096;

/// Why a text is no formula.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormulaError {
    #[error("it is longer than {LENGTH_MAX} characters")]
    TooLong,
    #[error("it is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("it ends where a value was expected")]
    Ends,
    #[error("it ends before a parenthesis is closed")]
    Open,
    #[error("at character {at}: {problem}")]
    At { at: usize, problem: String },
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Quoted(String),
    Symbol(&'static str),
}

/// Longer ones first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 14] = ["<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "^", "(", ")", ","];

pub(super) fn parse(text: &str, columns: &[String]) -> Result<Node, FormulaError> {
    if text.chars().count() > LENGTH_MAX {
        return Err(FormulaError::TooLong);
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, next: 0, columns, depth: 0 };
    let node = parser.comparison()?;
    match parser.peek() {
        None => Ok(node),
        Some((at, _)) => Err(wrong(*at, "expected an operator")),
    }
}

fn wrong(at: usize, problem: impl Into<String>) -> FormulaError {
    FormulaError::At { at, problem: problem.into() }
}

/// The tokens with the place (from 1) of their first character.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FormulaError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text[..text.len() - rest.len()].chars().count() + 1;
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (token, length) = token(rest, first, at)?;
        tokens.push((at, token));
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn token(rest: &str, first: char, at: usize) -> Result<(Token, usize), FormulaError> {
    if let Some(quoted) = rest.strip_prefix('`') {
        let end = quoted.find('`').ok_or_else(|| wrong(at, "the backquote is not closed"))?;
        return Ok((Token::Quoted(quoted[..end].to_owned()), end + 2));
    }
    if first.is_ascii_digit() || first == '.' {
        let length = number_length(rest);
        let number = rest[..length].parse::<f64>().ok().filter(|number| number.is_finite());
        let number = number.ok_or_else(|| wrong(at, format!("\"{}\" is no number", &rest[..length])))?;
        return Ok((Token::Number(number), length));
    }
    if first.is_alphabetic() || first == '_' {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        return Ok((Token::Name(rest[..end].to_owned()), end));
    }
    let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
    let symbol = symbol.ok_or_else(|| wrong(at, format!("'{first}' has no meaning")))?;
    Ok((Token::Symbol(symbol), symbol.len()))
}

/// Digits, dots and an exponent with its sign; whether that is a number is for the caller.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let after_e = end > 0 && matches!(bytes[end - 1], b'e' | b'E');
        let sign_of_exponent = after_e && matches!(bytes[end], b'+' | b'-');
        if bytes[end].is_ascii_alphanumeric() || bytes[end] == b'.' || sign_of_exponent {
            end += 1;
        } else {
            break;
        }
    }
    end
}

struct Parser<'a> {
    tokens: &'a [(usize, Token)],
    next: usize,
    columns: &'a [String],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a (usize, Token)> {
        self.tokens.get(self.next)
    }

    fn symbol(&mut self, accepted: &[&'static str]) -> Option<&'static str> {
        let found = self.peek().and_then(|(_, token)| match token {
            Token::Symbol(symbol) => accepted.iter().find(|wanted| *wanted == symbol).copied(),
            Token::Number(_) | Token::Name(_) | Token::Quoted(_) => None,
        });
        self.next += usize::from(found.is_some());
        found
    }

    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, FormulaError>,
    ) -> Result<T, FormulaError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(FormulaError::TooDeep);
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn comparison(&mut self) -> Result<Node, FormulaError> {
        let left = self.sum()?;
        let Some(symbol) = self.symbol(&["<=", ">=", "==", "!=", "<", ">"]) else { return Ok(left) };
        let operation = match symbol {
            "<=" => Binary::LessOrEqual,
            ">=" => Binary::GreaterOrEqual,
            "==" => Binary::Equal,
            "!=" => Binary::NotEqual,
            "<" => Binary::Less,
            _ => Binary::Greater,
        };
        Ok(binary(operation, left, self.sum()?))
    }

    fn sum(&mut self) -> Result<Node, FormulaError> {
        let mut left = self.product()?;
        while let Some(symbol) = self.symbol(&["+", "-"]) {
            let operation = if symbol == "+" { Binary::Add } else { Binary::Subtract };
            left = binary(operation, left, self.product()?);
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Node, FormulaError> {
        let mut left = self.signed()?;
        while let Some(symbol) = self.symbol(&["*", "/"]) {
            let operation = if symbol == "*" { Binary::Multiply } else { Binary::Divide };
            left = binary(operation, left, self.signed()?);
        }
        Ok(left)
    }

    fn signed(&mut self) -> Result<Node, FormulaError> {
        match self.symbol(&["-", "+"]) {
            Some("-") => self.deeper(Self::signed).map(|inner| Node::Negate(Box::new(inner))),
            Some(_) => self.deeper(Self::signed),
            None => self.power(),
        }
    }

    fn power(&mut self) -> Result<Node, FormulaError> {
        let base = self.value()?;
        if self.symbol(&["^"]).is_none() {
            return Ok(base);
        }
        let exponent = self.deeper(Self::signed)?;
        Ok(binary(Binary::Power, base, exponent))
    }

    fn value(&mut self) -> Result<Node, FormulaError> {
        let (at, token) = self.peek().ok_or(FormulaError::Ends)?;
        self.next += 1;
        match token {
            Token::Number(number) => Ok(Node::Number(*number)),
            Token::Quoted(name) => self.column(name, *at),
            Token::Name(name) => {
                if self.symbol(&["("]).is_some() {
                    let arguments = self.deeper(Self::arguments)?;
                    call(name, arguments, *at)
                } else {
                    self.column(name, *at)
                }
            }
            Token::Symbol("(") => {
                let inner = self.deeper(Self::comparison)?;
                match (self.symbol(&[")"]), self.peek()) {
                    (Some(_), _) => Ok(inner),
                    (None, Some((at, _))) => Err(wrong(*at, "expected an operator or ')'")),
                    (None, None) => Err(FormulaError::Open),
                }
            }
            Token::Symbol(symbol) => Err(wrong(*at, format!("expected a value before \"{symbol}\""))),
        }
    }

    fn column(&self, name: &str, at: usize) -> Result<Node, FormulaError> {
        let column = self.columns.iter().position(|known| known == name);
        column.map(Node::Column).ok_or_else(|| wrong(at, format!("nothing is called \"{name}\"")))
    }

    fn arguments(&mut self) -> Result<Vec<Node>, FormulaError> {
        let mut arguments = vec![self.comparison()?];
        loop {
            match self.symbol(&[",", ")"]) {
                Some(")") => return Ok(arguments),
                Some(_) => arguments.push(self.comparison()?),
                None => {
                    return Err(self
                        .peek()
                        .map_or(FormulaError::Open, |(at, _)| wrong(*at, "expected ',' or ')'")));
                }
            }
        }
    }
}

fn binary(operation: Binary, left: Node, right: Node) -> Node {
    Node::Binary(operation, Box::new(left), Box::new(right))
}

fn call(name: &str, arguments: Vec<Node>, at: usize) -> Result<Node, FormulaError> {
    let unary = match name {
        "abs" => Some(Unary::Abs),
        "sqrt" => Some(Unary::Sqrt),
        "exp" => Some(Unary::Exp),
        "log" => Some(Unary::Log),
        "log2" => Some(Unary::Log2),
        "log10" => Some(Unary::Log10),
        "is_missing" => Some(Unary::IsMissing),
        _ => None,
    };
    if let Some(function) = unary {
        let [inner] = exactly(name, arguments, at)?;
        return Ok(Node::Unary(function, Box::new(inner)));
    }
    match name {
        "min" | "max" => {
            let [left, right] = exactly(name, arguments, at)?;
            Ok(binary(if name == "min" { Binary::Min } else { Binary::Max }, left, right))
        }
        "where" => {
            let [condition, then, otherwise] = exactly(name, arguments, at)?.map(Box::new);
            Ok(Node::Where(condition, then, otherwise))
        }
        _ => Err(wrong(at, format!("there is no function \"{name}\""))),
    }
}

fn exactly<const N: usize>(name: &str, arguments: Vec<Node>, at: usize) -> Result<[Node; N], FormulaError> {
    let given = arguments.len();
    let noun = if N == 1 { "value" } else { "values" };
    arguments.try_into().map_err(|_| wrong(at, format!("{name} takes {N} {noun}, not {given}")))
}
