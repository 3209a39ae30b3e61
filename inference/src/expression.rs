//! Formulas of derived features: `a / (b + 1e-6)`.
//!
//! Arithmetic is that of IEEE 754 binary64, operation by operation as written, so that
//! NumPy gives the same bits. A missing value is NaN and every operation keeps it,
//! comparisons included; only `is_missing` asks. There are no loops and no variables:
//! a formula ends after as many steps as it has nodes.

mod parse;

pub use parse::FormulaError;

/// A formula over the columns of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression(Node);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Number(f64),
    Column(usize),
    Negate(Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    Unary(Unary, Box<Node>),
    Where(Box<Node>, Box<Node>, Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Min,
    Max,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unary {
    Abs,
    Sqrt,
    Exp,
    Log,
    Log2,
    Log10,
    IsMissing,
}

impl Expression {
    /// Understands `text`; a name stands for its place in `columns`.
    ///
    /// # Errors
    /// Where the text is no formula, or names something that is not in `columns`.
    pub fn parse(text: &str, columns: &[String]) -> Result<Self, FormulaError> {
        parse::parse(text, columns).map(Self)
    }

    /// The value for one row, which must hold every column that parsing was given.
    pub fn evaluate(&self, row: &[f64]) -> f64 {
        self.0.evaluate(row)
    }
}

impl Node {
    fn evaluate(&self, row: &[f64]) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Column(column) => row[*column],
            Self::Negate(inner) => -inner.evaluate(row),
            Self::Binary(operation, left, right) => operation.apply(left.evaluate(row), right.evaluate(row)),
            Self::Unary(function, inner) => function.apply(inner.evaluate(row)),
            Self::Where(condition, then, otherwise) => {
                let condition = condition.evaluate(row);
                if condition.is_nan() {
                    f64::NAN
                } else if condition == 0.0 {
                    otherwise.evaluate(row)
                } else {
                    then.evaluate(row)
                }
            }
        }
    }
}

impl Binary {
    fn apply(self, left: f64, right: f64) -> f64 {
        let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
        if left.is_nan() || right.is_nan() {
            return f64::NAN;
        }
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Power => left.powf(right),
            Self::Min => left.min(right),
            Self::Max => left.max(right),
            Self::Less => truth(left < right),
            Self::LessOrEqual => truth(left <= right),
            Self::Greater => truth(left > right),
            Self::GreaterOrEqual => truth(left >= right),
            Self::Equal => truth(left == right),
            Self::NotEqual => truth(left != right),
        }
    }
}

impl Unary {
    fn apply(self, value: f64) -> f64 {
        match self {
            Self::Abs => value.abs(),
            Self::Sqrt => value.sqrt(),
            Self::Exp => value.exp(),
            Self::Log => value.ln(),
            Self::Log2 => value.log2(),
            Self::Log10 => value.log10(),
            Self::IsMissing => f64::from(u8::from(value.is_nan())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns() -> Vec<String> {
        ["a", "b", "C-reactive_protein_(CRP)"].map(str::to_owned).to_vec()
    }

    #[track_caller]
    fn check(text: &str, expected: f64) {
        let value = Expression::parse(text, &columns()).unwrap().evaluate(&[6.0, 4.0, f64::NAN]);
        assert!(
            value == expected || (value.is_nan() && expected.is_nan()),
            "{text}: {value}, not {expected}"
        );
    }

    #[test]
    fn formulas_have_the_precedence_of_mathematics() {
        check("1 + 2 * 3", 7.0);
        check("(1 + 2) * 3", 9.0);
        check("a - b - 1", 1.0);
        check("a / b / 2", 0.75);
        check("-a ^ 2", -36.0);
        check("2 ^ 3 ^ 2", 512.0);
        check("2 ^ -1", 0.5);
        check("--a", 6.0);
        check("a + 1 > b * 1.5", 1.0);
        check("1e-6 + .5 + 2.", 2.500001);
        check("a / (b + 1e-6)", 6.0 / (4.0 + 1e-6));
    }

    #[test]
    fn functions_take_their_arguments() {
        check("min(a, b) + max(a, b)", 10.0);
        check("sqrt(abs(-b))", 2.0);
        check("log(exp(1))", 1.0);
        check("log2(8) + log10(1000)", 6.0);
        check("where(a >= b, 10, 20)", 10.0);
        check("where(a == b, 10, 20)", 20.0);
    }

    #[test]
    fn missing_stays_missing_until_it_is_asked_for() {
        check("`C-reactive_protein_(CRP)` * 0", f64::NAN);
        check("min(a, `C-reactive_protein_(CRP)`)", f64::NAN);
        check("`C-reactive_protein_(CRP)` != 1", f64::NAN);
        check("where(`C-reactive_protein_(CRP)` > 1, 2, 3)", f64::NAN);
        check("is_missing(`C-reactive_protein_(CRP)`)", 1.0);
        check("where(is_missing(`C-reactive_protein_(CRP)`), 5, 6)", 5.0);
        check("1 ^ `C-reactive_protein_(CRP)`", f64::NAN);
    }

    #[track_caller]
    fn refuse(text: &str, expected: &str) {
        assert_eq!(Expression::parse(text, &columns()).unwrap_err().to_string(), expected, "{text}");
    }

    #[test]
    fn what_is_no_formula_says_where() {
        refuse("", "it ends where a value was expected");
        refuse("a +", "it ends where a value was expected");
        refuse("a b", "at character 3: expected an operator");
        refuse("(a", "it ends before a parenthesis is closed");
        refuse("a ? b", "at character 3: '?' has no meaning");
        refuse("c", "at character 1: nothing is called \"c\"");
        refuse("sin(a)", "at character 1: there is no function \"sin\"");
        refuse("min(a)", "at character 1: min takes 2 values, not 1");
        refuse("`a", "at character 1: the backquote is not closed");
        refuse("1.2.3", "at character 1: \"1.2.3\" is no number");
        refuse("min(a b)", "at character 7: expected ',' or ')'");
        refuse(&"(".repeat(1000), "it is nested deeper than 64 levels");
        refuse(&"-".repeat(1000), "it is nested deeper than 64 levels");
        refuse(&"a+".repeat(100_000), "it is longer than 4096 characters");
    }

    proptest! {
        #[test]
        fn any_text_is_a_formula_or_an_error(text in "[a-c0-9+*/^(),.<>=!` e-]{0,60}") {
            if let Ok(formula) = Expression::parse(&text, &columns()) {
                formula.evaluate(&[1.0, 2.0, 3.0]);
            }
        }

        #[test]
        fn the_ratio_has_the_bits_of_the_plain_arithmetic(a in -1e6..1e6_f64, b in -1e6..1e6_f64) {
            let formula = Expression::parse("a / (b + 1e-6)", &columns()).unwrap();
            prop_assert_eq!(formula.evaluate(&[a, b, 0.0]).to_bits(), (a / (b + 1e-6)).to_bits());
        }
    }
}
