//! JSON to rows, value by value: no tree is built, whatever the body holds.

use std::{cell::Cell as Slot, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    asked::{Asked, BodyProblem, model_name, patient_id},
    body::Room,
    table::{Cell, Table, TooMuch},
};

/// Reads `{"data": [{name: number, …}, …], "patient_id": …, "model_name": …}`; other members are ignored.
pub(super) fn parse<'de, R: serde_json::de::Read<'de>>(
    mut json: serde_json::Deserializer<R>,
) -> Result<Asked, BodyProblem> {
    let problem = Slot::new(None);
    let parsed = BodySeed(&problem).deserialize(&mut json);
    match parsed.and_then(|draft| json.end().map(|()| draft)) {
        Ok(draft) => draft.finish(),
        Err(error) if error.is_io() => Err(BodyProblem::Cut),
        Err(error) => Err(problem.take().unwrap_or_else(|| BodyProblem::Syntax(error.to_string()))),
    }
}

/// What was found so far.
#[derive(Default)]
struct Draft {
    table: Option<Table>,
    patient_id: Option<String>,
    model_name: Option<String>,
}

impl Draft {
    fn finish(mut self) -> Result<Asked, BodyProblem> {
        let table = self.table.take().filter(|table| table.rows() > 0).ok_or(BodyProblem::NoData)?;
        let Self { patient_id, model_name, .. } = self;
        Ok(Asked { table, patient_id, model_name, room: Room::default() })
    }
}

type Problem = Slot<Option<BodyProblem>>;

/// Ends the reading with a problem that serde has no word for.
fn stop<E: serde::de::Error>(slot: &Problem, problem: impl Into<BodyProblem>) -> E {
    let problem = problem.into();
    let text = problem.to_string();
    slot.set(Some(problem));
    E::custom(text)
}

struct BodySeed<'a>(&'a Problem);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = Draft;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Draft, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Values that are not what was looked for are read to their end and count as absent.
macro_rules! scalars_are {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

fn skip_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = Draft;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with data")
    }

    scalars_are!(Draft::default());

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Draft, A::Error> {
        skip_seq(seq).map(|()| Draft::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
        let mut draft = Draft::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "data" => draft.table = map.next_value_seed(RowsSeed(self.0))?,
                "patient_id" => {
                    let text = map.next_value_seed(WordSeed)?;
                    let text = text.map_err(|()| stop(self.0, BodyProblem::PatientId))?;
                    let id = text.map(|text| patient_id(&text)).transpose();
                    draft.patient_id = id.map_err(|problem| stop(self.0, problem))?;
                }
                "model_name" => {
                    let text = map.next_value_seed(WordSeed)?;
                    let text = text.map_err(|()| stop(self.0, BodyProblem::ModelName))?;
                    let name = text.filter(|text| !text.is_empty()).map(|text| model_name(&text)).transpose();
                    draft.model_name = name.map_err(|problem| stop(self.0, problem))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(draft)
    }
}

/// A text, or a whole number that stands for one; null is none.
struct WordSeed;

impl<'de> DeserializeSeed<'de> for WordSeed {
    type Value = Result<Option<String>, ()>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for WordSeed {
    type Value = Result<Option<String>, ()>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text or a whole number")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Ok(Some(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Ok(Some(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Ok(Some(number.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ok(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Err(()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err(()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        skip_seq(seq).map(|()| Err(()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        skip_map(map).map(|()| Err(()))
    }
}

/// The list of rows; none when it is no list.
struct RowsSeed<'a>(&'a Problem);

impl<'de> DeserializeSeed<'de> for RowsSeed<'_> {
    type Value = Option<Table>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_> {
    type Value = Option<Table>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of rows")
    }

    scalars_are!(None);

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        skip_map(map).map(|()| None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut table = Table::default();
        loop {
            match seq.next_element_seed(RowSeed { table: &mut table, problem: self.0 })? {
                None => return Ok(Some(table)),
                Some(true) => table.end_row().map_err(|too_much| stop(self.0, too_much))?,
                Some(false) => return Err(stop(self.0, BodyProblem::NotARow(table.rows() + 1))),
            }
        }
    }
}

