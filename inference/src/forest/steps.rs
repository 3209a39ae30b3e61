//! The operations between rows and probability, column by column.

use std::ops::{Add, Div, Mul, Sub};

use super::ensemble::Ensemble;

/// Rows of `width` numbers, one after another.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) width: usize,
    pub(super) numbers: Numbers,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Truth(Vec<bool>),
}

/// Where an operand comes from: an earlier value, or the same numbers for every row.
#[derive(Debug)]
pub(super) enum Operand {
    Value(usize),
    Row(Numbers),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F64,
    I64,
}

/// One operation; a number is the place of an earlier value, 0 is the rows that were given.
#[derive(Debug)]
pub(super) enum Step {
    Arithmetic(Arithmetic, Operand, Operand),
    Cast(usize, Kind),
    Trees(usize, Ensemble),
    /// The numbers of a table at the places that a value holds.
    Lookup(usize, Numbers),
    Columns(usize, Vec<usize>),
    Join(Vec<usize>),
    /// Each column becomes the sum of those up to it, added from the left.
    RunningSum(usize),
    Negate(usize),
    Exponential(usize),
    /// Whether the first equals the second.
    Equal(Operand, Operand),
    /// Where the first holds the second, else the third.
    Where(usize, Operand, Operand),
}

impl Step {
    /// The next value. Nothing where the operation has no answer, such as a place outside a table.
    pub(super) fn run(&self, values: &[Matrix]) -> Option<Matrix> {
        match self {
            Self::Arithmetic(operation, left, right) => {
                let width = width_of(&[left, right], values)?;
                let numbers = arithmetic(*operation, left.side(values), right.side(values), width)?;
                Some(Matrix { width, numbers })
            }
            Self::Cast(of, kind) => values[*of].with(cast(&values[*of].numbers, *kind)?),
            Self::Trees(of, trees) => {
                let Numbers::F32(rows) = &values[*of].numbers else { return None };
                Some(Matrix { width: trees.targets(), numbers: Numbers::F32(trees.run(rows)) })
            }
            Self::Lookup(of, table) => {
                let Numbers::I64(places) = &values[*of].numbers else { return None };
                values[*of].with(looked_up(table, places)?)
            }
            Self::Columns(of, columns) => {
                let numbers = columns_of(&values[*of], columns);
                Some(Matrix { width: columns.len(), numbers })
            }
            Self::Join(parts) => joined(&parts.iter().map(|part| &values[*part]).collect::<Vec<_>>()),
            Self::RunningSum(of) => values[*of].with(running_sums(&values[*of])?),
            Self::Negate(of) => values[*of].with(match &values[*of].numbers {
                Numbers::F32(numbers) => Numbers::F32(numbers.iter().map(|number| -number).collect()),
                Numbers::F64(numbers) => Numbers::F64(numbers.iter().map(|number| -number).collect()),
                Numbers::I64(_) | Numbers::Truth(_) => return None,
            }),
            Self::Exponential(of) => match &values[*of].numbers {
                Numbers::F64(numbers) => {
                    values[*of].with(Numbers::F64(numbers.iter().map(|number| number.exp()).collect()))
                }
                _ => None,
            },
            Self::Equal(left, right) => {
                let width = width_of(&[left, right], values)?;
                let truth = equal(left.side(values), right.side(values), width)?;
                Some(Matrix { width, numbers: Numbers::Truth(truth) })
            }
            Self::Where(condition, then, otherwise) => {
                let Matrix { width, numbers: Numbers::Truth(truth) } = &values[*condition] else {
                    return None;
                };
                let numbers = chosen(truth, then.side(values), otherwise.side(values), *width)?;
                Some(Matrix { width: *width, numbers })
            }
        }
    }
}

impl Matrix {
    fn with(&self, numbers: Numbers) -> Option<Self> {
        Some(Self { width: self.width, numbers })
    }
}

