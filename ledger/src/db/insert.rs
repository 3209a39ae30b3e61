//! Adds many rows in few statements.
//!
//! A statement names a value for each column of each row. Rows as one JSON text cost more: SQLite reads the text into a
//! form of its own, and writes each header out of that again.

use std::fmt::Write as _;

use super::{Arg, Dialect, Row, Statement, Tx};
use crate::Error;

/// Rows of one statement. Fewer go in statements of 64, 32, … rows, so that each backend prepares eight of them once.
const ROWS_MAX: usize = 128;

/// Where rows go: `insert into …`, how many columns, and what follows the values.
#[derive(Debug)]
pub(crate) struct Insert<const COLUMNS: usize> {
    pub(crate) into: &'static str,
    pub(crate) then: &'static str,
}

impl<const COLUMNS: usize> Insert<COLUMNS> {
    fn text(&self, rows: usize, dialect: &Dialect) -> String {
        let mut text = format!("{} values ", self.into);
        for row in 0..rows {
            text.push_str(if row == 0 { "(" } else { "), (" });
            for column in 0..COLUMNS {
                text.push_str(if column == 0 { "" } else { ", " });
                // SQLite looks for the name of each value that has one among all of them.
                if dialect.values_have_numbers {
                    write!(text, "${}", row * COLUMNS + column + 1)
                        .expect("a String takes all that is written");
                } else {
                    text.push('?');
                }
            }
        }
        text + ") " + self.then
    }
}

impl Tx {
    /// Adds the rows; gives those that `then` returns, in no order.
    pub(crate) async fn insert<const COLUMNS: usize>(
        &mut self,
        insert: &Insert<COLUMNS>,
        rows: Vec<[Arg; COLUMNS]>,
    ) -> Result<Vec<Row>, Error> {
        let (mut left, mut returned) = (rows.into_iter(), Vec::new());
        while left.len() > 0 {
            let count = ROWS_MAX.min(1 << left.len().ilog2());
            let text = insert.text(count, self.dialect());
            let statement = Statement::built(text, left.by_ref().take(count).flatten().collect());
            returned.extend(self.rows(statement).await?);
        }
        Ok(returned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{postgres, sqlite};

    #[test]
    fn a_statement_names_a_value_for_each_column_of_each_row() {
        let insert = Insert::<2> { into: "insert into pair (a, b)", then: "on conflict do nothing" };
        assert_eq!(
            insert.text(2, &postgres::DIALECT),
            "insert into pair (a, b) values ($1, $2), ($3, $4) on conflict do nothing"
        );
        assert_eq!(
            insert.text(2, &sqlite::DIALECT),
            "insert into pair (a, b) values (?, ?), (?, ?) on conflict do nothing"
        );
    }
}