/// One row; false when it is no object.
struct RowSeed<'a, 'b> {
    table: &'a mut Table,
    problem: &'b Problem,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a row")
    }

    scalars_are!(false);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        skip_seq(seq).map(|()| false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let too_much = |problem: TooMuch| stop::<A::Error>(self.problem, problem);
        while let Some(column) = map.next_key_seed(ColumnSeed(self.table))? {
            let column = column.map_err(too_much)?;
            let cell = map.next_value_seed(CellSeed)?;
            if let Some(column) = column {
                self.table.push(column, cell).map_err(too_much)?;
            }
        }
        Ok(true)
    }
}

/// The number of a named column; names are not copied once they are known.
struct ColumnSeed<'a>(&'a mut Table);

impl<'de> DeserializeSeed<'de> for ColumnSeed<'_> {
    type Value = Result<Option<u32>, TooMuch>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ColumnSeed<'_> {
    type Value = Result<Option<u32>, TooMuch>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.column(name))
    }
}

struct CellSeed;

impl<'de> DeserializeSeed<'de> for CellSeed {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed {
    type Value = Cell;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number or null")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Number(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
        Ok(Cell::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Number(value as f64))
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Missing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Cell, E> {
        Ok(Cell::NotANumber)
    }

    fn visit_str<E>(self, _: &str) -> Result<Cell, E> {
        Ok(Cell::NotANumber)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Cell, A::Error> {
        skip_seq(seq).map(|()| Cell::NotANumber)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cell, A::Error> {
        skip_map(map).map(|()| Cell::NotANumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Asked, BodyProblem> {
        parse(serde_json::Deserializer::from_str(text))
    }

    #[track_caller]
    fn refuse(text: &str, expect: &str) {
        let problem = read(text).unwrap_err().to_string();
        assert!(problem.starts_with(expect), "{text}: {problem}");
    }

    #[test]
    fn members_may_come_in_any_order_and_others_are_ignored() {
        let asked =
            read(r#"{"x": [{}], "data": [{"age": 65}, {}], "patient_id": 12, "model_name": "meso_xgb"}"#)
                .unwrap();
        assert_eq!(asked.table.rows(), 2);
        assert_eq!(asked.patient_id.as_deref(), Some("12"));
        assert_eq!(asked.model_name.as_deref(), Some("meso_xgb"));
    }

    #[test]
    fn without_a_list_of_rows_there_is_no_data() {
        for text in ["{}", "[]", "7", "null", "\"a\"", r#"{"data": []}"#, r#"{"data": {"age": 1}}"#] {
            refuse(text, "data list required");
        }
        for data in ["1", "1.5", "-1", "true", "null", "\"rows\""] {
            refuse(&format!("{{\"data\": {data}}}"), "data list required");
        }
    }

    #[test]
    fn what_is_no_json_is_named_with_its_place() {
        for text in
            ["", "{", "{\"data\": [{\"age\": NaN}]}", "{} {}", "{\"data\": [{\"age\": 1e999}]}", "nul"]
        {
            assert!(
                matches!(read(text), Err(BodyProblem::Syntax(where_)) if where_.contains("line")),
                "{text}"
            );
        }
        assert!(matches!(read(&"[".repeat(100_000)), Err(BodyProblem::Syntax(_))));
        let deep = format!("{{\"data\": [{{\"age\": {}}}]}}", "[".repeat(100_000));
        assert!(matches!(read(&deep), Err(BodyProblem::Syntax(_))));
    }

    #[test]
    fn a_row_is_an_object() {
        refuse(r#"{"data": [{}, 7]}"#, "row 2 is not an object");
        refuse(r#"{"data": [[1, 2]]}"#, "row 1 is not an object");
    }

    #[test]
    fn a_patient_is_a_word() {
        for id in ["\"\"", "[]", "{}", "1.5", "true", "\"a\\u0000b\"", &format!("\"{}\"", "x".repeat(300))] {
            refuse(&format!("{{\"patient_id\": {id}, \"data\": [{{}}]}}"), "patient_id is a text");
        }
        assert_eq!(read(r#"{"patient_id": null, "data": [{}]}"#).unwrap().patient_id, None);
    }

    #[test]
    fn endless_rows_end_the_reading() {
        let rows = "{},".repeat(100_001);
        refuse(&format!("{{\"data\": [{rows}{{}}]}}"), "at most 100000 rows");
        let names: String = (0..20_001).map(|number| format!("\"n{number}\":1,")).collect();
        refuse(&format!("{{\"data\": [{{{names}\"x\":1}}]}}"), "at most 20000 different names");
    }
}