/// An operand's numbers, and whether they are the same for every row.
#[derive(Clone, Copy)]
enum Side<'a> {
    Each(&'a Numbers),
    Row(&'a Numbers),
}

impl Operand {
    fn side<'a>(&'a self, values: &'a [Matrix]) -> Side<'a> {
        match self {
            Self::Value(at) => Side::Each(&values[*at].numbers),
            Self::Row(numbers) => Side::Row(numbers),
        }
    }
}

impl<'a> Side<'a> {
    fn numbers(self) -> &'a Numbers {
        let (Self::Each(numbers) | Self::Row(numbers)) = self;
        numbers
    }

    fn is_row(self) -> bool {
        matches!(self, Self::Row(_))
    }
}

/// Compilation has held the widths against each other: any of them is the one.
fn width_of(operands: &[&Operand], values: &[Matrix]) -> Option<usize> {
    operands.iter().find_map(|operand| match operand {
        Operand::Value(at) => Some(values[*at].width),
        Operand::Row(_) => None,
    })
}

fn arithmetic(operation: Arithmetic, left: Side<'_>, right: Side<'_>, width: usize) -> Option<Numbers> {
    let rows = [left.is_row(), right.is_row()];
    match (left.numbers(), right.numbers()) {
        (Numbers::F32(left), Numbers::F32(right)) => {
            Some(Numbers::F32(applied(operation, left, right, rows, width)))
        }
        (Numbers::F64(left), Numbers::F64(right)) => {
            Some(Numbers::F64(applied(operation, left, right, rows, width)))
        }
        _ => None,
    }
}

fn applied<T>(operation: Arithmetic, left: &[T], right: &[T], rows: [bool; 2], width: usize) -> Vec<T>
where
    T: Copy + Add<Output = T> + Sub<Output = T> + Mul<Output = T> + Div<Output = T>,
{
    match operation {
        Arithmetic::Add => paired(left, right, rows, width, |a, b| a + b),
        Arithmetic::Subtract => paired(left, right, rows, width, |a, b| a - b),
        Arithmetic::Multiply => paired(left, right, rows, width, |a, b| a * b),
        Arithmetic::Divide => paired(left, right, rows, width, |a, b| a / b),
    }
}

/// Both operands element by element; one that is a row begins again with every row of the other.
fn paired<T: Copy, U>(
    left: &[T],
    right: &[T],
    rows: [bool; 2],
    width: usize,
    of: impl Fn(T, T) -> U,
) -> Vec<U> {
    let pairs = |left: &[T], right: &[T]| left.iter().zip(right).map(|(a, b)| of(*a, *b)).collect::<Vec<_>>();
    match rows {
        [true, _] => right.chunks(width).flat_map(|right| pairs(left, right)).collect(),
        [false, true] => left.chunks(width).flat_map(|left| pairs(left, right)).collect(),
        [false, false] => pairs(left, right),
    }
}

fn equal(left: Side<'_>, right: Side<'_>, width: usize) -> Option<Vec<bool>> {
    let rows = [left.is_row(), right.is_row()];
    match (left.numbers(), right.numbers()) {
        (Numbers::F32(left), Numbers::F32(right)) => Some(paired(left, right, rows, width, |a, b| a == b)),
        (Numbers::F64(left), Numbers::F64(right)) => Some(paired(left, right, rows, width, |a, b| a == b)),
        _ => None,
    }
}

fn chosen(truth: &[bool], then: Side<'_>, otherwise: Side<'_>, width: usize) -> Option<Numbers> {
    let rows = [then.is_row(), otherwise.is_row()];
    match (then.numbers(), otherwise.numbers()) {
        (Numbers::F32(then), Numbers::F32(otherwise)) => {
            Some(Numbers::F32(picked(truth, then, otherwise, rows, width)))
        }
        (Numbers::F64(then), Numbers::F64(otherwise)) => {
            Some(Numbers::F64(picked(truth, then, otherwise, rows, width)))
        }
        _ => None,
    }
}

fn picked<T: Copy>(truth: &[bool], then: &[T], otherwise: &[T], rows: [bool; 2], width: usize) -> Vec<T> {
    let at = |numbers: &[T], is_row: bool, place: usize| numbers[if is_row { place % width } else { place }];
    let pick = |(place, holds): (usize, &bool)| {
        if *holds { at(then, rows[0], place) } else { at(otherwise, rows[1], place) }
    };
    truth.iter().enumerate().map(pick).collect()
}

