//! Rows as they were sent: values by name, before anybody knows which model they are for.

use std::collections::HashMap;

use inference::package::TabularSpec;
use serde_json::{Map, Number, Value};

/// Rows of one request.
pub(crate) const ROWS_MAX: usize = 100_000;
/// Values of one request.
const CELLS_MAX: usize = 5_000_000;
/// Different names of one request; more than any model has features.
const NAMES_MAX: usize = 20_000;
/// So many names are looked for one by one; an index of them costs more than it saves.
const FEW_NAMES: usize = 32;
/// No feature has a longer name; such a column is one that no model knows.
const NAME_LENGTH_MAX: usize = 256;

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell {
    Missing,
    Number(f64),
    NotANumber,
}

/// More than one request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMuch {
    #[error("at most {ROWS_MAX} rows in one request")]
    Rows,
    #[error("at most {CELLS_MAX} values in one request")]
    Cells,
    #[error("at most {CELLS_MAX} values in one request, with those of the model that its rows leave out")]
    Filled,
    #[error("at most {NAMES_MAX} different names in one request")]
    Names,
}

/// A value that a model needs and that is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: {feature} is not a number")]
pub(crate) struct BadCell {
    row: usize,
    feature: String,
}

/// Rows, each a run of cells; a cell names its column by number.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The names in the order of their columns.
    columns: Vec<Box<str>>,
    /// The column of each name, once they are many.
    index: HashMap<Box<str>, u32>,
    cells: Vec<(u32, Cell)>,
    /// Where each row ends among the cells.
    ends: Vec<usize>,
}

impl Table {
    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// The column that `name` stands for; none for a name that no model can know.
    pub(crate) fn column(&mut self, name: &str) -> Result<Option<u32>, TooMuch> {
        if let Some(column) = self.likely(name).or_else(|| self.find(name)) {
            return Ok(Some(column));
        }
        if name.len() > NAME_LENGTH_MAX {
            return Ok(None);
        }
        if self.columns.len() == NAMES_MAX {
            return Err(TooMuch::Names);
        }
        Ok(Some(self.add(name)))
    }

    fn find(&self, name: &str) -> Option<u32> {
        if self.columns.len() > FEW_NAMES {
            return self.index.get(name).copied();
        }
        let place = self.columns.iter().position(|column| **column == *name)?;
        u32::try_from(place).ok()
    }

    fn add(&mut self, name: &str) -> u32 {
        let column = u32::try_from(self.columns.len()).unwrap_or(u32::MAX);
        self.columns.push(name.into());
        if self.columns.len() == FEW_NAMES + 1 {
            self.index = self.columns.iter().cloned().zip(0..).collect();
        } else if self.columns.len() > FEW_NAMES {
            self.index.insert(name.into(), column);
        }
        column
    }

    /// Most rows name their values in the order of the first one.
    fn likely(&self, name: &str) -> Option<u32> {
        let place = self.cells.len() - self.ends.last().copied().unwrap_or(0);
        (**self.columns.get(place)? == *name).then(|| u32::try_from(place).ok())?
    }

    /// Adds a cell to the row that is being read.
    pub(crate) fn push(&mut self, column: u32, cell: Cell) -> Result<(), TooMuch> {
        if self.cells.len() == CELLS_MAX {
            return Err(TooMuch::Cells);
        }
        self.cells.push((column, cell));
        Ok(())
    }

    pub(crate) fn end_row(&mut self) -> Result<(), TooMuch> {
        if self.ends.len() == ROWS_MAX {
            return Err(TooMuch::Rows);
        }
        self.ends.push(self.cells.len());
        Ok(())
    }

    /// Forgets the rows and keeps the columns.
    pub(crate) fn clear(&mut self) {
        self.cells.clear();
        self.ends.clear();
    }

    /// How many values the rows have once each has one for all of so many features.
    pub(crate) fn filled(&self, features: usize) -> Result<usize, TooMuch> {
        let values = self.rows().saturating_mul(features);
        if values > CELLS_MAX { Err(TooMuch::Filled) } else { Ok(values) }
    }

    /// The rows as `spec` wants them: a value for each of its features, NaN where there is
    /// none. Columns that the model does not know are ignored, whatever they hold.
    pub(crate) fn ordered(&self, spec: &TabularSpec) -> Result<Vec<Vec<f64>>, BadCell> {
        let places = self.places(spec);
        let mut rows = Vec::with_capacity(self.rows());
        let mut begin = 0;
        for (number, end) in self.ends.iter().enumerate() {
            let mut row = vec![f64::NAN; spec.features.len()];
            for (column, cell) in &self.cells[begin..*end] {
                let Some(place) = places[*column as usize] else { continue };
                row[place] = match cell {
                    Cell::Number(value) => *value,
                    Cell::Missing => f64::NAN,
                    Cell::NotANumber => {
                        let feature = spec.features[place].name.clone();
                        return Err(BadCell { row: number + 1, feature });
                    }
                };
            }
            rows.push(row);
            begin = *end;
        }
        Ok(rows)
    }

    /// Of each column, its place among the features.
    fn places(&self, spec: &TabularSpec) -> Vec<Option<usize>> {
        let mut places = vec![None; self.columns.len()];
        for (place, feature) in spec.features.iter().enumerate() {
            if let Some(column) = self.find(&feature.name) {
                places[column as usize] = Some(place);
            }
        }
        places
    }
}

/// A row by name, as it is kept: what was missing is not there.
pub(super) fn by_name(spec: &TabularSpec, row: &[f64]) -> Value {
    let named = spec.features.iter().zip(row);
    let given = named.filter_map(|(feature, value)| {
        let value = whole(*value).or_else(|| Number::from_f64(*value))?;
        Some((feature.name.clone(), Value::Number(value)))
    });
    Value::Object(given.collect::<Map<_, _>>())
}

/// 65 is kept as 65, not as 65.0; beyond 2^53 a float is not every integer.
fn whole(value: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let negative_zero = value == 0.0 && value.is_sign_negative();
    (value.fract() == 0.0 && value.abs() < EXACT && !negative_zero).then(|| Number::from(value as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_column_whether_names_are_few_or_many() {
        let mut table = Table::default();
        for number in 0..3 * FEW_NAMES {
            for known in 0..number {
                assert_eq!(table.column(&format!("n{known}")), Ok(u32::try_from(known).ok()), "of {number}");
            }
            assert_eq!(table.column(&format!("n{number}")), Ok(u32::try_from(number).ok()));
        }
    }

    #[test]
    fn rows_that_say_nothing_count_with_all_that_they_leave_out() {
        let mut table = Table::default();
        for _ in 0..CELLS_MAX / 320 {
            table.end_row().unwrap();
        }
        assert_eq!(table.filled(320), Ok(CELLS_MAX));
        table.end_row().unwrap();
        assert_eq!(table.filled(320), Err(TooMuch::Filled));
        assert_eq!(table.filled(11), Ok(table.rows() * 11));
        assert_eq!(table.filled(usize::MAX), Err(TooMuch::Filled));
    }
}