fn cast(numbers: &Numbers, to: Kind) -> Option<Numbers> {
    Some(match (numbers, to) {
        (Numbers::F64(numbers), Kind::F32) => {
            Numbers::F32(numbers.iter().map(|number| *number as f32).collect())
        }
        (Numbers::F32(numbers), Kind::F64) => {
            Numbers::F64(numbers.iter().map(|number| f64::from(*number)).collect())
        }
        (Numbers::F32(numbers), Kind::I64) => {
            Numbers::I64(numbers.iter().map(|number| *number as i64).collect())
        }
        (Numbers::F32(_), Kind::F32) | (Numbers::F64(_), Kind::F64) => numbers.clone(),
        _ => return None,
    })
}

fn looked_up(table: &Numbers, places: &[i64]) -> Option<Numbers> {
    fn all<T: Copy>(table: &[T], places: &[i64]) -> Option<Vec<T>> {
        places.iter().map(|place| table.get(usize::try_from(*place).ok()?).copied()).collect()
    }
    match table {
        Numbers::F32(table) => all(table, places).map(Numbers::F32),
        Numbers::F64(table) => all(table, places).map(Numbers::F64),
        Numbers::I64(table) => all(table, places).map(Numbers::I64),
        Numbers::Truth(_) => None,
    }
}

fn columns_of(matrix: &Matrix, columns: &[usize]) -> Numbers {
    fn of<T: Copy>(numbers: &[T], width: usize, columns: &[usize]) -> Vec<T> {
        numbers.chunks(width).flat_map(|row| columns.iter().map(|column| row[*column])).collect()
    }
    match &matrix.numbers {
        Numbers::F32(numbers) => Numbers::F32(of(numbers, matrix.width, columns)),
        Numbers::F64(numbers) => Numbers::F64(of(numbers, matrix.width, columns)),
        Numbers::I64(numbers) => Numbers::I64(of(numbers, matrix.width, columns)),
        Numbers::Truth(numbers) => Numbers::Truth(of(numbers, matrix.width, columns)),
    }
}

fn joined(parts: &[&Matrix]) -> Option<Matrix> {
    fn of<T: Copy>(parts: &[(&[T], usize)]) -> Vec<T> {
        let rows = parts.first().map_or(0, |(numbers, width)| numbers.len() / width);
        let row = |row: usize| {
            parts.iter().flat_map(move |(numbers, width)| &numbers[row * width..(row + 1) * width])
        };
        (0..rows).flat_map(row).copied().collect()
    }
    let width = parts.iter().map(|part| part.width).sum();
    let f32s = parts.iter().map(|part| match &part.numbers {
        Numbers::F32(numbers) => Some((numbers.as_slice(), part.width)),
        _ => None,
    });
    if let Some(parts) = f32s.collect::<Option<Vec<_>>>() {
        return Some(Matrix { width, numbers: Numbers::F32(of(&parts)) });
    }
    let f64s = parts.iter().map(|part| match &part.numbers {
        Numbers::F64(numbers) => Some((numbers.as_slice(), part.width)),
        _ => None,
    });
    let parts = f64s.collect::<Option<Vec<_>>>()?;
    Some(Matrix { width, numbers: Numbers::F64(of(&parts)) })
}

fn running_sums(matrix: &Matrix) -> Option<Numbers> {
    fn of<T: Copy + Add<Output = T>>(numbers: &[T], width: usize) -> Vec<T> {
        let mut sums = numbers.to_vec();
        for row in sums.chunks_mut(width) {
            for column in 1..row.len() {
                row[column] = row[column - 1] + row[column];
            }
        }
        sums
    }
    match &matrix.numbers {
        Numbers::F32(numbers) => Some(Numbers::F32(of(numbers, matrix.width))),
        Numbers::F64(numbers) => Some(Numbers::F64(of(numbers, matrix.width))),
        Numbers::I64(_) | Numbers::Truth(_) => None,
    }
}
